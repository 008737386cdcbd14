//! Messages that a peer should not have sent.

use proptest::prelude::*;

use super::*;

#[test]
fn malformed_first_messages_are_refused() {
    let check = |server: ServerExchange, mechanism: &str, data: &[u8], expected: ScramError| {
        let text = String::from_utf8_lossy(data).into_owned();
        assert_eq!(
            server.client_first(mechanism, data).err(),
            Some(expected),
            "{mechanism} {text}"
        );
    };
    let malformed = ScramError::Malformed;
    check(
        server(),
        "SCRAM-SHA-1",
        b"n,,n=,r=abc",
        ScramError::MechanismNotOffered,
    );
    check(
        server(),
        SCRAM_SHA_256_PLUS,
        b"p=tls-server-end-point,,n=,r=a",
        ScramError::MechanismNotOffered,
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"p=tls-server-end-point,,n=,r=a",
        malformed("unexpected channel binding flag"),
    );
    for flag in ["n", "y", "p=tls-unique", "p=tls-server-end-point2"] {
        check(
            binding_server(),
            SCRAM_SHA_256_PLUS,
            format!("{flag},,n=,r=abc").as_bytes(),
            malformed("SCRAM-SHA-256-PLUS without channel binding data"),
        );
    }
    check(server(), SCRAM_SHA_256, b"", malformed("no gs2 header"));
    check(server(), SCRAM_SHA_256, b"n,", malformed("no gs2 header"));
    check(
        server(),
        SCRAM_SHA_256,
        b"n,a=admin,n=,r=abc",
        malformed("authorization identities are not supported"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"n,,m=x,n=,r=abc",
        malformed("expected a user name"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"n,,n=",
        malformed("expected a nonce"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"n,,n=,r=",
        malformed("the nonce is not printable"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"n,,n=,r=a b",
        malformed("the nonce is not printable"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"n,,n=,r=abc,",
        malformed("expected an attribute"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"n,,n=,r=\xff",
        malformed("not UTF-8"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        b"n,,n=,r=a\0",
        malformed("contains a null byte"),
    );
    check(
        server(),
        SCRAM_SHA_256,
        &[b'n'; 2000],
        ScramError::MessageTooLong { bytes: 2000 },
    );
}

#[test]
fn malformed_final_messages_are_refused() {
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let check = |data: String, expected: ScramError| {
        let (next, _) = rfc_server()
            .client_first(SCRAM_SHA_256, rfc_7677::CLIENT_FIRST)
            .unwrap();
        assert_eq!(
            next.client_final(data.as_bytes()).err(),
            Some(expected),
            "{data}"
        );
    };
    check(String::new(), ScramError::Malformed("expected a proof"));
    check(
        format!("c=biws,r={nonce}"),
        ScramError::Malformed("expected a proof"),
    );
    check(
        format!("c=biws,p={proof}"),
        ScramError::Malformed("expected a nonce"),
    );
    check(
        format!("c=eSws,r={nonce},p={proof}"),
        ScramError::ChannelBindingMismatch,
    );
    check(
        format!("c=????,r={nonce},p={proof}"),
        ScramError::Malformed("channel binding data"),
    );
    check(
        format!("c=biws,r={nonce}x,p={proof}"),
        ScramError::NonceMismatch,
    );
    check(
        format!("c=biws,r={nonce},p=AAAA"),
        ScramError::Malformed("proof"),
    );
    check(
        format!("c=biws,r={nonce},p={proof},x=y"),
        ScramError::Malformed("trailing data"),
    );
    check(
        format!("c=biws,r={nonce},x=y,p={proof}"),
        ScramError::WrongProof,
    );
}

#[test]
fn the_client_does_not_trust_the_server() {
    let check = |data: &str, expected: ScramError| {
        let (client, _) =
            ClientExchange::start_with_nonce([SCRAM_SHA_256], PASSWORD, None, "abc".into())
                .unwrap();
        assert_eq!(
            client.server_first(data.as_bytes()).err(),
            Some(expected),
            "{data}"
        );
    };
    check("r=abc,s=AAAA,i=1", ScramError::NonceMismatch); // nothing of the server's own
    check("r=xyzabc,s=AAAA,i=1", ScramError::NonceMismatch);
    check(
        "r=abcd,s=AAAA,i=0",
        ScramError::IterationsOutOfBounds { iterations: 0 },
    );
    check(
        "r=abcd,s=AAAA,i=1000001",
        ScramError::IterationsOutOfBounds {
            iterations: 1_000_001,
        },
    );
    check(
        "r=abcd,s=AAAA,i=+5",
        ScramError::Malformed("iteration count"),
    );
    check("r=abcd,s=!,i=5", ScramError::Malformed("salt"));
    check("e=other-error", ScramError::Malformed("expected a nonce"));

    let last = |data: &[u8]| {
        let (client, _) =
            ClientExchange::start_with_nonce([SCRAM_SHA_256], PASSWORD, None, "abc".into())
                .unwrap();
        let (client, _) = client.server_first(b"r=abcd,s=AAAA,i=1").unwrap();
        client.server_final(data)
    };
    assert_eq!(last(b"e=invalid-proof"), Err(ScramError::ServerRefused));
    assert_eq!(
        last(rfc_7677::SERVER_FINAL),
        Err(ScramError::WrongServerSignature)
    );
    assert!(matches!(last(b"v=AAAA"), Err(ScramError::Malformed(_))));
    assert!(matches!(
        ClientExchange::start(["SCRAM-SHA-256-PLUS", "OTHER"], PASSWORD, None),
        Err(ScramError::NoCommonMechanism)
    ));
}

proptest! {
    #[test]
    fn garbage_never_panics(data in proptest::collection::vec(any::<u8>(), 0..200), text in "[a-z=,]{0,60}") {
        for data in [data.as_slice(), text.as_bytes()] {
            let _ = server().client_first(SCRAM_SHA_256, data);
            let _ = binding_server().client_first(SCRAM_SHA_256_PLUS, data);
            let (next, _) = server().client_first(SCRAM_SHA_256, b"n,,n=,r=abc").unwrap();
            prop_assert!(next.client_final(data).is_err());
            let (client, _) = ClientExchange::start([SCRAM_SHA_256], PASSWORD, None).unwrap();
            prop_assert!(client.server_first(data).is_err());
            prop_assert!(String::from_utf8_lossy(data).parse::<ScramVerifier>().is_err());
        }
    }
}
