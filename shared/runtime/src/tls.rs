//! TLS with rustls: the one crypto provider, certificate files, and the client side of libpq's `sslmode`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pglens_core::SslMode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::listen::io_reason;

/// A certificate, key or trust store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The text holds no certificate.
    #[error("{origin} holds no PEM certificate")]
    NoCertificate {
        /// The file, or what the text was given for.
        origin: String,
    },
    /// The text holds no private key.
    #[error("{origin} holds no PEM private key")]
    NoKey {
        /// The file.
        origin: String,
    },
    /// The machine has no store of trusted certificates.
    #[error("no trusted certificates were found on this machine; give a CA certificate")]
    NoSystemRoots,
    /// rustls does not take it.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// How far a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Any certificate will do; the connection is private against listeners only.
    None,
    /// The certificate is of a trusted authority, whatever name it has.
    Chain,
    /// The certificate is of a trusted authority and names the host.
    Full,
}

impl Verification {
    /// What `mode` asks for when TLS is used at all.
    ///
    /// As in libpq, a CA given together with `require` is checked against (PostgreSQL manual, section 34.19.1).
    #[must_use]
    pub fn of(mode: SslMode, has_ca: bool) -> Self {
        match mode {
            SslMode::VerifyFull => Self::Full,
            SslMode::VerifyCa => Self::Chain,
            SslMode::Require if has_ca => Self::Chain,
            SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => Self::None,
        }
    }
}

/// The crypto provider, to be handed to every rustls builder; nothing relies on a process-wide default.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads the certificates of a PEM file, leaf first.
///
/// # Errors
/// When the file cannot be read or holds none.
pub fn load_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    parse_certs(&read(path)?, &path.display().to_string())
}

/// Reads the private key of a PEM file.
///
/// # Errors
/// When the file cannot be read or holds none.
pub fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| TlsError::NoKey {
        origin: path.display().to_string(),
    })
}

/// Reads a PEM file as text, for libraries that parse it themselves.
///
/// # Errors
/// When the file cannot be read or is no text.
pub fn load_text(path: &Path) -> Result<String, TlsError> {
    String::from_utf8(read(path)?).map_err(|_| TlsError::NoCertificate {
        origin: path.display().to_string(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Unreadable {
        path: path.to_owned(),
        reason: io_reason(&error),
    })
}

fn parse_certs(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certs {
        Ok(certs) if !certs.is_empty() => Ok(certs),
        _ => Err(TlsError::NoCertificate {
            origin: origin.to_owned(),
        }),
    }
}

/// A client configuration without a client certificate.
///
/// With `ca_pem`, only its certificates are trusted; without, those of the machine.
///
/// # Errors
/// When `ca_pem` holds no usable certificate, or the machine has none and some are needed.
pub fn client_config(
    verification: Verification,
    ca_pem: Option<&str>,
) -> Result<rustls::ClientConfig, TlsError> {
    let provider = provider();
    let roots = match (verification, ca_pem) {
        (Verification::None, _) => RootCertStore::empty(),
        (_, Some(pem)) => roots_of(pem)?,
        (_, None) => system_roots()?,
    };
    let pinned = match (verification, ca_pem) {
        (Verification::None, _) | (_, None) => Vec::new(),
        (_, Some(pem)) => parse_certs(pem.as_bytes(), "the CA certificate")?,
    };
    let verifier = LibpqVerifier {
        verification,
        roots,
        pinned,
        provider: Arc::clone(&provider),
    };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Sessions are long and few; a resumed one would skip the certificate that channel binding is made of.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn roots_of(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in parse_certs(pem.as_bytes(), "the CA certificate")? {
        roots.add(cert)?;
    }
    Ok(roots)
}

/// The authorities that this machine trusts.
///
/// # Errors
/// When it has none.
pub fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoSystemRoots);
    }
    Ok(roots)
}

/// Checks server certificates as libpq does, chain and name apart.
#[derive(Debug)]
struct LibpqVerifier {
    verification: Verification,
    roots: RootCertStore,
    /// The very certificates that were given as CA. PostgreSQL servers often have a certificate signed by itself,
    /// which is then its own CA; web PKI rules know no such thing.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl LibpqVerifier {
    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            return verify_dates(end_entity, now);
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_rest, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

impl ServerCertVerifier for LibpqVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.verification != Verification::None {
            self.verify_chain(end_entity, intermediates, now)?;
        }
        if self.verification == Verification::Full {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
