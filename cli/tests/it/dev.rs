//! The life of `pglens dev`.

use std::path::Path;

use serde_json::Value;
use tokio_postgres::NoTls;

use super::command::{Dev, eventually, is_alive, kill, output, pglens, read_ready, ready_file};

fn pid(ready: &Value, name: &str) -> Option<u32> {
    ready["pids"][name]
        .as_u64()
        .map(|pid| u32::try_from(pid).unwrap())
}

/// Logs in through the proxy as a new process would, and counts the customers.
async fn count_customers(dev: &Dev) -> i64 {
    let (user, password) = (dev.text("demo_user"), dev.text("demo_password"));
    let (proxy, database) = (dev.text("proxy"), dev.text("demo_database"));
    let url = format!("postgresql://{user}:{password}@{proxy}/{database}?sslmode=disable");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client
        .query_one("select count(*) from customers", &[])
        .await;
    row.unwrap().get(0)
}

async fn target(dev: &Dev) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(dev.text("target_url"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn data_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new()
        .prefix("pglens-dev-")
        .tempdir()
        .unwrap();
    // PostgreSQL may run as another user, who has to pass through.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_its_data_and_fresh_wipes_them() {
    let folder = data_folder();
    let first = Dev::start(folder.path(), &[]);
    assert_eq!(count_customers(&first).await, 400);
    target(&first)
        .await
        .batch_execute("create table kept ()")
        .await
        .unwrap();
    let password = first.text("demo_password").to_owned();
    let postgres = pid(&first.ready, "postgres").unwrap();
    assert_eq!(pid(&first.ready, "control_plane"), Some(first.pid()));
    let (status, printed) = first.end("INT");
    assert!(status.success(), "{status}: {printed}");
    assert!(printed.contains("psql 'postgresql://demo:"), "{printed}");
    assert!(printed.contains("curl -u admin:"), "{printed}");
    assert!(printed.contains("Ctrl-C stops everything"), "{printed}");
    assert!(!is_alive(postgres));
    assert!(!ready_file(folder.path()).exists());

    let second = Dev::start(folder.path(), &[]);
    assert_eq!(second.text("demo_password"), password);
    assert_eq!(count_customers(&second).await, 400);
    target(&second)
        .await
        .batch_execute("select from kept")
        .await
        .unwrap();
    in_use(folder.path());
    let (status, _printed) = second.end("TERM");
    assert!(status.success(), "{status}");

    let fresh = Dev::start(folder.path(), &["--fresh"]);
    assert_ne!(fresh.text("demo_password"), password);
    assert_eq!(count_customers(&fresh).await, 400);
    let gone = target(&fresh).await.batch_execute("select from kept").await;
    assert_eq!(gone.unwrap_err().code().unwrap().code(), "42P01");
}

/// Another one on the same folder is refused, `--fresh` or not.
fn in_use(folder: &Path) {
    let data_dir = folder.join("data");
    let mut args = vec!["dev", "--fresh", "--data-dir", data_dir.to_str().unwrap()];
    args.extend([
        "--postgres-port=0",
        "--listen-addr=127.0.0.1:0",
        "--api-addr=127.0.0.1:0",
    ]);
    let refused = output(&mut pglens(&args));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(
        stderr.contains("is in use by another `pglens dev`"),
        "{stderr}"
    );
    assert_eq!(refused.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_in_processes_are_started_again_and_stopped_with_us() {
    let folder = data_folder();
    let mut dev = Dev::start(folder.path(), &["--processes"]);
    for plane in ["data_plane", "control_plane"] {
        let before = pid(&dev.ready, plane).unwrap();
        assert_ne!(before, dev.pid());
        kill(before, "KILL");
        eventually("another process", || {
            let now = pid(&read_ready(folder.path()), plane);
            now.is_some_and(|now| now != before)
        });
    }
    dev.ready = read_ready(folder.path());
    eventually("both planes are ready", || {
        ["control_plane", "data_plane"]
            .iter()
            .all(|plane| is_ready(&dev, plane))
    });
    assert_eq!(count_customers(&dev).await, 400);

    let pids =
        ["control_plane", "data_plane", "postgres"].map(|name| pid(&dev.ready, name).unwrap());
    let (status, _printed) = dev.end("INT");
    assert!(status.success(), "{status}");
    assert_eq!(pids.map(is_alive), [false; 3]);
}

#[test]
fn nothing_outlives_a_killed_command() {
    let folder = data_folder();
    let dev = Dev::start(folder.path(), &["--processes"]);
    let pids =
        ["control_plane", "data_plane", "postgres"].map(|name| pid(&dev.ready, name).unwrap());
    drop(dev); // kill -9
    eventually("all have ended", || !pids.iter().copied().any(is_alive));
}

/// A bare HTTP request: the command has no need of a client here.
fn is_ready(dev: &Dev, plane: &str) -> bool {
    use std::io::{Read, Write};
    let url = dev.ready["operations"][plane].as_str().unwrap();
    let Ok(mut socket) = std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()) else {
        return false;
    };
    let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    socket.write_all(request).is_ok()
        && socket.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
