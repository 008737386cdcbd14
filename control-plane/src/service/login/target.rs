//! The target of a session, with its credentials in clear: the last thing a login does.

use pglens_core::AccessLevel;
use pglens_rpc::v1;
use pglens_runtime::Chain;

use super::refusal::Refusal;
use crate::app::App;
use crate::crypto::keyring::SealContext;
use crate::storage::access::LoginDatabase;

/// Opens the stored login that a grant of `access_level` uses: the reader's for read grants, where there is one.
pub(super) fn open(
    app: &App,
    database: &LoginDatabase,
    access_level: AccessLevel,
) -> Result<v1::Target, Refusal> {
    let (username, column, sealed) = match (access_level, &database.reader) {
        (AccessLevel::Read, Some((username, sealed))) => (username, "read_password_sealed", sealed),
        _ => (
            &database.username,
            "password_sealed",
            &database.password_sealed,
        ),
    };
    let row = database.id.to_string();
    let context = SealContext {
        table: "databases",
        column,
        row: &row,
    };
    let broken = |error: &dyn std::error::Error| {
        tracing::error!(database.id = %database.id, error = %Chain(error), "stored password cannot be used");
        Refusal::Internal
    };
    let password = app
        .keys
        .open(context, sealed)
        .map_err(|error| broken(&error))?;
    let password = std::str::from_utf8(password.expose()).map_err(|error| broken(&error))?;
    Ok(v1::Target {
        host: database.host.clone(),
        port: database.port.into(),
        database_name: database.database_name.clone(),
        username: username.clone(),
        password: password.to_owned(),
        ssl_mode: v1::SslMode::from(database.ssl_mode).into(),
        ssl_root_cert: database.ssl_root_cert.clone().unwrap_or_default(),
        allowed_functions: database.allowed_functions.clone(),
    })
}
