//! TLS between client and proxy, checked by libpq: the certificate, the name, and the binding of the login to it.

use pglens_e2e::{Stack, StackOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libpq_verifies_the_proxy_and_binds_the_login_to_the_channel() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    let (person, login) = place.reader("secured").await;
    let authority = stack.authority().display().to_string();
    let verified = format!("sslmode=verify-full sslrootcert={authority} channel_binding=require");
    for host in ["127.0.0.1", "localhost"] {
        let login = pglens_e2e::Login {
            host: host.to_owned(),
            ..login.with_options(&verified)
        };
        let seen = login
            .psql_with(&["-At", "-c", "\\conninfo", "-c", "select 'bound'"], "")
            .await;
        let output = seen.success(host);
        assert!(
            output.contains("SSL connection (protocol: TLSv1.3"),
            "{output}"
        );
        assert!(output.ends_with("bound\n"), "{output}");
    }
    let connections = place.api.ended_connections(&person, 2).await;
    assert!(
        connections
            .iter()
            .all(|one| one["tls_version"] == "TLSv1.3"),
        "{connections:?}"
    );

    // The same without TLS works where the server does not insist, and cannot be bound.
    let plain = login
        .with_options("sslmode=disable")
        .psql_with(&["-At", "-c", "select 1"], "")
        .await;
    assert_eq!(plain.success("plain"), "1\n");
    let unbound = login
        .with_options("sslmode=disable channel_binding=require")
        .psql("select 1")
        .await;
    assert_eq!(unbound.code, Some(2), "{unbound:?}");

    let elsewhere = pglens_e2e::target::open_folder();
    let other = pglens_e2e::fleet::certificates(elsewhere.path())
        .await
        .join("ca.pem");
    let mistrusted = format!("sslmode=verify-full sslrootcert={}", other.display());
    let refused = login.with_options(&mistrusted).psql("select 1").await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("certificate verify failed"),
        "{refused:?}"
    );
}
