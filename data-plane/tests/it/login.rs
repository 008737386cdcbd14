//! What happens before a session: encryption, wrong passwords, denials, and targets that do not answer.

use pglens_rpc::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::PASSWORD;
use crate::harness::{Stack, db_error, psql, text};

const TLS: [(&str, &str); 2] = [
    ("PGL_TLS_CERT", "file:server.pem"),
    ("PGL_TLS_KEY", "file:server.key"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_28p01() {
    let stack = Stack::start().await;
    let output = psql(&stack.url("wrong"), &["-c", "select 1"]).await;
    let error = text(&output.stderr);
    assert!(
        error.contains("FATAL:  password authentication failed"),
        "{error}"
    );
    assert!(stack.control.statements().is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_told_in_the_words_of_the_control_plane() {
    let stack = Stack::start().await;
    stack.control.state().deny = Some(v1::Deny {
        code: "no_grant".to_owned(),
        message: "no grant".to_owned(),
        detail: "There is none.".to_owned(),
        hint: "Ask for one.".to_owned(),
    });
    let error = stack.try_connect().await.err().unwrap();
    assert_eq!(
        db_error(&error),
        ("42501".to_owned(), "no grant".to_owned())
    );
    let error = error.as_db_error().unwrap();
    assert_eq!(
        (error.detail(), error.hint()),
        (Some("There is none."), Some("Ask for one."))
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_logs_in_over_tls_with_channel_binding() {
    let stack = Stack::start_with(&TLS).await;
    let url = format!(
        "{}&sslmode=verify-full&channel_binding=require&sslrootcert={}",
        stack.url(PASSWORD),
        stack.control.file("ca.pem").display()
    );
    let output = psql(&url, &["-Atc", "select 1"]).await;
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        ("1\n".into(), String::new())
    );
    let start = stack.control.state().starts[0].clone();
    let tls = start.tls.unwrap();
    assert_eq!(
        (tls.version.as_str(), tls.server_end_point.len()),
        ("TLSv1.3", 32)
    );
    assert_eq!(
        (start.user.as_str(), start.database.as_str()),
        ("ann", "shop")
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_clear_is_taken_inside_tls_only() {
    let settings = [TLS[0], TLS[1], ("PGL_CLIENT_AUTH", "password")];
    let stack = Stack::start_with(&settings).await;
    let url = |mode: &str| format!("{}&sslmode={mode}", stack.url(PASSWORD));
    let output = psql(&url("require"), &["-Atc", "select 1"]).await;
    assert_eq!(text(&output.stdout), "1\n", "{output:?}");
    let output = psql(&url("disable"), &["-Atc", "select 1"]).await;
    assert_eq!(text(&output.stdout), "1\n", "by SCRAM: {output:?}");
    let methods: Vec<_> = stack
        .control
        .state()
        .starts
        .iter()
        .map(v1::LoginStart::method)
        .collect();
    assert_eq!(
        methods,
        [v1::AuthMethod::Password, v1::AuthMethod::ScramSha256]
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_can_be_required() {
    let settings = [TLS[0], TLS[1], ("PGL_TLS_REQUIRED", "true")];
    let stack = Stack::start_with(&settings).await;
    let url = format!("{}&sslmode=disable", stack.url(PASSWORD));
    let error = text(&psql(&url, &["-c", "select 1"]).await.stderr);
    assert!(
        error.contains("connections without TLS are not accepted"),
        "{error}"
    );
    assert!(
        error.contains("HINT:  Connect with sslmode=require."),
        "{error}"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_the_ssl_request_are_refused() {
    let stack = Stack::start_with(&TLS).await;
    let mut socket = TcpStream::connect(stack.proxy()).await.unwrap();
    socket
        .write_all(&[0, 0, 0, 8, 4, 210, 22, 47, 0, 0, 0, 9, 0, 3, 0, 0, 0])
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _reset = socket.read_to_end(&mut answer).await;
    let answer = text(&answer);
    assert!(
        answer.contains("received unencrypted data after SSL request"),
        "{answer:?}"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_is_refused_before_any_login() {
    let stack = Stack::start().await;
    let url = format!("{}&replication=database", stack.url(PASSWORD));
    let error = text(&psql(&url, &["-c", "select 1"]).await.stderr);
    assert!(
        error.contains("replication connections are not supported"),
        "{error}"
    );
    assert!(stack.control.state().starts.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn startup_parameters_reach_the_target() {
    let stack = Stack::start().await;
    let url = format!("{}&options=-c%20work_mem%3D77MB", stack.url(PASSWORD));
    let output = psql(
        &url,
        &["-Atc", "show work_mem", "-c", "show application_name"],
    )
    .await;
    assert_eq!(text(&output.stdout), "77MB\npglens/ann: test\n");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_is_08001_and_stays_unnamed() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| terms.target.port = 1);
    let error = stack.try_connect().await.err().unwrap();
    assert_eq!(
        db_error(&error),
        (
            "08001".to_owned(),
            "the database is not reachable through PgLens".to_owned()
        )
    );
    let ended = stack.control.ended_session().await;
    assert_eq!(
        (ended.reason.as_str(), ended.sqlstate.as_str()),
        ("target_unavailable", "08001")
    );
    stack.control.terms(|terms| {
        terms.target.port = u32::from(stack.database.port);
        terms.target.password = "not it".to_owned();
    });
    let error = stack.try_connect().await.err().unwrap();
    assert_eq!(db_error(&error).0, "08001");
    assert!(!format!("{error:?}").contains(&stack.database.user.clone()));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_53300() {
    let stack = Stack::start_with(&[("PGL_MAX_SESSIONS", "1")]).await;
    let _first = stack.connect().await;
    let error = stack.try_connect().await.err().unwrap();
    assert_eq!(db_error(&error).0, "53300");
    stack.stop().await;
}
