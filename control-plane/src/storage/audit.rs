//! The audit log: one event for each change, written in the change's own transaction.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use pglens_core::UserId;
use postgres_types::ToSql;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::{Storage, StoreError, column};
use crate::service::audit::AuditEntry;
use crate::service::page::Page;

const INSERT: &str = "insert into audit_events \
     (actor_id, actor, action, subject_type, subject_id, before, after, client_address) \
     values ($1, $2, $3, $4, $5, $6, $7, $8)";

const LIST: &str = "select id, at, actor_id, actor, action, subject_type, subject_id, before, after, client_address \
     from audit_events \
     where id < $1 and ($2::text is null or action = $2) and ($3::text is null or subject_type = $3) \
       and ($4::text is null or subject_id = $4) and ($5::bigint is null or actor_id = $5) \
       and ($6::timestamptz is null or at >= $6) and ($7::timestamptz is null or at < $7) \
     order by id desc limit $8";

const LIST_BY_ID: &str = "select id, at, actor_id, actor, action, subject_type, subject_id, before, after, client_address \
     from audit_events where id = any($1)";

/// One event of the audit log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuditEvent {
    /// Counts the events.
    pub id: i64,
    /// When it was committed, to within the length of its transaction.
    pub at: DateTime<Utc>,
    /// Null: nobody was logged in, or PgLens itself did it.
    pub actor_id: Option<i64>,
    /// Name of the user, as it was then.
    pub actor: String,
    /// For example "user.created".
    pub action: String,
    /// For example "user".
    pub subject_type: String,
    /// Id of the subject as text.
    pub subject_id: String,
    /// The subject before the change; secrets are masked.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The subject after the change; secrets are masked.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// Where the request came from.
    pub client_address: Option<String>,
}

/// Which events are listed; absent fields match all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// The action, in full.
    pub action: Option<String>,
    /// The kind of subject.
    pub subject_type: Option<String>,
    /// The subject's id as text.
    pub subject_id: Option<String>,
    /// Who did it.
    pub actor_id: Option<UserId>,
    /// Not before this time.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub to: Option<DateTime<Utc>>,
}

/// Writes `entry` in the transaction of the change it tells of.
///
/// # Errors
/// When the database cannot be reached.
pub async fn insert_in_txn(txn: &Transaction<'_>, entry: &AuditEntry) -> Result<(), StoreError> {
    let statement = txn.prepare_cached(INSERT).await?;
    let actor_id = entry.actor.user_id().map(|id| id.0);
    let parameters: [&(dyn ToSql + Sync); 8] = [
        &actor_id,
        &entry.actor.name(),
        &entry.action.as_str(),
        &entry.subject_type,
        &entry.subject_id,
        &entry.before,
        &entry.after,
        &entry.client_address.map(|address| address.to_string()),
    ];
    txn.execute(&statement, &parameters).await?;
    Ok(())
}

impl Storage {
    /// Writes an event that belongs to no change, in a transaction of its own.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn audit_insert(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        let txn = client.transaction().await?;
        insert_in_txn(&txn, entry).await?;
        Ok(txn.commit().await?)
    }

    /// The events with these ids, in any order.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn audit_list_by_id(&self, ids: &[i64]) -> Result<Vec<AuditEvent>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LIST_BY_ID).await?;
        let rows = client.query(&statement, &[&ids]).await?;
        rows.iter().map(event).collect()
    }

    /// A page of events, the newest first.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn audit_list(
        &self,
        filter: &AuditFilter,
        page: &Page,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LIST).await?;
        let before_id = page.after().unwrap_or(i64::MAX);
        let actor_id = filter.actor_id.map(|id| id.0);
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &before_id,
            &filter.action,
            &filter.subject_type,
            &filter.subject_id,
            &actor_id,
            &filter.from,
            &filter.to,
            &page.fetch_rows(),
        ];
        client
            .query(&statement, &parameters)
            .await?
            .iter()
            .map(event)
            .collect()
    }
}

fn event(row: &Row) -> Result<AuditEvent, StoreError> {
    Ok(AuditEvent {
        id: column(row, "id")?,
        at: column(row, "at")?,
        actor_id: column(row, "actor_id")?,
        actor: column(row, "actor")?,
        action: column(row, "action")?,
        subject_type: column(row, "subject_type")?,
        subject_id: column(row, "subject_id")?,
        before: column(row, "before")?,
        after: column(row, "after")?,
        client_address: column(row, "client_address")?,
    })
}
