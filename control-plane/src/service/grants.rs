//! Grants: who may enter what, until when, and how far.

use chrono::{DateTime, Utc};
use pglens_core::{AccessLevel, AuditLevel, DatabaseId, GrantId, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::audit::{Action, AuditEntry, snapshot};
use super::caller::Caller;
use super::page::{Page, Paged};
use super::schedule::Schedule;
use super::validate;
use crate::app::App;
use crate::error::ServiceError;
use crate::storage::grant::NewGrant;
pub use crate::storage::grant::{Grant, GrantFilter, GrantStatus};
use crate::storage::notify::{Change, change_in_txn};
use crate::storage::{StoreError, audit, grant};

/// A grant to be created.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGrant {
    /// Who is let in.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Into what.
    #[schema(value_type = i64)]
    pub database_id: DatabaseId,
    /// "read" or "write".
    #[schema(value_type = String, example = "read")]
    pub access_level: AccessLevel,
    /// From when on; absent: now.
    #[serde(default)]
    pub starts_at: Option<DateTime<Utc>>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// Most statements; absent: no limit.
    #[serde(default)]
    pub max_queries: Option<u64>,
    /// Most bytes of rows and COPY data; absent: no limit.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// Whether COPY is refused.
    #[serde(default)]
    pub block_copy: bool,
    /// Whether changes to the schema are refused.
    #[serde(default)]
    pub block_ddl: bool,
    /// Longest statement; absent: as the target has it.
    #[serde(default)]
    pub statement_timeout_ms: Option<u64>,
    /// Most connections at once; absent: no limit.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// "spooled" or "strict"; absent: the server's default.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub audit_level: Option<AuditLevel>,
    /// Hours in which it lets its user in; absent: any.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// Why it is given.
    #[serde(default)]
    pub reason: String,
}

/// Creates a grant.
///
/// # Errors
/// When the caller is no administrator, or a field cannot be used.
pub async fn create(app: &App, caller: &Caller, new: CreateGrant) -> Result<Grant, ServiceError> {
    caller.require_admin()?;
    let row = check(app, caller, new)?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let ends = grant::lock_ends_in_txn(&txn, row.user_id, row.database_id).await?;
    if !ends.user {
        return Err(ServiceError::invalid(
            "user_id",
            format_args!("user {} does not exist", row.user_id),
        ));
    }
    if !ends.database {
        let reason = format!("database {} does not exist", row.database_id);
        return Err(ServiceError::invalid("database_id", reason));
    }
    let created = grant::insert_in_txn(&txn, &row)
        .await
        .map_err(|error| match error {
            // The one check that is left to storage: only its clock knows "now".
            StoreError::Conflict { .. } => {
                ServiceError::invalid("expires_at", "must be later than starts_at")
            }
            error => error.into(),
        })?;
    let entry = AuditEntry::by(caller, Action::GrantCreated, "grant", created.id)
        .after(snapshot(&created, &[]));
    audit::insert_in_txn(&txn, &entry).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(created)
}

fn check(app: &App, caller: &Caller, new: CreateGrant) -> Result<NewGrant, ServiceError> {
    if new
        .starts_at
        .is_some_and(|starts_at| new.expires_at <= starts_at)
    {
        return Err(ServiceError::invalid(
            "expires_at",
            "must be later than starts_at",
        ));
    }
    validate::text("reason", &new.reason)?;
    if let Some(schedule) = &new.schedule {
        schedule.check()?;
    }
    let audit_level = new.audit_level.unwrap_or(app.session_defaults.audit_level);
    Ok(NewGrant {
        user_id: new.user_id,
        database_id: new.database_id,
        access_level: new.access_level,
        starts_at: new.starts_at,
        expires_at: new.expires_at,
        max_queries: number("max_queries", new.max_queries, 0)?,
        max_bytes: number("max_bytes", new.max_bytes, 0)?,
        block_copy: new.block_copy,
        block_ddl: new.block_ddl,
        // PostgreSQL's setting is an int of milliseconds.
        statement_timeout_ms: number::<i32>("statement_timeout_ms", new.statement_timeout_ms, 1)?
            .map(i64::from),
        max_connections: number("max_connections", new.max_connections.map(u64::from), 1)?,
        audit_level,
        schedule: new.schedule,
        reason: new.reason,
        created_by: caller.user_id,
    })
}

/// A limit of at least `min` that fits its column.
fn number<T: TryFrom<u64>>(
    field: &str,
    value: Option<u64>,
    min: u64,
) -> Result<Option<T>, ServiceError> {
    let Some(value) = value else { return Ok(None) };
    match T::try_from(value) {
        Ok(fitting) if value >= min => Ok(Some(fitting)),
        Ok(_) => Err(ServiceError::invalid(
            field,
            format_args!("must be at least {min}"),
        )),
        Err(_) => Err(ServiceError::invalid(field, "is too large")),
    }
}

/// A grant the caller may see: every one to administrators, their own to others.
///
/// # Errors
/// When there is none.
pub async fn fetch(app: &App, caller: &Caller, id: GrantId) -> Result<Grant, ServiceError> {
    let found = app
        .storage
        .grant_fetch(id)
        .await
        .map_err(|error| missing(error, id))?;
    match caller.is_admin || found.user_id == caller.user_id {
        true => Ok(found),
        false => Err(ServiceError::not_found(format_args!("grant {id}"))),
    }
}

/// A page of the grants the caller may see.
///
/// # Errors
/// When storage is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    mut filter: GrantFilter,
    page: &Page,
) -> Result<Paged<Grant>, ServiceError> {
    if !caller.is_admin {
        if filter.user_id.is_some_and(|id| id != caller.user_id) {
            return Ok(Paged {
                items: Vec::new(),
                next_cursor: None,
            });
        }
        filter.user_id = Some(caller.user_id);
    }
    let rows = app.storage.grant_list(&filter, page).await?;
    Ok(page.cut(rows, |grant| grant.id.0))
}

/// Takes a grant back; its sessions end on every proxy. One that is revoked already stays as it is.
///
/// # Errors
/// When the caller is no administrator or there is no such grant.
pub async fn revoke(app: &App, caller: &Caller, id: GrantId) -> Result<Grant, ServiceError> {
    caller.require_admin()?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let before = grant::lock_in_txn(&txn, id)
        .await
        .map_err(|error| missing(error, id))?;
    if before.status == GrantStatus::Revoked {
        return Ok(before);
    }
    let after = grant::revoke_in_txn(&txn, id, caller.user_id)
        .await
        .map_err(|error| missing(error, id))?;
    change_in_txn(&txn, &Change::GrantRevoked(id)).await?;
    let entry = AuditEntry::by(caller, Action::GrantRevoked, "grant", id)
        .before(snapshot(&before, &[]))
        .after(snapshot(&after, &[]));
    audit::insert_in_txn(&txn, &entry).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(after)
}

fn missing(error: StoreError, id: GrantId) -> ServiceError {
    match error {
        StoreError::NotFound => ServiceError::not_found(format_args!("grant {id}")),
        error => error.into(),
    }
}
