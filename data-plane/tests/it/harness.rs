//! A proxy with everything round it.

use std::net::SocketAddr;
use std::process::Output;

use pglens_data_plane::{Bound, Config, RunError, SETTINGS, run};
use pglens_runtime::Settings;
use pglens_testkit::{TestDatabase, TestPostgres};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeControlPlane, PASSWORD};

/// A proxy in this process, its control plane and its target.
pub(crate) struct Stack {
    pub(crate) control: FakeControlPlane,
    pub(crate) database: TestDatabase,
    pub(crate) bound: Bound,
    pub(crate) shutdown: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&'static str, &str)]) -> Self {
        Self::start_for(
            TestPostgres::target().await.create_database().await,
            settings,
        )
        .await
    }

    pub(crate) async fn start_for(
        database: TestDatabase,
        settings: &[(&'static str, &str)],
    ) -> Self {
        let control = FakeControlPlane::start(&database).await;
        Self::around(control, database, settings).await
    }

    /// A proxy with the files of one that was there before.
    pub(crate) async fn start_again(
        control: FakeControlPlane,
        settings: &[(&'static str, &str)],
    ) -> Self {
        let database = TestPostgres::target().await.create_database().await;
        Self::around(control, database, settings).await
    }

    async fn around(
        control: FakeControlPlane,
        database: TestDatabase,
        settings: &[(&'static str, &str)],
    ) -> Self {
        let shutdown = CancellationToken::new();
        let (ready, bound) = oneshot::channel();
        let config = config(&control, settings);
        let running = tokio::spawn(run(config, shutdown.clone(), ready));
        let bound = bound.await.unwrap();
        control.attached().await;
        Self {
            control,
            database,
            bound,
            shutdown,
            running,
        }
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.bound.proxy.port()).into()
    }

    pub(crate) fn url(&self, password: &str) -> String {
        let password = password.replace(' ', "%20");
        format!(
            "postgres://ann:{password}@{}/shop?application_name=test",
            self.proxy()
        )
    }

    /// A client that is logged in; its connection runs in a task of its own.
    pub(crate) async fn connect(&self) -> Client {
        self.try_connect().await.unwrap()
    }

    pub(crate) async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(PASSWORD), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs psql with `arguments` through the proxy.
    pub(crate) async fn psql(&self, arguments: &[&str]) -> Output {
        psql(&self.url(PASSWORD), arguments).await
    }

    /// Stops the proxy in good order.
    pub(crate) async fn stop(self) -> FakeControlPlane {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.control
    }
}

pub(crate) async fn psql(url: &str, arguments: &[&str]) -> Output {
    tokio::process::Command::new("psql")
        .arg(url)
        .args(["-X", "-v", "ON_ERROR_STOP=0"])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/lib/postgresql/15/bin:/usr/bin:/bin")
        .output()
        .await
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn config(control: &FakeControlPlane, settings: &[(&'static str, &str)]) -> Config {
    let file = |name: &str| control.file(name).display().to_string();
    let mut pairs = vec![
        ("PGL_LISTEN_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_OPS_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_CONTROL_URLS", control.url.clone()),
        ("PGL_CONTROL_CA", file("ca.pem")),
        ("PGL_CONTROL_CERT", file("proxy.pem")),
        ("PGL_CONTROL_KEY", file("proxy.key")),
        ("PGL_SPOOL_DIR", file("spool")),
        ("PGL_SHUTDOWN_GRACE_SECONDS", "5".to_owned()),
    ];
    for (name, value) in settings {
        // "file:x" is the path of x among the test's files.
        let value = match value.strip_prefix("file:") {
            Some(name) => file(name),
            None => (*value).to_owned(),
        };
        pairs.push((name, value));
    }
    let settings = Settings::from_pairs(SETTINGS, pairs).unwrap();
    Config::from_settings(&settings).unwrap()
}

/// The SQLSTATE and message of a database error.
pub(crate) fn db_error(error: &tokio_postgres::Error) -> (String, String) {
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("not a database error: {error:?}"));
    (error.code().code().to_owned(), error.message().to_owned())
}
