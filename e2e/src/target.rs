//! A PostgreSQL server to reach through PgLens, whose log tells every statement it executed.

use std::path::PathBuf;

use pglens_pgserver::{Durability, Options, Orphaned, PgServer};
use pglens_testkit::target_binaries;
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::api::Person;
use crate::client::Login;
use crate::statement_log::statements_of;

/// The database of the server that tests work in. Not the name PgLens knows it by.
pub const DATABASE: &str = "e2e_target";

/// A throw-away server of the major under test, with its superuser as the login that PgLens stores.
#[derive(Debug)]
pub struct Target {
    server: Option<PgServer>,
    statements: PathBuf,
    login: Login,
    // Removed last.
    _folder: TempDir,
}

impl Target {
    /// Starts a server with one empty database, [`DATABASE`].
    pub async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// Starts a server with further settings.
    pub async fn start_with(settings: Vec<(String, String)>) -> Self {
        let folder = open_folder();
        let mut options = Options::new(target_binaries(), folder.path().join("target"));
        options.durability = Durability::Test;
        options.orphaned = Orphaned::StopAndRemove;
        options.superuser = "stored_owner".to_owned();
        options.settings = [
            ("logging_collector", "on"),
            ("log_destination", "csvlog"),
            ("log_directory", "log"),
            ("log_filename", "target.log"),
            ("log_rotation_age", "0"),
            ("log_rotation_size", "0"),
            ("log_statement", "all"),
            ("max_connections", "60"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        options.settings.extend(settings);
        let server = PgServer::start(options).await.expect("the target starts");
        let (client, connection) = server
            .config("postgres")
            .connect(NoTls)
            .await
            .expect("connect");
        tokio::spawn(connection);
        client
            .batch_execute(&format!("create database {DATABASE}"))
            .await
            .expect("create database");
        let login = Login {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
            user: server.superuser().to_owned(),
            password: server.superuser_password().expose().clone(),
            database: DATABASE.to_owned(),
            options: "sslmode=disable".to_owned(),
        };
        Self {
            statements: folder.path().join("target/data/log/target.csv"),
            server: Some(server),
            login,
            _folder: folder,
        }
    }

    /// A direct connection, for comparison: the login PgLens stores.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Runs statements directly, over a connection of its own.
    pub async fn execute(&self, sql: &str) {
        let client = self.login.connect().await;
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// One value, asked for directly.
    pub async fn value(&self, sql: &str) -> String {
        let client = self.login.connect().await;
        client
            .query_one(&format!("select ({sql})::text"), &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
            .get(0)
    }

    /// Texts of the statements that the server executed for the PgLens user `person`, in order, each as the message
    /// held it: a text with a syntax error is not among them, and one text may hold several statements.
    pub fn executed(&self, person: &Person) -> Vec<String> {
        let log = std::fs::read_to_string(&self.statements).expect("the statement log");
        statements_of(&log, &format!("pglens/{}", person.name))
    }

    /// Stops the server; what PgLens then says of it is the subject of a test.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }
}

/// A temporary folder that the user who runs PostgreSQL may enter.
pub fn open_folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix("pglens-e2e-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary folder")
}
