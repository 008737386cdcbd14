//! What callers send about a database, checked and put into its row.

use pglens_core::{Secret, SslMode};
use pglens_policy::AllowedFunctions;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Database;
use crate::crypto::columns::{PasswordColumn, seal_password};
use crate::crypto::keyring::KeyRing;
use crate::error::ServiceError;
use crate::service::{body, validate};
use crate::storage::database::SealedPasswords;

/// The port of a request that names none.
pub const DEFAULT_PORT: i64 = 5432;

fn default_port() -> i64 {
    DEFAULT_PORT
}

/// Each login carries the list to its proxy.
const MAX_ALLOWED_FUNCTIONS: usize = 200;

fn default_ssl_mode() -> SslMode {
    SslMode::Prefer
}

fn default_true() -> bool {
    true
}

/// A database to be created.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDatabase {
    /// The name clients connect to, 1 to 63 bytes.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Where the server is.
    pub host: String,
    /// Its port.
    #[serde(default = "default_port")]
    pub port: i64,
    /// The database's own name there.
    pub database_name: String,
    /// The stored login.
    pub username: String,
    /// Its password.
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String)]
    pub password: Secret<String>,
    /// How the connection is encrypted, as in libpq.
    #[serde(default = "default_ssl_mode")]
    #[schema(value_type = String, example = "verify-full")]
    pub ssl_mode: SslMode,
    /// PEM; absent: the system's roots.
    #[serde(default)]
    pub ssl_root_cert: Option<String>,
    /// The login that read grants use; absent: the stored one.
    #[serde(default)]
    pub read_username: Option<String>,
    /// Its password.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    pub read_password: Option<Secret<String>>,
    /// Whether result rows are kept.
    #[serde(default = "default_true")]
    pub record_rows: bool,
    /// Rows kept for each statement, at least 1; null: the server's setting.
    #[serde(default)]
    pub record_max_rows: Option<i64>,
    /// Bytes of rows kept for each statement, at least 1; null: the server's setting.
    #[serde(default)]
    pub record_max_bytes: Option<i64>,
    /// Functions that read grants may call although the target's catalog does not show them to be harmless, as
    /// `schema.function`.
    #[serde(default)]
    pub allowed_functions: Vec<String>,
}

/// Changes to a database; absent fields stay as they are.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateDatabase {
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// Where the server is.
    #[serde(default)]
    pub host: Option<String>,
    /// Its port.
    #[serde(default)]
    pub port: Option<i64>,
    /// The database's own name there.
    #[serde(default)]
    pub database_name: Option<String>,
    /// The stored login.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret<String>>,
    /// How the connection is encrypted, as in libpq.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub ssl_mode: Option<SslMode>,
    /// PEM; null: the system's roots.
    #[serde(default, deserialize_with = "body::null_is_empty")]
    pub ssl_root_cert: Option<String>,
    /// The login that read grants use; null: the stored one.
    #[serde(default, deserialize_with = "body::null_is_empty")]
    pub read_username: Option<String>,
    /// Its password.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    pub read_password: Option<Secret<String>>,
    /// Whether result rows are kept.
    #[serde(default)]
    pub record_rows: Option<bool>,
    /// Rows kept for each statement, at least 1; null: the server's setting.
    #[serde(default, deserialize_with = "body::null_is_given")]
    #[schema(value_type = Option<i64>)]
    pub record_max_rows: Option<Option<i64>>,
    /// Bytes of rows kept for each statement, at least 1; null: the server's setting.
    #[serde(default, deserialize_with = "body::null_is_given")]
    #[schema(value_type = Option<i64>)]
    pub record_max_bytes: Option<Option<i64>>,
    /// Whether nobody is let in; its sessions end.
    #[serde(default)]
    pub is_disabled: Option<bool>,
    /// Functions that read grants may call in addition, as `schema.function`; replaces the list.
    #[serde(default)]
    pub allowed_functions: Option<Vec<String>>,
}

/// `row` with `change` in it; passwords go into `sealed`.
pub(super) fn apply(
    keys: &KeyRing,
    mut row: Database,
    change: UpdateDatabase,
    sealed: &mut SealedPasswords,
) -> Result<Database, ServiceError> {
    if let Some(password) = change.password {
        validate::password("password", &password)?;
        sealed.password = seal_password(keys, row.id, PasswordColumn::Stored, &password);
    }
    if let Some(username) = change.read_username {
        row.read_username = (!username.is_empty()).then_some(username);
    }
    match (change.read_password, &row.read_username) {
        (Some(password), Some(_)) => {
            validate::password("read_password", &password)?;
            sealed.read_password = Some(seal_password(
                keys,
                row.id,
                PasswordColumn::Reader,
                &password,
            ));
        }
        (Some(_), None) => {
            return Err(ServiceError::invalid(
                "read_password",
                "is given without read_username",
            ));
        }
        (None, Some(_)) if sealed.read_password.is_none() => {
            return Err(ServiceError::invalid(
                "read_username",
                "is given without read_password",
            ));
        }
        (None, None) => sealed.read_password = None,
        (None, Some(_)) => {}
    }
    if let Some(port) = change.port {
        row.port = validate::port("port", port)?;
    }
    if let Some(pem) = change.ssl_root_cert {
        row.ssl_root_cert = (!pem.is_empty()).then_some(pem);
    }
    row.description = change.description.unwrap_or(row.description);
    row.host = change.host.unwrap_or(row.host);
    row.database_name = change.database_name.unwrap_or(row.database_name);
    row.username = change.username.unwrap_or(row.username);
    row.ssl_mode = change.ssl_mode.unwrap_or(row.ssl_mode);
    row.record_rows = change.record_rows.unwrap_or(row.record_rows);
    row.record_max_rows = change.record_max_rows.unwrap_or(row.record_max_rows);
    row.record_max_bytes = change.record_max_bytes.unwrap_or(row.record_max_bytes);
    row.is_disabled = change.is_disabled.unwrap_or(row.is_disabled);
    row.allowed_functions = change.allowed_functions.unwrap_or(row.allowed_functions);
    Ok(row)
}

/// The reader login's name, given together with its password or not at all.
pub(super) fn reader(
    username: Option<String>,
    password: Option<&Secret<String>>,
) -> Result<Option<String>, ServiceError> {
    match (username.filter(|name| !name.is_empty()), password) {
        (Some(_), None) => Err(ServiceError::invalid(
            "read_username",
            "is given without read_password",
        )),
        (None, Some(_)) => Err(ServiceError::invalid(
            "read_password",
            "is given without read_username",
        )),
        (None, None) => Ok(None),
        (Some(username), Some(password)) => {
            validate::password("read_password", password)?;
            Ok(Some(username))
        }
    }
}

pub(super) fn check(row: &Database) -> Result<(), ServiceError> {
    validate::text("description", &row.description)?;
    validate::host("host", &row.host)?;
    validate::name("database_name", &row.database_name)?;
    validate::name("username", &row.username)?;
    if let Some(username) = &row.read_username {
        validate::name("read_username", username)?;
    }
    validate::limit("record_max_rows", row.record_max_rows)?;
    validate::limit("record_max_bytes", row.record_max_bytes)?;
    if row.allowed_functions.len() > MAX_ALLOWED_FUNCTIONS {
        return Err(ServiceError::invalid(
            "allowed_functions",
            format_args!("has more than {MAX_ALLOWED_FUNCTIONS} entries"),
        ));
    }
    AllowedFunctions::parse(&row.allowed_functions)
        .map_err(|error| ServiceError::invalid("allowed_functions", error))?;
    match &row.ssl_root_cert {
        Some(pem) => validate::certificates("ssl_root_cert", pem),
        None => Ok(()),
    }
}
