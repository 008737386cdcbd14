//! The `tls-server-end-point` channel binding of a certificate (RFC 5929, section 4.1).

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::oid_registry::{
    OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
};

/// The certificate's hash by the hash function of its own signature, SHA-256 in place of MD5 and SHA-1.
///
/// `None` where the RFC defines none (Ed25519) or where clients are known to differ (RSA-PSS): channel binding is then
/// not offered, as PostgreSQL does.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_rest, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm.algorithm;
    let is_one_of =
        |oids: &[x509_parser::der_parser::Oid<'_>]| oids.iter().any(|oid| oid == algorithm);
    if is_one_of(&[
        OID_SIG_ECDSA_WITH_SHA256,
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA1WITHRSA,
        OID_PKCS1_MD5WITHRSAENC,
    ]) {
        Some(Sha256::digest(certificate).to_vec())
    } else if is_one_of(&[OID_SIG_ECDSA_WITH_SHA384, OID_PKCS1_SHA384WITHRSA]) {
        Some(Sha384::digest(certificate).to_vec())
    } else if is_one_of(&[OID_SIG_ECDSA_WITH_SHA512, OID_PKCS1_SHA512WITHRSA]) {
        Some(Sha512::digest(certificate).to_vec())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    fn bound_bytes(algorithm: &'static SignatureAlgorithm) -> Option<usize> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        server_end_point(certificate.der()).map(|hash| hash.len())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        assert_eq!(bound_bytes(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
        assert_eq!(bound_bytes(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
        assert_eq!(bound_bytes(&rcgen::PKCS_ED25519), None);
        assert_eq!(server_end_point(b"nonsense"), None);
    }
}
