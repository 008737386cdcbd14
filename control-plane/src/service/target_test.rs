//! Tries the logins of a target database, as a session would use them.

use std::time::{Duration, Instant};

use pglens_core::{DatabaseId, Secret, SslMode};
use pglens_runtime::{Chain, Verification, tls};
use serde::Serialize;
use tokio::time::timeout;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use utoipa::ToSchema;

use super::audit::{Action, AuditEntry, snapshot};
use super::caller::Caller;
use super::databases::{Database, missing};
use crate::app::App;
use crate::crypto::columns::{PasswordColumn, open_password};
use crate::error::ServiceError;

/// From the first packet to the last answer of one login.
const LOGIN_TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a login can do; asks nothing that a read-only role may not ask. Temporary tables do not count as writing.
const PROBE: &str = include_str!("target_test/probe.sql");

/// How to make a login that can read everything and change nothing (PostgreSQL 14 and later). In the database itself,
/// by a superuser or whoever owns it.
fn reader_sql(database_name: &str) -> String {
    let database = database_name.replace('"', "\"\"");
    format!(
        "Give read grants a login of their own that cannot write (read_username, read_password):\n\
         create role pglens_reader login password '...' nosuperuser nocreatedb nocreaterole noreplication;\n\
         grant pg_read_all_data to pglens_reader;\n\
         alter role pglens_reader set default_transaction_read_only = on;\n\
         grant connect on database \"{database}\" to pglens_reader;\n\
         revoke create, temporary on database \"{database}\" from public;\n\
         revoke create on schema public from public;"
    )
}

/// How one login went.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LoginTest {
    /// "username" or "read_username".
    pub login: &'static str,
    /// Whether it works.
    pub ok: bool,
    /// Why not; never shows a password.
    pub error: Option<String>,
    /// The server's version.
    pub server_version: Option<String>,
    /// Whether the connection was encrypted.
    pub tls: bool,
    /// Whether the role is a superuser, which a stored login should not be.
    pub is_superuser: bool,
    /// Whether the role may change anything besides temporary tables.
    pub can_write: bool,
    /// Time to connect and ask.
    pub latency_us: u64,
}

/// How the logins of a database went.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DatabaseTest {
    /// Whether all of them work.
    pub ok: bool,
    /// One or two.
    pub logins: Vec<LoginTest>,
    /// What to do so that a read grant cannot change the target whatever happens, with the SQL; null: nothing.
    pub advice: Option<String>,
}

/// Connects with the stored login, and with the reader login where there is one.
///
/// # Errors
/// When the caller is no administrator or there is no such database. A login that fails is no error.
pub async fn test(
    app: &App,
    caller: &Caller,
    id: DatabaseId,
) -> Result<DatabaseTest, ServiceError> {
    caller.require_admin()?;
    let (database, sealed) = app
        .storage
        .database_login_fetch(id)
        .await
        .map_err(|error| missing(error, id))?;
    let password = open_password(&app.keys, id, PasswordColumn::Stored, &sealed.password)?;
    let stored = try_login("username", &database, &database.username, password);
    let reader = async {
        let (Some(username), Some(sealed)) = (&database.read_username, &sealed.read_password)
        else {
            return Ok::<_, ServiceError>(None);
        };
        let password = open_password(&app.keys, id, PasswordColumn::Reader, sealed)?;
        Ok(Some(
            try_login("read_username", &database, username, password).await,
        ))
    };
    let (stored, reader) = tokio::join!(stored, reader);
    let logins: Vec<LoginTest> = std::iter::once(stored).chain(reader?).collect();
    // Read grants use the last of them.
    let reader = logins.last().filter(|login| login.ok);
    let reader_writes = reader.is_some_and(|login| login.can_write);
    if reader.is_some() {
        let storage = &app.storage;
        storage
            .database_reader_tested(&database, reader_writes)
            .await?;
    }
    if reader_writes {
        tracing::warn!(database.id = %id, "read grants use a login that can write");
    }
    let tested = DatabaseTest {
        ok: logins.iter().all(|login| login.ok),
        logins,
        advice: reader_writes.then(|| reader_sql(&database.database_name)),
    };
    let entry = AuditEntry::by(caller, Action::DatabaseTested, "database", id)
        .after(snapshot(&tested, &[]));
    app.storage.audit_insert(&entry).await?;
    Ok(tested)
}

struct Answer {
    server_version: String,
    tls: bool,
    is_superuser: bool,
    can_write: bool,
}

async fn try_login(
    login: &'static str,
    database: &Database,
    username: &str,
    password: Secret<String>,
) -> LoginTest {
    let started = Instant::now();
    let answer = timeout(
        LOGIN_TEST_TIMEOUT,
        connect_and_ask(database, username, &password),
    )
    .await;
    let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let failed = |error: String| LoginTest {
        login,
        ok: false,
        error: Some(error.replace(password.expose().as_str(), super::audit::MASK)),
        server_version: None,
        tls: false,
        is_superuser: false,
        can_write: false,
        latency_us,
    };
    match answer {
        Ok(Ok(answer)) => LoginTest {
            login,
            ok: true,
            error: None,
            server_version: Some(answer.server_version),
            tls: answer.tls,
            is_superuser: answer.is_superuser,
            can_write: answer.can_write,
            latency_us,
        },
        Ok(Err(error)) => failed(error),
        Err(_) => failed(format!(
            "no answer within {} s",
            LOGIN_TEST_TIMEOUT.as_secs()
        )),
    }
}

async fn connect_and_ask(
    database: &Database,
    username: &str,
    password: &Secret<String>,
) -> Result<Answer, String> {
    match database.ssl_mode {
        // libpq's `allow`, which the driver does not know: TLS only if the server refuses plain TCP.
        SslMode::Allow => match ask(database, username, password, DriverSslMode::Disable).await {
            Ok(answer) => Ok(answer),
            Err(_) => ask(database, username, password, DriverSslMode::Require).await,
        },
        SslMode::Disable => ask(database, username, password, DriverSslMode::Disable).await,
        SslMode::Prefer => ask(database, username, password, DriverSslMode::Prefer).await,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            ask(database, username, password, DriverSslMode::Require).await
        }
    }
}

async fn ask(
    database: &Database,
    username: &str,
    password: &Secret<String>,
    driver_mode: DriverSslMode,
) -> Result<Answer, String> {
    let ca = database.ssl_root_cert.as_deref();
    let verification = Verification::of(database.ssl_mode, ca.is_some());
    let connector = MakeRustlsConnect::new(
        tls::client_config(verification, ca).map_err(|error| error.to_string())?,
    );
    let mut config = tokio_postgres::Config::new();
    config
        .host(&database.host)
        .port(database.port)
        .dbname(&database.database_name)
        .user(username)
        .password(password.expose())
        .ssl_mode(driver_mode)
        .connect_timeout(LOGIN_TEST_TIMEOUT)
        .application_name("pglens: database test");
    let words = |error: tokio_postgres::Error| Chain(&error).to_string();
    let (client, connection) = config.connect(connector).await.map_err(words)?;
    // Ends when `client` is dropped, on whichever way out of this function.
    let _driver = tokio::spawn(connection);
    let row = client.query_one(PROBE, &[]).await.map_err(words)?;
    let read = || -> Result<Answer, tokio_postgres::Error> {
        Ok(Answer {
            server_version: row.try_get("server_version")?,
            tls: row.try_get("tls")?,
            is_superuser: row.try_get("is_superuser")?,
            can_write: row.try_get("can_write")?,
        })
    };
    read().map_err(words)
}
