//! Tests of TLS towards targets and clients.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::certificates::{Authority, CertifiedKeyPem};

fn certs(pem: &str) -> Vec<CertificateDer<'static>> {
    parse_certs(pem.as_bytes(), "test").unwrap()
}

fn key(pair: &CertifiedKeyPem) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.expose().as_bytes()).unwrap()
}

fn server_config(pair: &CertifiedKeyPem) -> ServerConfig {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certs(&pair.certificate), key(pair))
        .unwrap()
}

/// A handshake over a pipe; the client calls the server `name`. Both ends must be content.
async fn handshake(client: ClientConfig, server: ServerConfig, name: &str) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::new(client)).connect(name, near);
    let accepting = TlsAcceptor::from(Arc::new(server)).accept(far);
    let (connected, accepted) = tokio::join!(connecting, accepting);
    connected.map_err(|error| error.to_string())?;
    accepted.map_err(|error| error.to_string())?;
    Ok(())
}

#[tokio::test]
async fn every_verification_takes_what_it_should_and_nothing_else() {
    let authority = Authority::new("PgLens test").unwrap();
    let other = Authority::new("PgLens test").unwrap();
    let pair = authority.server(&["db.example", "127.0.0.1"]).unwrap();
    let check = async |verification, ca: &Authority, name, expected: Result<(), &str>| {
        let client = client_config(verification, Some(ca.ca_pem())).unwrap();
        let result = handshake(client, server_config(&pair), name).await;
        match (&result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(word)) if error.contains(word) => {}
            _ => panic!("{verification:?} {name}: {result:?}, expected {expected:?}"),
        }
    };
    check(Verification::None, &other, "elsewhere.example", Ok(())).await;
    check(Verification::Chain, &authority, "elsewhere.example", Ok(())).await;
    check(
        Verification::Chain,
        &other,
        "db.example",
        Err("invalid peer certificate"),
    )
    .await;
    check(Verification::Full, &authority, "db.example", Ok(())).await;
    check(Verification::Full, &authority, "127.0.0.1", Ok(())).await;
    check(
        Verification::Full,
        &authority,
        "elsewhere.example",
        Err("not valid for name"),
    )
    .await;
    check(
        Verification::Full,
        &other,
        "db.example",
        Err("invalid peer certificate"),
    )
    .await;
}

#[tokio::test]
async fn planes_prove_themselves_to_each_other() {
    let authority = Authority::new("PgLens test").unwrap();
    let pair = authority.server(&["localhost"]).unwrap();
    let mutual = || {
        let roots = Arc::new(roots_of(authority.ca_pem()).unwrap());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(certs(&pair.certificate), key(&pair))
            .unwrap()
    };
    let client_of = |pair: &CertifiedKeyPem| {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots_of(authority.ca_pem()).unwrap())
            .with_client_auth_cert(certs(&pair.certificate), key(pair))
            .unwrap()
    };
    let ours = authority.client("data-plane-1").unwrap();
    assert_eq!(
        handshake(client_of(&ours), mutual(), "localhost").await,
        Ok(())
    );

    let stranger = Authority::new("PgLens test")
        .unwrap()
        .client("data-plane-1")
        .unwrap();
    assert!(
        handshake(client_of(&stranger), mutual(), "localhost")
            .await
            .is_err()
    );
    let server_as_client = authority.server(&["data-plane-1"]).unwrap();
    assert!(
        handshake(client_of(&server_as_client), mutual(), "localhost")
            .await
            .is_err()
    );
    let nobody = client_config(Verification::Full, Some(authority.ca_pem())).unwrap();
    assert!(handshake(nobody, mutual(), "localhost").await.is_err());
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_trusted_when_it_was_given() {
    let mut params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let pair = CertifiedKeyPem {
        certificate: params.self_signed(&signing_key).unwrap().pem(),
        key: signing_key.serialize_pem().into(),
    };
    let client = || client_config(Verification::Full, Some(&pair.certificate)).unwrap();
    assert_eq!(
        handshake(client(), server_config(&pair), "db.example").await,
        Ok(())
    );
    let wrong_name = handshake(client(), server_config(&pair), "elsewhere.example").await;
    assert!(wrong_name.is_err());
}

#[test]
fn an_expired_pinned_certificate_is_refused() {
    let mut params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let cert = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    let at = |year_seconds| {
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(year_seconds));
        verify_dates(cert.der(), time)
    };
    assert_eq!(at(990_000_000), Ok(()));
    assert_eq!(at(1_700_000_000), Err(CertificateError::Expired.into()));
    assert_eq!(at(900_000_000), Err(CertificateError::NotValidYet.into()));
}

#[test]
fn ssl_modes_map_as_in_libpq() {
    assert_eq!(Verification::of(SslMode::Prefer, true), Verification::None);
    assert_eq!(
        Verification::of(SslMode::Require, false),
        Verification::None
    );
    assert_eq!(
        Verification::of(SslMode::Require, true),
        Verification::Chain
    );
    assert_eq!(
        Verification::of(SslMode::VerifyCa, false),
        Verification::Chain
    );
    assert_eq!(
        Verification::of(SslMode::VerifyFull, false),
        Verification::Full
    );
}

#[test]
fn files_that_hold_something_else_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pem");
    let missing = load_certs(&path).unwrap_err().to_string();
    assert_eq!(
        missing,
        format!("cannot read {}: no such file or directory", path.display())
    );
    std::fs::write(&path, "nothing").unwrap();
    let empty = load_key(&path).unwrap_err().to_string();
    assert_eq!(
        empty,
        format!("{} holds no PEM private key", path.display())
    );
}
