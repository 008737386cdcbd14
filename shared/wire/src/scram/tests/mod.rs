//! Tests of both ends of SCRAM.

use postgres_protocol::authentication::sasl;

use super::*;

mod malformed;

const PASSWORD: &str = "correct horse";

/// RFC 7677, section 3.
mod rfc_7677 {
    pub(super) const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    pub(super) const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    pub(super) const SALT: &[u8] = &[
        0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa,
        0x81,
    ];
    pub(super) const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    pub(super) const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    pub(super) const CLIENT_FINAL: &[u8] =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    pub(super) const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
}

fn rfc_server() -> ServerExchange {
    let verifier = ScramVerifier::derive("pencil", rfc_7677::SALT, 4096);
    ServerExchange::start_with_nonce(verifier, None, rfc_7677::SERVER_NONCE.to_owned())
}

fn server() -> ServerExchange {
    ServerExchange::start(ScramVerifier::derive(PASSWORD, *b"salt", 16), None)
}

fn certificate() -> ChannelBinding {
    ChannelBinding::tls_server_end_point(vec![7; 32])
}

fn binding_server() -> ServerExchange {
    ServerExchange::start(
        ScramVerifier::derive(PASSWORD, *b"salt", 16),
        Some(certificate()),
    )
}

/// Both our ends against each other, up to the server's verdict and the client's check of it.
fn exchange(
    server: ServerExchange,
    offered: &[&str],
    password: &str,
    binding: Option<&ChannelBinding>,
) -> Result<Mechanism, ScramError> {
    let (client, initial) = ClientExchange::start(offered.iter().copied(), password, binding)?;
    let (server, first) = server.client_first(initial.mechanism.as_str(), &initial.data)?;
    let (client, response) = client.server_first(&first)?;
    let proven = server.client_final(&response)?;
    client.server_final(&proven.server_final)?;
    Ok(initial.mechanism)
}

#[test]
fn server_speaks_the_example_of_rfc_7677() {
    let (next, server_first) = rfc_server()
        .client_first(SCRAM_SHA_256, rfc_7677::CLIENT_FIRST)
        .unwrap();
    assert_eq!(server_first, rfc_7677::SERVER_FIRST);
    let proven = next.client_final(rfc_7677::CLIENT_FINAL).unwrap();
    assert_eq!(proven.server_final, rfc_7677::SERVER_FINAL);
}

#[test]
fn client_proves_itself_to_the_server_of_rfc_7677() {
    // The example names the user inside the message, PostgreSQL does not, so the proofs differ; the nonces do not.
    let nonce = rfc_7677::CLIENT_NONCE.to_owned();
    let (client, initial) =
        ClientExchange::start_with_nonce([SCRAM_SHA_256], "pencil", None, nonce).unwrap();
    assert_eq!(initial.data, b"n,,n=,r=rOprNGfwEbeRWgbNEkqO");
    let (server, first) = rfc_server()
        .client_first(SCRAM_SHA_256, &initial.data)
        .unwrap();
    assert_eq!(first, rfc_7677::SERVER_FIRST);
    let (client, response) = client.server_first(&first).unwrap();
    client
        .server_final(&server.client_final(&response).unwrap().server_final)
        .unwrap();
}

#[test]
fn both_ends_agree_with_and_without_channel_binding() {
    let both = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
    let binding = certificate();
    assert_eq!(
        exchange(server(), &[SCRAM_SHA_256], PASSWORD, None),
        Ok(Mechanism::ScramSha256)
    );
    assert_eq!(
        exchange(server(), &[SCRAM_SHA_256], PASSWORD, Some(&binding)),
        Ok(Mechanism::ScramSha256)
    );
    assert_eq!(
        exchange(binding_server(), &both, PASSWORD, Some(&binding)),
        Ok(Mechanism::ScramSha256Plus)
    );
    assert_eq!(
        exchange(binding_server(), &both, PASSWORD, None),
        Ok(Mechanism::ScramSha256)
    );
}

#[test]
fn a_postgres_protocol_client_gets_in() {
    for (server, mechanism, binding) in [
        (server(), SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        (server(), SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
        (
            binding_server(),
            SCRAM_SHA_256_PLUS,
            sasl::ChannelBinding::tls_server_end_point(certificate().as_bytes().to_vec()),
        ),
    ] {
        let mut client = sasl::ScramSha256::new(PASSWORD.as_bytes(), binding);
        let (next, first) = server.client_first(mechanism, client.message()).unwrap();
        client.update(&first).unwrap();
        let proven = next.client_final(client.message()).unwrap();
        client.finish(&proven.server_final).unwrap();
    }
}

#[test]
fn passwords_are_prepared_as_postgresql_prepares_them() {
    // SASLprep maps U+00AA to "a"; a control character makes it fail and the bytes count as they are.
    let of = |password| ScramVerifier::derive(password, *b"salt", 2);
    assert_eq!(of("\u{aa}"), of("a"));
    for raw in ["bell\u{7}", "\u{aa}\u{7}"] {
        let mut client =
            sasl::ScramSha256::new(raw.as_bytes(), sasl::ChannelBinding::unsupported());
        let server = ServerExchange::start(of(raw), None);
        let (next, first) = server
            .client_first(SCRAM_SHA_256, client.message())
            .unwrap();
        client.update(&first).unwrap();
        next.client_final(client.message()).unwrap();
    }
}

#[test]
fn a_wrong_password_is_a_wrong_proof() {
    let error = exchange(server(), &[SCRAM_SHA_256], "incorrect horse", None).unwrap_err();
    assert_eq!(
        (error.clone(), error.code()),
        (ScramError::WrongProof, ErrorCode::AuthenticationFailed)
    );
}

#[test]
fn no_password_satisfies_a_mock_and_its_salt_stays() {
    let first = ScramVerifier::mock(b"secret", "nobody");
    assert_eq!(first, ScramVerifier::mock(b"secret", "nobody"));
    assert_ne!(first.salt, ScramVerifier::mock(b"secret", "somebody").salt);
    assert_ne!(first.salt, ScramVerifier::mock(b"other", "nobody").salt);
    assert_eq!(
        (first.salt.len(), first.iterations),
        (16, DEFAULT_ITERATIONS)
    );
    for password in ["", "nobody", PASSWORD] {
        let server = ServerExchange::start(first.clone(), None);
        assert_eq!(
            exchange(server, &[SCRAM_SHA_256], password, None),
            Err(ScramError::WrongProof)
        );
    }
}

#[test]
fn a_replayed_proof_is_of_another_exchange() {
    let first = b"n,,n=,r=clientnonce";
    let recorded = |exchange: ServerExchange| exchange.client_first(SCRAM_SHA_256, first).unwrap();
    let (next, server_first) = recorded(server());
    let (client, _) =
        ClientExchange::start_with_nonce([SCRAM_SHA_256], PASSWORD, None, "clientnonce".into())
            .unwrap();
    let (_, client_final) = client.server_first(&server_first).unwrap();
    next.client_final(&client_final).unwrap();
    let (again, _) = recorded(server());
    assert_eq!(
        again.client_final(&client_final).unwrap_err(),
        ScramError::NonceMismatch
    );
}

#[test]
fn a_stripped_mechanism_list_is_noticed() {
    let binding = certificate();
    assert_eq!(
        exchange(binding_server(), &[SCRAM_SHA_256], PASSWORD, Some(&binding)),
        Err(ScramError::Downgrade)
    );
}

#[test]
fn a_proof_bound_to_another_certificate_is_refused() {
    let other = ChannelBinding::tls_server_end_point(vec![8; 32]);
    assert_eq!(
        exchange(
            binding_server(),
            &[SCRAM_SHA_256_PLUS],
            PASSWORD,
            Some(&other)
        ),
        Err(ScramError::ChannelBindingMismatch)
    );
}

#[test]
fn the_stored_form_is_postgresqls() {
    let verifier = ScramVerifier::derive("pencil", rfc_7677::SALT, 4096);
    let text = verifier.to_string();
    assert!(
        text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"),
        "{text}"
    );
    assert_eq!(text.parse(), Ok(verifier));
    for wrong in [
        "",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:AAAA",
        "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert_eq!(
            wrong.parse::<ScramVerifier>(),
            Err(InvalidVerifier),
            "{wrong}"
        );
    }
}

#[test]
fn debug_shows_no_key() {
    let verifier = ScramVerifier::generate(PASSWORD);
    assert_eq!(
        format!("{verifier:?}"),
        "ScramVerifier { iterations: 4096, .. }"
    );
    assert_ne!(verifier.salt, ScramVerifier::generate(PASSWORD).salt);
}
