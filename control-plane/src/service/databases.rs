//! Target databases: where they are, and the logins PgLens has for them.

use pglens_core::{DatabaseId, ErrorCode};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::audit::{Action, AuditEntry, snapshot};
use super::caller::Caller;
use super::page::{Page, Paged};
use super::validate;
use crate::app::App;
use crate::crypto::columns::{PasswordColumn, seal_password};
use crate::error::ServiceError;
pub use crate::storage::database::Database;
use crate::storage::database::SealedPasswords;
use crate::storage::notify::{Change, change_in_txn};
use crate::storage::{StoreError, audit, database, grant};

mod input;

pub use input::{CreateDatabase, DEFAULT_PORT, UpdateDatabase};
use input::{apply, check, reader};

/// What callers who are not administrators see of a database.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DatabaseSummary {
    /// The database.
    #[schema(value_type = i64)]
    pub id: DatabaseId,
    /// The name clients connect to.
    pub name: String,
    /// For people.
    pub description: String,
}

/// A database as far as the caller may see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum VisibleDatabase {
    /// To administrators.
    Full(Box<Database>),
    /// To those who hold a grant.
    Summary(DatabaseSummary),
}

impl VisibleDatabase {
    fn to(caller: &Caller, database: Database) -> Self {
        match caller.is_admin {
            true => Self::Full(Box::new(database)),
            false => Self::Summary(DatabaseSummary {
                id: database.id,
                name: database.name,
                description: database.description,
            }),
        }
    }
}

/// Creates a database.
///
/// # Errors
/// When the caller is no administrator, a field cannot be used, or the name is taken.
pub async fn create(
    app: &App,
    caller: &Caller,
    new: CreateDatabase,
) -> Result<Database, ServiceError> {
    caller.require_admin()?;
    validate::name("name", &new.name)?;
    validate::password("password", &new.password)?;
    let read = reader(new.read_username, new.read_password.as_ref())?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let id = database::next_id_in_txn(&txn).await?;
    let row = Database {
        id,
        name: new.name,
        description: new.description,
        host: new.host,
        port: validate::port("port", new.port)?,
        database_name: new.database_name,
        username: new.username,
        ssl_mode: new.ssl_mode,
        ssl_root_cert: new.ssl_root_cert.filter(|pem| !pem.is_empty()),
        read_username: read,
        record_rows: new.record_rows,
        record_max_rows: new.record_max_rows,
        record_max_bytes: new.record_max_bytes,
        is_disabled: false,
        allowed_functions: new.allowed_functions,
        reader_can_write: None,
        warning: None,
        // Storage sets its own.
        created_at: chrono::DateTime::UNIX_EPOCH,
        updated_at: chrono::DateTime::UNIX_EPOCH,
    };
    check(&row)?;
    let sealed = SealedPasswords {
        password: seal_password(&app.keys, id, PasswordColumn::Stored, &new.password),
        read_password: new
            .read_password
            .map(|password| seal_password(&app.keys, id, PasswordColumn::Reader, &password)),
    };
    let created = database::insert_in_txn(&txn, &row, &sealed)
        .await
        .map_err(|error| name_taken(error, &row.name))?;
    let entry = AuditEntry::by(caller, Action::DatabaseCreated, "database", id).after(snapshot(
        &created,
        secrets(true, sealed.read_password.is_some()),
    ));
    audit::insert_in_txn(&txn, &entry).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(created)
}

/// A database the caller may see.
///
/// # Errors
/// When there is none.
pub async fn fetch(
    app: &App,
    caller: &Caller,
    id: DatabaseId,
) -> Result<VisibleDatabase, ServiceError> {
    let granted_to = (!caller.is_admin).then_some(caller.user_id);
    let found = app
        .storage
        .database_fetch(id, granted_to)
        .await
        .map_err(|error| missing(error, id))?;
    Ok(VisibleDatabase::to(caller, found))
}

/// A page of the databases the caller may see.
///
/// # Errors
/// When storage is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    page: &Page,
) -> Result<Paged<VisibleDatabase>, ServiceError> {
    let granted_to = (!caller.is_admin).then_some(caller.user_id);
    let rows = app.storage.database_list(granted_to, page).await?;
    let paged = page.cut(rows, |database| database.id.0);
    Ok(paged.map(|database| VisibleDatabase::to(caller, database)))
}

/// Changes a database. Its sessions end when it is disabled or becomes another target.
///
/// # Errors
/// When the caller is no administrator, a field cannot be used, or there is no such database.
pub async fn update(
    app: &App,
    caller: &Caller,
    id: DatabaseId,
    change: UpdateDatabase,
) -> Result<Database, ServiceError> {
    caller.require_admin()?;
    let new_secrets = (change.password.is_some(), change.read_password.is_some());
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let (before, mut sealed) = database::lock_in_txn(&txn, id)
        .await
        .map_err(|error| missing(error, id))?;
    let row = apply(&app.keys, before.clone(), change, &mut sealed)?;
    check(&row)?;
    let after = database::update_in_txn(&txn, &row, &sealed)
        .await
        .map_err(|error| missing(error, id))?;
    // Whether that ends sessions is for those who hold them to look up.
    change_in_txn(&txn, &Change::DatabaseChanged(id)).await?;
    let entry = AuditEntry::by(caller, Action::DatabaseUpdated, "database", id)
        .before(snapshot(&before, &[]))
        .after(snapshot(&after, secrets(new_secrets.0, new_secrets.1)));
    audit::insert_in_txn(&txn, &entry).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(after)
}

/// Deletes a database: its sessions and grants end, its history stays.
///
/// # Errors
/// When the caller is no administrator or there is no such database.
pub async fn delete(app: &App, caller: &Caller, id: DatabaseId) -> Result<(), ServiceError> {
    caller.require_admin()?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let (before, _) = database::lock_in_txn(&txn, id)
        .await
        .map_err(|error| missing(error, id))?;
    database::delete_in_txn(&txn, id)
        .await
        .map_err(|error| missing(error, id))?;
    let revoked = grant::revoke_all_in_txn(&txn, None, Some(id), caller.user_id).await?;
    change_in_txn(&txn, &Change::DatabaseChanged(id)).await?;
    let entry = AuditEntry::by(caller, Action::DatabaseDeleted, "database", id)
        .before(snapshot(&before, &[]))
        .after(json!({ "revoked_grants": revoked }));
    audit::insert_in_txn(&txn, &entry).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(())
}

fn secrets(password: bool, read_password: bool) -> &'static [&'static str] {
    match (password, read_password) {
        (true, true) => &["password", "read_password"],
        (true, false) => &["password"],
        (false, true) => &["read_password"],
        (false, false) => &[],
    }
}

pub(super) fn missing(error: StoreError, id: DatabaseId) -> ServiceError {
    match error {
        StoreError::NotFound => ServiceError::not_found(format_args!("database {id}")),
        error => error.into(),
    }
}

fn name_taken(error: StoreError, name: &str) -> ServiceError {
    match error {
        StoreError::AlreadyExists { .. } => ServiceError::new(
            ErrorCode::AlreadyExists,
            format!("a database named \"{name}\" exists already"),
        ),
        error => error.into(),
    }
}
