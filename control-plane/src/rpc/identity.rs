//! Who a data plane is: the name in its client certificate.

use pglens_core::ErrorCode;
use pglens_rpc::status::status;
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Longest name: that of a host (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 255;

/// The name of the proxy that sends `request`: the first DNS name among its certificate's subject alternative names,
/// else the common name. The TLS layer has checked the certificate against the configured authority.
///
/// # Errors
/// `UNAUTHENTICATED` without a certificate, or when it names nobody.
pub fn proxy_name<T>(request: &Request<T>) -> Result<String, Status> {
    let refused = |reason| status(ErrorCode::Unauthenticated, reason);
    let certificates = request
        .peer_certs()
        .ok_or_else(|| refused("a client certificate is required"))?;
    let certificate = certificates
        .first()
        .ok_or_else(|| refused("a client certificate is required"))?;
    name_in(certificate).ok_or_else(|| refused("the client certificate names no proxy"))
}

fn name_in(der: &[u8]) -> Option<String> {
    let (_rest, certificate) = parse_x509_certificate(der).ok()?;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let dns_name = alternative.and_then(|names| {
        names
            .value
            .general_names
            .iter()
            .find_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
    });
    let common_name = || {
        let name = certificate.subject().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    };
    dns_name
        .or_else(common_name)
        .filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_runtime::Authority;
    use x509_parser::pem::parse_x509_pem;

    fn der(pem: &str) -> Vec<u8> {
        parse_x509_pem(pem.as_bytes()).unwrap().1.contents
    }

    #[test]
    fn the_name_is_the_dns_name_or_else_the_common_name() {
        let authority = Authority::new("test").unwrap();
        let client = authority.client("data-plane-1").unwrap();
        assert_eq!(
            name_in(&der(&client.certificate)).as_deref(),
            Some("data-plane-1")
        );
        let server = authority
            .server(&["10.0.0.1", "proxy.example.com"])
            .unwrap();
        assert_eq!(
            name_in(&der(&server.certificate)).as_deref(),
            Some("proxy.example.com")
        );
        // The authority has no alternative names.
        assert_eq!(name_in(&der(authority.ca_pem())).as_deref(), Some("test"));
        assert_eq!(name_in(b"nonsense"), None);
    }

    #[test]
    fn without_a_certificate_nobody_is_there() {
        let status = proxy_name(&Request::new(())).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
}
