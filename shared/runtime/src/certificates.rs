//! A certificate authority of our own, for the connection between the planes and for trying things out.

use std::time::{Duration, SystemTime};

use pglens_core::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// An authority outlives every certificate it signs.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Longest life that every TLS client accepts.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(820 * 24 * 60 * 60);
/// Certificates start in the past, for peers whose clock is behind.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);

/// A certificate that could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Making or signing failed.
    #[error("certificate of \"{name}\": {source}")]
    Make {
        /// The name in the certificate.
        name: String,
        /// What the library says.
        #[source]
        source: rcgen::Error,
    },
    /// The PEM text is not what it should be.
    #[error("not a PEM certificate")]
    NotACertificate,
}

/// A certificate with its private key, both PEM.
#[derive(Debug, Clone)]
pub struct CertifiedKeyPem {
    /// The certificate, followed by its authority's.
    pub certificate: String,
    /// The private key (PKCS #8).
    pub key: Secret<String>,
}

/// A certificate authority with its private key.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate.
    pub fn new(common_name: &str) -> Result<Self, CertificateError> {
        let made = || -> Result<Self, rcgen::Error> {
            let mut params = params(common_name, Vec::new(), AUTHORITY_LIFETIME)?;
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let key = KeyPair::generate()?;
            let certificate = params.self_signed(&key)?.pem();
            Ok(Self {
                certificate,
                issuer: Issuer::new(params, key),
            })
        };
        made().map_err(|source| CertificateError::make(common_name, source))
    }

    /// An authority that was made before.
    ///
    /// # Errors
    /// When either text is not what it should be.
    pub fn from_pem(certificate: &str, key: &Secret<String>) -> Result<Self, CertificateError> {
        let read = || -> Result<Self, rcgen::Error> {
            let key = KeyPair::from_pem(key.expose())?;
            Ok(Self {
                certificate: certificate.to_owned(),
                issuer: Issuer::from_ca_cert_pem(certificate, key)?,
            })
        };
        read().map_err(|source| CertificateError::make("the authority", source))
    }

    /// A certificate for a server that is reached under `names`, which are host names and IP addresses.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn server(&self, names: &[&str]) -> Result<CertifiedKeyPem, CertificateError> {
        let common_name = names.first().copied().unwrap_or("server");
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(common_name, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate by which a client proves that it is `common_name`.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate.
    pub fn client(&self, common_name: &str) -> Result<CertifiedKeyPem, CertificateError> {
        // The name is a subject alternative name as well where it can be one: newer software looks only there.
        let names = vec![common_name.to_owned()];
        self.sign(common_name, names, ExtendedKeyUsagePurpose::ClientAuth)
            .or_else(|_| self.sign(common_name, vec![], ExtendedKeyUsagePurpose::ClientAuth))
    }

    /// The authority's certificate, for peers to trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.certificate
    }

    /// The authority's private key, to be kept.
    #[must_use]
    pub fn key_pem(&self) -> Secret<String> {
        Secret::new(self.issuer.key().serialize_pem())
    }

    fn sign(
        &self,
        common_name: &str,
        names: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<CertifiedKeyPem, CertificateError> {
        let signed = || -> Result<CertifiedKeyPem, rcgen::Error> {
            let mut params = params(common_name, names, CERTIFICATE_LIFETIME)?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![purpose];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?.pem();
            Ok(CertifiedKeyPem {
                certificate: certificate + &self.certificate,
                key: Secret::new(key.serialize_pem()),
            })
        };
        signed().map_err(|source| CertificateError::make(common_name, source))
    }
}

impl CertificateError {
    fn make(name: &str, source: rcgen::Error) -> Self {
        Self::Make {
            name: name.to_owned(),
            source,
        }
    }
}

fn params(
    common_name: &str,
    names: Vec<String>,
    lifetime: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + since_epoch;
    params.not_before = now - CLOCK_TOLERANCE;
    params.not_after = now + lifetime;
    Ok(params)
}

/// When the first certificate of a PEM text stops being valid.
///
/// # Errors
/// When there is no certificate in `pem`.
pub fn expires_at(pem: &str) -> Result<SystemTime, CertificateError> {
    let (_rest, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .map_err(|_| CertificateError::NotACertificate)?;
    let certificate = block
        .parse_x509()
        .map_err(|_| CertificateError::NotACertificate)?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_survives_being_written_down() {
        let authority = Authority::new("PgLens test").unwrap();
        let again = Authority::from_pem(authority.ca_pem(), &authority.key_pem()).unwrap();
        let server = again.server(&["localhost"]).unwrap();
        assert!(server.certificate.ends_with(authority.ca_pem()));
        let left = expires_at(&server.certificate)
            .unwrap()
            .duration_since(SystemTime::now());
        assert!(left.unwrap() > Duration::from_secs(800 * 24 * 60 * 60));
    }

    #[test]
    fn nonsense_is_refused_and_keys_are_not_shown() {
        let authority = Authority::new("PgLens test").unwrap();
        assert!(expires_at("nonsense").is_err());
        assert!(Authority::from_pem("nonsense", &authority.key_pem()).is_err());
        let client = authority.client("data-plane-1").unwrap();
        assert!(!format!("{authority:?} {client:?}").contains("PRIVATE KEY"));
    }
}
