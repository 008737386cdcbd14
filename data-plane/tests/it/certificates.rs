//! Renewed certificates: new connections see them, running sessions do not notice, broken files change nothing.

use std::path::Path;

use pglens_rpc::v1;
use pglens_runtime::Authority;
use pglens_testkit::{DEADLINE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::PASSWORD;
use crate::harness::{Stack, psql, text};

const TLS: [(&str, &str); 2] = [
    ("PGL_TLS_CERT", "file:server.pem"),
    ("PGL_TLS_KEY", "file:server.key"),
];

/// What psql says when it trusts only `ca`.
async fn trusting(stack: &Stack, ca: &Path) -> String {
    let url = format!(
        "{}&sslmode=verify-full&channel_binding=require&sslrootcert={}",
        stack.url(PASSWORD),
        ca.display()
    );
    let ran = psql(&url, &["-Atc", "select 1"]).await;
    text(&ran.stdout) + &text(&ran.stderr)
}

/// Replaces a file as a whole, as every careful tool does.
fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let stack = Stack::start_with(&TLS).await;
    let (first, second) = (stack.control.file("ca.pem"), stack.control.file("next.pem"));
    assert_eq!(trusting(&stack, &first).await, "1\n");
    let client = stack.connect().await;
    let next = Authority::new("next").unwrap();
    std::fs::write(&second, next.ca_pem()).unwrap();
    let renewed = next.server(&["127.0.0.1"]).unwrap();

    // Half of it: the certificate has another key.
    replace(&stack.control.file("server.pem"), &renewed.certificate);
    eventually(DEADLINE, || async { reads(&stack, "failed").await > 0.0 }).await;
    assert_eq!(
        trusting(&stack, &first).await,
        "1\n",
        "the one before stays"
    );

    replace(&stack.control.file("server.key"), renewed.key.expose());
    eventually(DEADLINE, || async {
        trusting(&stack, &second).await == "1\n"
    })
    .await;
    assert_ne!(trusting(&stack, &first).await, "1\n");
    client.simple_query("select 'still here'").await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_certificates_and_ends_nothing() {
    let stack = Stack::start_with(&TLS).await;
    let client = stack.connect().await;
    let before = reads(&stack, "succeeded").await;
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).unwrap();
    eventually(DEADLINE, || async {
        reads(&stack, "succeeded").await > before
    })
    .await;
    client.simple_query("select 'still here'").await.unwrap();
    // The way to the control plane goes on as well.
    stack
        .connect()
        .await
        .simple_query("select 1")
        .await
        .unwrap();
    stack
        .control
        .terminate(v1::TerminateReason::GrantRevoked)
        .await;
    eventually(DEADLINE, || async { client.is_closed() }).await;
    stack.stop().await;
}

/// `pglens_certificate_reads_total` with this outcome.
async fn reads(stack: &Stack, outcome: &str) -> f64 {
    let mut socket = TcpStream::connect(stack.bound.operations).await.unwrap();
    socket
        .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let label = format!("outcome=\"{outcome}\"");
    answer
        .lines()
        .filter(|line| line.starts_with("pglens_certificate_reads_total") && line.contains(&label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
