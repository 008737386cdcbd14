//! Servers that really run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pglens_pgserver::{
    Account, Durability, Options, Orphaned, PgBinaries, PgServer, StartError, initialise,
};
use tokio_postgres::{Client, NoTls};

/// A folder that the server's user can reach, unlike one below root's home.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix("pglens-pgserver-")
        .tempdir()
        .unwrap();
    Account::unprivileged()
        .unwrap()
        .prepare_folder(folder.path())
        .unwrap();
    folder
}

fn options(folder: &Path) -> Options {
    let binaries = PgBinaries::find(None).unwrap();
    Options {
        durability: Durability::Test,
        ..Options::new(binaries, folder.to_owned())
    }
}

async fn connect(server: &PgServer) -> Client {
    let (client, connection) = server.config("postgres").connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn setting(client: &Client, name: &str) -> String {
    let row = client
        .query_one("select current_setting($1)", &[&name])
        .await
        .unwrap();
    row.get(0)
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).join("fd").exists() // a zombie has none
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_second_start_finds_the_data_and_the_password() {
    let folder = folder();
    let settings = vec![("max_connections".to_owned(), "17".to_owned())];
    let first = PgServer::start(Options {
        settings,
        ..options(folder.path())
    })
    .await
    .unwrap();
    let client = connect(&first).await;
    assert_eq!(setting(&client, "max_connections").await, "17");
    assert_eq!(setting(&client, "listen_addresses").await, "127.0.0.1");
    assert_eq!(setting(&client, "server_encoding").await, "UTF8");
    client
        .batch_execute("create table kept as select 42 as answer")
        .await
        .unwrap();
    let pid = first.pid();
    first.stop().await;
    assert!(!is_alive(pid));

    let second = PgServer::start(options(folder.path())).await.unwrap();
    let row = connect(&second)
        .await
        .query_one("select answer from kept", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    second.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let folder = folder();
    let server = PgServer::start(options(folder.path())).await.unwrap();
    let error = server
        .config("postgres")
        .password("wrong")
        .connect(NoTls)
        .await
        .err()
        .unwrap();
    assert_eq!(
        error.code().map(tokio_postgres::error::SqlState::code),
        Some("28P01")
    );
    server.stop().await;
}

#[tokio::test]
async fn the_folder_is_held_and_a_taken_port_is_named() {
    let folder = folder();
    let server = PgServer::start(options(folder.path())).await.unwrap();
    let again = PgServer::start(options(folder.path())).await.unwrap_err();
    assert!(
        again.to_string().ends_with("is in use by another process"),
        "{again}"
    );

    let elsewhere = self::folder();
    let port = server.port();
    let taken = PgServer::start(Options {
        port,
        ..options(elsewhere.path())
    })
    .await
    .unwrap_err();
    assert!(
        matches!(taken, StartError::PortInUse { port: named } if named == port),
        "{taken}"
    );
    server.stop().await;
}

#[tokio::test]
async fn dropping_stops_the_server_and_may_remove_the_folder() {
    let folder = folder();
    let orphaned = Orphaned::StopAndRemove;
    let server = PgServer::start(Options {
        orphaned,
        ..options(folder.path())
    })
    .await
    .unwrap();
    let pid = server.pid();
    tokio::task::spawn_blocking(move || drop(server))
        .await
        .unwrap();
    assert!(!is_alive(pid));
    assert!(!folder.path().exists());
}

#[tokio::test]
async fn a_bad_setting_is_told_in_the_servers_words() {
    let folder = folder();
    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let error = PgServer::start(Options {
        settings,
        ..options(folder.path())
    })
    .await
    .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("unrecognized configuration parameter"),
        "{message}"
    );
    assert!(!message.contains('\n'), "{message}");
}

#[tokio::test]
async fn a_killed_server_starts_again_on_its_data() {
    let folder = folder();
    let durable = || Options {
        durability: Durability::Full,
        ..options(folder.path())
    };
    initialise(&options(folder.path())).unwrap();
    let mut server = PgServer::start(durable()).await.unwrap();
    connect(&server)
        .await
        .batch_execute("create table kept ()")
        .await
        .unwrap();
    kill(server.pid(), "KILL");
    let status = tokio::time::timeout(Duration::from_secs(10), server.exited()).await;
    assert!(!status.unwrap().unwrap().success());
    tokio::task::spawn_blocking(move || drop(server))
        .await
        .unwrap();

    // The file now names a process that lives and is no PostgreSQL: ourselves.
    let pid_file = folder.path().join("data/postmaster.pid");
    let text = std::fs::read_to_string(&pid_file).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    std::fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    let server = PgServer::start(durable()).await.unwrap();
    connect(&server)
        .await
        .batch_execute("select from kept")
        .await
        .unwrap();
    server.stop().await;
}

/// The child of [`no_server_survives_its_owner`]: starts a server and is killed.
#[tokio::test]
#[ignore = "only run by another test"]
async fn owner_that_is_killed() {
    let folder = PathBuf::from(std::fs::read_to_string(OWNER_FOLDER_FILE).unwrap());
    let server = PgServer::start(options(&folder)).await.unwrap();
    std::fs::write(folder.join("started"), server.pid().to_string()).unwrap();
    std::future::pending::<()>().await;
}

const OWNER_FOLDER_FILE: &str = "/proc/self/fd/0"; // the child's standard input

#[tokio::test]
async fn no_server_survives_its_owner() {
    if !Path::new(OWNER_FOLDER_FILE).exists() {
        return; // no /proc on this system
    }
    let folder = folder();
    let name = folder.path().join("name");
    std::fs::write(&name, folder.path().to_str().unwrap()).unwrap();
    let mut owner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "server::owner_that_is_killed"])
        .stdin(std::fs::File::open(&name).unwrap())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = folder.path().join("started");
    eventually("the server started", || started.exists()).await;
    eventually("its id is written", || {
        !std::fs::read_to_string(&started).unwrap().is_empty()
    })
    .await;
    let pid: u32 = std::fs::read_to_string(&started).unwrap().parse().unwrap();
    assert!(is_alive(pid));
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the server ended", || !is_alive(pid)).await;
}

fn kill(pid: u32, signal: &str) {
    let pid = pid.to_string();
    let status = std::process::Command::new("kill")
        .args(["-s", signal, &pid])
        .status();
    assert!(status.unwrap().success());
}
