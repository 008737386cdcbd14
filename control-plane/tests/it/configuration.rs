//! Starting: bad settings, two replicas at once, storage that comes late, an orderly end.

use pglens_control_plane::{Config, RunError, SETTINGS, run};
use pglens_runtime::{Authority, Settings};
use pglens_testkit::{DEADLINE, TestDatabase, TestPostgres, eventually};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{Plane, pairs};

fn nowhere() -> TestDatabase {
    TestDatabase {
        url: "postgres://u:hunter2@127.0.0.1:1/x".into(),
        name: "x".into(),
        host: "127.0.0.1".into(),
        port: 1,
        user: "u".into(),
        password: "hunter2".into(),
    }
}

fn config(others: &[(&'static str, &str)]) -> Result<Config, pglens_runtime::ConfigError> {
    let files = TempDir::new().unwrap();
    let mut pairs = pairs(&nowhere(), &files, &Authority::new("test").unwrap());
    pairs.retain(|(name, _)| !others.iter().any(|(other, _)| other == name));
    pairs.extend(
        others
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    Config::from_settings(&Settings::from_pairs(SETTINGS, pairs)?)
}

#[test]
fn bad_settings_are_named_with_their_source() {
    let check = |others: &[(&'static str, &str)], expected: &str| {
        let message = config(others).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
        assert!(
            !message.contains("hunter2") && !message.contains('\n'),
            "{message}"
        );
    };
    let short = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ==";
    check(&[("PGL_KEY", "")], "PGL_KEY: is required");
    check(
        &[("PGL_KEY", short)],
        "PGL_KEY (given by the program): key 1 has 31 bytes, must have 32 (base64-encoded)",
    );
    check(
        &[("PGL_KEYFILE", "/nowhere")],
        "PGL_KEYFILE (given by the program): PGL_KEY is given as well",
    );
    check(
        &[("PGL_KEY", ""), ("PGL_KEYFILE", "/nowhere")],
        "PGL_KEYFILE (given by the program): cannot read /nowhere",
    );
    check(&[("PGL_DSN", "")], "PGL_DSN: is required");
    check(
        &[("PGL_DSN", "postgres://u:hunter2@h:x/d")],
        "PGL_DSN (given by the program): ",
    );
    check(
        &[("PGL_DSN", "host=h password=hunter2 colour=red")],
        "PGL_DSN (given by the program): ",
    );
    check(
        &[("PGL_API_ADDR", "8080")],
        "PGL_API_ADDR (given by the program): \"8080\" is not an address",
    );
    check(
        &[("PGL_GRPC_CLIENT_CA", "/nowhere")],
        "PGL_GRPC_CLIENT_CA (given by the program): cannot read /nowhere",
    );
    check(
        &[("PGL_LEASE_SECONDS", "1")],
        "PGL_LEASE_SECONDS (given by the program): must be at least 15",
    );
    check(
        &[("PGL_AUDIT_LEVEL", "none")],
        "PGL_AUDIT_LEVEL (given by the program): \"none\" is not one of",
    );
    check(
        &[("PGL_FEED_ENDPOINT", "https://collector:4318/v1/logs")],
        "PGL_FEED_ENDPOINT (given by the program): must have no path",
    );
    check(
        &[("PGL_FEED_HEADERS", "authorization=hunter2")],
        "PGL_FEED_HEADERS (given by the program): PGL_FEED_ENDPOINT is not given",
    );
    check(
        &[
            ("PGL_FEED_ENDPOINT", "https://collector:4317"),
            ("PGL_FEED_HEADERS", "hunter2"),
        ],
        "PGL_FEED_HEADERS (given by the program): header 1 is not of the form name=value",
    );
    check(
        &[
            ("PGL_FEED_ENDPOINT", "https://collector:4317"),
            ("PGL_FEED_CA", "/nowhere"),
        ],
        "PGL_FEED_CA (given by the program): cannot read /nowhere",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_a_bad_setting() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = config(&[("PGL_API_ADDR", &address)]).unwrap();
    let (ready, _) = tokio::sync::oneshot::channel();
    let Err(RunError::Config(error)) = run(config, CancellationToken::new(), ready).await else {
        unreachable!("the port is taken");
    };
    let expected =
        format!("PGL_API_ADDR (given by the program): cannot listen on {address}: address in use");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_share_one_schema_and_one_administrator() {
    let storage = TestPostgres::shared().await.create_database().await;
    let start = || Plane::start_over(storage.clone(), &[]);
    let (one, two, three) = tokio::join!(start(), start(), start());
    for plane in [&one, &two, &three] {
        assert_eq!(
            plane.get("/api/users").await["users"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    let (ann, credentials) = one.user("ann").await;
    assert_eq!(
        two.send(Method::GET, "/api/me", &credentials, Value::Null)
            .await
            .body["id"],
        ann
    );
    for plane in [one, two, three] {
        plane.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_storage_and_says_so() {
    let storage = TestPostgres::shared().await.create_database().await;
    let admin = TestPostgres::shared()
        .await
        .database("postgres")
        .connect()
        .await;
    let hide = format!("alter database {} allow_connections false", storage.name);
    admin.batch_execute(&hide).await.unwrap();

    let (files, operations) = (TempDir::new().unwrap(), free_address().await);
    let mut pairs = pairs(&storage, &files, &Authority::new("test").unwrap());
    pairs.retain(|(name, _)| *name != "PGL_OPS_ADDR");
    pairs.push(("PGL_OPS_ADDR", operations.clone()));
    let config = Config::from_settings(&Settings::from_pairs(SETTINGS, pairs).unwrap()).unwrap();
    let (ready, started) = tokio::sync::oneshot::channel();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(config, shutdown.clone(), ready));
    eventually(DEADLINE, || async {
        readyz(&operations)
            .await
            .is_some_and(|(status, text)| status == 503 && text.contains("storage: the storage"))
    })
    .await;
    let show = format!("alter database {} allow_connections true", storage.name);
    admin.batch_execute(&show).await.unwrap();
    started.await.unwrap();
    assert_eq!(readyz(&operations).await.unwrap().0, 200);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

async fn readyz(operations: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("http://{operations}/readyz"))
        .await
        .ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.text().await.ok()?))
}

/// An address that is free now; the operations server has to be found before it can say where it is.
async fn free_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}
