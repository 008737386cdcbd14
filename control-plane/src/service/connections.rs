//! Connections: who is in, who was in, and ending one from outside.

use pglens_core::{SessionId, UserId};
use serde_json::json;
use uuid::Uuid;

use super::audit::{Action, AuditEntry};
use super::caller::Caller;
use super::page::{Page, Paged};
use crate::app::App;
use crate::error::ServiceError;
use crate::storage::connection::request_kill_in_txn;
pub use crate::storage::connection::{Connection, ConnectionFilter};
use crate::storage::notify::{Change, change_in_txn};
pub use crate::storage::query::Order;
use crate::storage::{StoreError, audit};

/// A page of connections. Callers who are not administrators see their own.
///
/// # Errors
/// When they ask for those of others, the filter makes no sense, or storage is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    mut filter: ConnectionFilter,
    order: Order,
    page: &Page<Uuid>,
) -> Result<Paged<Connection>, ServiceError> {
    if !caller.is_admin {
        match filter.user_id {
            Some(id) if id != caller.user_id => {
                return Err(ServiceError::forbidden(
                    "only administrators see the connections of others",
                ));
            }
            _ => filter.user_id = Some(caller.user_id),
        }
    }
    check(&filter)?;
    let rows = app
        .storage
        .connection_list(&filter, order, page.after(), page.fetch_rows())
        .await?;
    Ok(page.cut(rows, |connection| connection.id))
}

fn check(filter: &ConnectionFilter) -> Result<(), ServiceError> {
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from >= to
    {
        return Err(ServiceError::invalid("from", "must be before to"));
    }
    match filter.proxy.as_deref() {
        Some("") => Err(ServiceError::invalid("proxy", "must not be empty")),
        _ => Ok(()),
    }
}

/// One connection. To those who may not see it, it does not exist.
///
/// # Errors
/// When it does not exist, or storage is not available.
pub async fn fetch(app: &App, caller: &Caller, id: SessionId) -> Result<Connection, ServiceError> {
    let found = app.storage.connection_fetch(id).await?;
    found
        .filter(|connection| caller.is_admin || UserId(connection.user_id) == caller.user_id)
        .ok_or_else(|| ServiceError::not_found(format_args!("connection {id}")))
}

/// Ends a connection: an administrator any, others their own. Ending it again, or one that has ended, changes nothing.
///
/// # Errors
/// When it does not exist, or storage is not available.
pub async fn kill(app: &App, caller: &Caller, id: SessionId) -> Result<Connection, ServiceError> {
    let connection = fetch(app, caller, id).await?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    if request_kill_in_txn(&txn, id, caller.user_id).await? {
        let entry =
            AuditEntry::by(caller, Action::ConnectionKilled, "connection", id).after(json!({
                "user_id": connection.user_id,
                "database_id": connection.database_id,
                "client_address": connection.client_address,
            }));
        audit::insert_in_txn(&txn, &entry).await?;
        change_in_txn(&txn, &Change::SessionKilled(id)).await?;
        txn.commit().await.map_err(StoreError::from)?;
    }
    fetch(app, caller, id).await
}
