//! A PostgreSQL server for each test process, a database for each test.
//!
//! `initdb` takes a second, so it runs once for the machine: a template below the temporary folder is copied for each
//! server. Servers and their folders go when the test process does, also when it is killed.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use pglens_pgserver::{Account, Durability, Options, Orphaned, PgBinaries, PgServer, initialise};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::major::{target_binaries, version};

/// The shared server of this process.
static SHARED: OnceCell<TestPostgres> = OnceCell::const_new();
/// The shared target of this process.
static TARGET: OnceCell<TestPostgres> = OnceCell::const_new();

/// A server that lives as long as the test.
#[derive(Debug)]
pub struct TestPostgres {
    server: PgServer,
    databases: AtomicU32,
}

/// An empty database with its superuser.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// Everything below as one connection URL.
    pub url: String,
    /// The database.
    pub name: String,
    /// Always an address, never a socket folder.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// A superuser.
    pub user: String,
    /// Its password, of letters and digits only.
    pub password: String,
}

impl TestPostgres {
    /// The server that all tests of this process share; the first call starts it.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(&[])).await
    }

    /// The server that all tests of this process share as a target of PgLens: of the major under test, which
    /// [`target_binaries`] tells.
    pub async fn target() -> &'static Self {
        TARGET.get_or_init(|| Self::start_target(&[])).await
    }

    /// A server of the test's own, with `-c` settings. It is stopped when dropped.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let binaries = PgBinaries::find(None).unwrap_or_else(|error| panic!("{error}"));
        Self::start_of(binaries, settings).await
    }

    /// The same, of the major under test.
    pub async fn start_target(settings: &[(&str, &str)]) -> Self {
        Self::start_of(target_binaries(), settings).await
    }

    async fn start_of(binaries: PgBinaries, settings: &[(&str, &str)]) -> Self {
        let template = tokio::task::spawn_blocking({
            let binaries = binaries.clone();
            move || template(binaries)
        });
        let folder = copy_of(&template.await.unwrap());
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let server = PgServer::start(Options {
            settings: settings.collect(),
            durability: Durability::Test,
            orphaned: Orphaned::StopAndRemove,
            ..Options::new(binaries, folder)
        });
        Self {
            server: server.await.unwrap_or_else(|error| panic!("{error}")),
            databases: AtomicU32::new(0),
        }
    }

    /// A new database, empty but for what PostgreSQL itself puts there.
    pub async fn create_database(&self) -> TestDatabase {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let admin = self.database("postgres").connect().await;
        let statement = format!("create database {name}");
        admin.batch_execute(&statement).await.unwrap();
        self.database(&name)
    }

    /// A database of this server that exists already.
    #[must_use]
    pub fn database(&self, name: &str) -> TestDatabase {
        let (user, port) = (self.server.superuser(), self.server.port());
        let password = self.server.superuser_password().expose();
        TestDatabase {
            url: format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}"),
            name: name.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            user: user.to_owned(),
            password: password.clone(),
        }
    }

    /// The server itself, for tests that stop, kill or look into it.
    #[must_use]
    pub fn server(&self) -> &PgServer {
        &self.server
    }

    /// Stops the server in good order.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl TestDatabase {
    /// A client; its connection runs in a task of its own.
    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// The folder below the temporary one that holds template and servers, private to whoever runs servers.
fn root() -> PathBuf {
    let account = Account::unprivileged().unwrap_or_else(|error| panic!("{error}"));
    let root = std::env::temp_dir().join(format!("pglens-test-{}", account.uid()));
    account
        .prepare_folder(&root)
        .unwrap_or_else(|error| panic!("{error}"));
    root
}

/// A cluster that no server ever ran on, one for each version of PostgreSQL.
fn template(binaries: PgBinaries) -> PathBuf {
    let version: String = version(&binaries)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let root = root();
    let _lock = lock(&root.join("template.lock"));
    let folder = root.join(format!("template-{version}"));
    initialise(&Options {
        durability: Durability::Test,
        ..Options::new(binaries, folder.clone())
    })
    .unwrap_or_else(|error| panic!("{error}"));
    folder
}

/// Waits for the processes of other tests; the lock goes with the file.
fn lock(path: &Path) -> File {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    file.lock().unwrap();
    file
}

fn copy_of(template: &Path) -> PathBuf {
    static SERVERS: AtomicU32 = AtomicU32::new(0);
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    let folder = root().join(format!("server-{}-{number}", std::process::id()));
    // A process of the same id may have been killed together with its watchdog.
    let _absent = std::fs::remove_dir_all(&folder);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(template)
        .arg(&folder)
        .status();
    assert!(
        copied.unwrap().success(),
        "cp -a {} failed",
        template.display()
    );
    folder
}
