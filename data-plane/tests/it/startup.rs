//! From the first byte to the startup message, said by raw sockets: requests for encryption, versions, load balancers.

use crate::harness::Stack;
use crate::raw::{GSS_ENC_REQUEST, SSL_REQUEST, dial, encrypt, startup};

const TLS: [(&str, &str); 2] = [
    ("PGL_TLS_CERT", "file:server.pem"),
    ("PGL_TLS_KEY", "file:server.key"),
];

#[tokio::test(flavor = "multi_thread")]
async fn encryption_may_be_asked_for_in_either_order() {
    let stack = Stack::start().await;
    for requests in [
        [SSL_REQUEST, GSS_ENC_REQUEST],
        [GSS_ENC_REQUEST, SSL_REQUEST],
    ] {
        let mut client = dial(&stack).await;
        for request in requests {
            client.send(&request).await;
            assert_eq!(client.byte().await, b'N');
        }
        client.log_in(0, &[]).await;
    }
    stack.stop().await;

    let stack = Stack::start_with(&TLS).await;
    let mut client = dial(&stack).await;
    client.send(&GSS_ENC_REQUEST).await;
    assert_eq!(client.byte().await, b'N');
    client.send(&SSL_REQUEST).await;
    assert_eq!(client.byte().await, b'S');
    // ALPN is optional here, as for clients before PostgreSQL 17.
    let mut client = encrypt(&stack, client.0, &[]).await;
    client.log_in(0, &[]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_asked_for_once() {
    let stack = Stack::start().await;
    let error = |version: &str| {
        format!("unsupported frontend protocol {version}: server supports 3.0 to 3.2")
    };
    for (request, version) in [(SSL_REQUEST, "1234.5679"), (GSS_ENC_REQUEST, "1234.5680")] {
        let mut client = dial(&stack).await;
        client.send(&request).await;
        assert_eq!(client.byte().await, b'N');
        client.send(&request).await;
        let told = client.rest().await;
        assert!(
            told.contains(&error(version)) && told.contains("0A000"),
            "{told}"
        );
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_may_stand_behind_a_request_for_encryption() {
    for settings in [&TLS[..], &[]] {
        let stack = Stack::start_with(settings).await;
        for (request, name) in [
            (SSL_REQUEST, "SSL request"),
            (GSS_ENC_REQUEST, "GSSAPI encryption request"),
        ] {
            let mut client = dial(&stack).await;
            client
                .send(&[&request[..], &startup(0, &[])].concat())
                .await;
            let told = client.rest().await;
            let expected = format!("received unencrypted data after {name}");
            assert!(
                told.contains(&expected) && told.contains("08P01"),
                "{told:?}"
            );
        }
        assert!(stack.control.state().starts.is_empty());
        stack.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_begin_with_tls() {
    let stack = Stack::start_with(&TLS).await;
    let socket = dial(&stack).await.0;
    let mut client = encrypt(&stack, socket, &["postgresql"]).await;
    // It has what it could ask for.
    for request in [SSL_REQUEST, GSS_ENC_REQUEST] {
        client.send(&request).await;
        assert_eq!(client.byte().await, b'N');
    }
    client.log_in(0, &[]).await;
    assert!(stack.control.state().starts[0].tls.is_some());

    let socket = dial(&stack).await.0;
    let mut client = encrypt(&stack, socket, &[]).await;
    let told = client.rest().await;
    assert!(told.contains("without ALPN"), "{told:?}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_negotiated_as_postgresql_18_does() {
    let stack = Stack::start().await;
    let check = async |minor: u16, options: &[(&str, &str)], told: Option<&[u8]>, key: usize| {
        let mut client = dial(&stack).await;
        let greeting = client.log_in(minor, options).await;
        assert_eq!(greeting.negotiated.as_deref(), told, "3.{minor}");
        assert_eq!(greeting.secret.len(), key, "3.{minor}");
    };
    check(0, &[], None, 4).await;
    check(1, &[], None, 4).await;
    check(2, &[], None, 32).await;
    check(3, &[], Some(b"\0\x03\0\x02\0\0\0\0"), 32).await;
    let options = [("_pq_.one", "1"), ("_pq_.two", "")];
    let named = b"\0\x03\0\x00\0\0\0\x02_pq_.one\0_pq_.two\0";
    check(0, &options, Some(named), 4).await;
    let minors: Vec<_> = {
        let state = stack.control.state();
        state.starts.iter().map(|one| one.protocol_minor).collect()
    };
    assert_eq!(minors, [0, 1, 2, 2, 0]);

    let mut client = dial(&stack).await;
    client.send(&[0, 0, 0, 8, 0, 2, 0, 0]).await;
    let told = client.rest().await;
    assert!(
        told.contains("unsupported frontend protocol 2.0"),
        "{told:?}"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_tells_who_the_client_is() {
    let networks = ("PGL_PROXY_PROTOCOL_NETWORKS", "10.0.0.0/8,127.0.0.1");
    let stack = Stack::start_with(&[networks, TLS[0], TLS[1]]).await;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".to_vec();
    v2.extend([192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x22, 0x15, 0x38]);
    v2.extend([0x04, 0, 1, 0]); // an extension
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    // In pieces, as TCP may deliver it.
    let mut client = dial(&stack).await;
    for piece in v2.chunks(5) {
        client.send(piece).await;
    }
    client.log_in(0, &[]).await;
    // Everything at once, and TLS behind it.
    let mut client = dial(&stack).await;
    client
        .send(b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 5432\r\n")
        .await;
    let mut client = encrypt(&stack, client.0, &["postgresql"]).await;
    client.log_in(0, &[]).await;
    // The balancer itself.
    let mut client = dial(&stack).await;
    let own = client.0.local_addr().unwrap();
    client.send(local).await;
    client.log_in(0, &[]).await;

    let addresses: Vec<_> = {
        let state = stack.control.state();
        let starts = state.starts.iter();
        starts.map(|one| one.client_address.clone()).collect()
    };
    let own = own.to_string();
    assert_eq!(
        addresses,
        ["192.0.2.7:51234", "[2001:db8::7]:51234", own.as_str()]
    );

    // A health check is no error, and nobody comes in without a header.
    let mut client = dial(&stack).await;
    client.send(local).await;
    drop(client);
    let mut client = dial(&stack).await;
    client.send(&startup(0, &[])).await;
    assert_eq!(client.rest().await, "");
    assert_eq!(stack.control.state().starts.len(), 3);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_say_who_the_client_is() {
    let networks = ("PGL_PROXY_PROTOCOL_NETWORKS", "10.0.0.0/8");
    for settings in [&[networks][..], &[]] {
        let stack = Stack::start_with(settings).await;
        let mut client = dial(&stack).await;
        client
            .send(b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 5432\r\n")
            .await;
        assert_eq!(client.rest().await, "");
        dial(&stack).await.log_in(0, &[]).await;
        stack.stop().await;
    }
}
