//! Grants. Whether one is active is decided by the storage database's clock.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use pglens_core::{AccessLevel, AuditLevel, DatabaseId, GrantId, UserId};
use postgres_types::ToSql;
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::{Storage, StoreError, column, optional_count, word};
use crate::service::page::Page;
use crate::service::schedule::Schedule;

const STATUS: &str = "case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' \
     when starts_at > now() then 'pending' else 'active' end";

const COLUMNS: &str = "id, user_id, database_id, access_level, starts_at, expires_at, max_queries, max_bytes, \
     block_copy, block_ddl, statement_timeout_ms, max_connections, audit_level, schedule, reason, queries_reserved, \
     bytes_reserved, created_at, created_by, revoked_at, revoked_by";

/// Where a grant stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantStatus {
    /// It has not started yet.
    Pending,
    /// It lets its user in.
    Active,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl GrantStatus {
    /// The word in REST and gRPC.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl std::str::FromStr for GrantStatus {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pending" => Ok(Self::Pending),
            "active" => Ok(Self::Active),
            "expired" => Ok(Self::Expired),
            "revoked" => Ok(Self::Revoked),
            _ => Err("must be one of pending, active, expired, revoked"),
        }
    }
}

/// Permission of one user on one database for a time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Grant {
    /// The grant.
    #[schema(value_type = i64)]
    pub id: GrantId,
    /// Who is let in.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// Into what.
    #[schema(value_type = i64)]
    pub database_id: DatabaseId,
    /// What may be done.
    #[schema(value_type = String, example = "read")]
    pub access_level: AccessLevel,
    /// From when on.
    pub starts_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// Most statements; null: no limit.
    pub max_queries: Option<u64>,
    /// Most bytes of rows and COPY data; null: no limit.
    pub max_bytes: Option<u64>,
    /// Whether COPY is refused.
    pub block_copy: bool,
    /// Whether changes to the schema are refused.
    pub block_ddl: bool,
    /// Longest statement; null: as the target has it.
    pub statement_timeout_ms: Option<u64>,
    /// Most connections at once; null: no limit.
    pub max_connections: Option<u32>,
    /// How durable a statement's record is before it runs.
    #[schema(value_type = String, example = "spooled")]
    pub audit_level: AuditLevel,
    /// Hours in which it lets its user in; null: any.
    pub schedule: Option<Schedule>,
    /// Why it was given.
    pub reason: String,
    /// Statements spent, or held by running sessions.
    pub queries_used: u64,
    /// Bytes spent, or held by running sessions.
    pub bytes_used: u64,
    /// Where it stands in its life.
    pub status: GrantStatus,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// By whom.
    #[schema(value_type = i64)]
    pub created_by: UserId,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// By whom.
    #[schema(value_type = Option<i64>)]
    pub revoked_by: Option<UserId>,
}

/// A grant to be created; its fields are checked.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Who is let in.
    pub user_id: UserId,
    /// Into what.
    pub database_id: DatabaseId,
    /// What may be done.
    pub access_level: AccessLevel,
    /// From when on; absent: now.
    pub starts_at: Option<DateTime<Utc>>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// Most statements.
    pub max_queries: Option<i64>,
    /// Most bytes.
    pub max_bytes: Option<i64>,
    /// Whether COPY is refused.
    pub block_copy: bool,
    /// Whether changes to the schema are refused.
    pub block_ddl: bool,
    /// Longest statement.
    pub statement_timeout_ms: Option<i64>,
    /// Most connections at once.
    pub max_connections: Option<i32>,
    /// How durable a statement's record is before it runs.
    pub audit_level: AuditLevel,
    /// Hours in which it lets its user in.
    pub schedule: Option<Schedule>,
    /// Why it is given.
    pub reason: String,
    /// Who gives it.
    pub created_by: UserId,
}

/// Which grants are listed; absent fields match all.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrantFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// For this database.
    pub database_id: Option<DatabaseId>,
    /// In this part of their life.
    pub status: Option<GrantStatus>,
}

/// Which of the two ends of a grant does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantEnds {
    /// Whether the user exists.
    pub user: bool,
    /// Whether the database exists.
    pub database: bool,
}

/// Whether both ends of a grant exist; they stay as they are until the transaction ends.
///
/// # Errors
/// When the database cannot be reached.
pub async fn lock_ends_in_txn(
    txn: &Transaction<'_>,
    user_id: UserId,
    database_id: DatabaseId,
) -> Result<GrantEnds, StoreError> {
    let user = "select from users where id = $1 and deleted_at is null for share";
    let database = "select from databases where id = $1 and deleted_at is null for share";
    Ok(GrantEnds {
        user: txn.query_opt(user, &[&user_id.0]).await?.is_some(),
        database: txn.query_opt(database, &[&database_id.0]).await?.is_some(),
    })
}

/// Creates a grant.
///
/// # Errors
/// [`StoreError::Conflict`] when it would end before it starts.
pub async fn insert_in_txn(txn: &Transaction<'_>, new: &NewGrant) -> Result<Grant, StoreError> {
    let sql = format!(
        "insert into grants (user_id, database_id, access_level, starts_at, expires_at, max_queries, max_bytes, \
         block_copy, block_ddl, statement_timeout_ms, max_connections, audit_level, schedule, reason, created_by) \
         values ($1, $2, $3, coalesce($4, now()), $5, $6, $7, $8, $9, $10, $11, $12, $15, $13, $14) \
         returning {COLUMNS}, {STATUS} as status"
    );
    let statement = txn.prepare_cached(&sql).await?;
    let schedule = new.schedule.as_ref().map(serde_json::to_value);
    let schedule = schedule.transpose().map_err(|error| malformed(&error))?;
    let parameters: [&(dyn ToSql + Sync); 15] = [
        &new.user_id.0,
        &new.database_id.0,
        &new.access_level.as_str(),
        &new.starts_at,
        &new.expires_at,
        &new.max_queries,
        &new.max_bytes,
        &new.block_copy,
        &new.block_ddl,
        &new.statement_timeout_ms,
        &new.max_connections,
        &new.audit_level.as_str(),
        &new.reason,
        &new.created_by.0,
        &schedule,
    ];
    grant(&txn.query_one(&statement, &parameters).await?)
}

/// Locks and returns a grant.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn lock_in_txn(txn: &Transaction<'_>, id: GrantId) -> Result<Grant, StoreError> {
    let sql = format!("select {COLUMNS}, {STATUS} as status from grants where id = $1 for update");
    let statement = txn.prepare_cached(&sql).await?;
    grant(
        &txn.query_opt(&statement, &[&id.0])
            .await?
            .ok_or(StoreError::NotFound)?,
    )
}

/// Takes a grant back.
///
/// # Errors
/// [`StoreError::NotFound`] when there is none, or it is revoked already.
pub async fn revoke_in_txn(
    txn: &Transaction<'_>,
    id: GrantId,
    by: UserId,
) -> Result<Grant, StoreError> {
    let sql = format!(
        "update grants set revoked_at = now(), revoked_by = $2 where id = $1 and revoked_at is null \
         returning {COLUMNS}, {STATUS} as status"
    );
    let statement = txn.prepare_cached(&sql).await?;
    grant(
        &txn.query_opt(&statement, &[&id.0, &by.0])
            .await?
            .ok_or(StoreError::NotFound)?,
    )
}

/// Takes back every grant of a user or database that is being deleted; returns their ids.
///
/// # Errors
/// When the database cannot be reached.
pub async fn revoke_all_in_txn(
    txn: &Transaction<'_>,
    user_id: Option<UserId>,
    database_id: Option<DatabaseId>,
    by: UserId,
) -> Result<Vec<GrantId>, StoreError> {
    let sql = "update grants set revoked_at = now(), revoked_by = $3 \
               where (user_id = $1 or database_id = $2) and revoked_at is null and expires_at > now() returning id";
    let statement = txn.prepare_cached(sql).await?;
    let (user_id, database_id) = (user_id.map(|id| id.0), database_id.map(|id| id.0));
    let rows = txn
        .query(&statement, &[&user_id, &database_id, &by.0])
        .await?;
    rows.iter()
        .map(|row| column(row, "id").map(GrantId))
        .collect()
}

impl Storage {
    /// A grant.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn grant_fetch(&self, id: GrantId) -> Result<Grant, StoreError> {
        let sql = format!("select {COLUMNS}, {STATUS} as status from grants where id = $1");
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        grant(
            &client
                .query_opt(&statement, &[&id.0])
                .await?
                .ok_or(StoreError::NotFound)?,
        )
    }

    /// A page of the grants by id.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn grant_list(
        &self,
        filter: &GrantFilter,
        page: &Page,
    ) -> Result<Vec<Grant>, StoreError> {
        let sql = format!(
            "select {COLUMNS}, {STATUS} as status from grants where id > $1 \
             and ($2::bigint is null or user_id = $2) and ($3::bigint is null or database_id = $3) \
             and ($4::text is null or {STATUS} = $4) order by id limit $5"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &page.after().unwrap_or(0),
            &filter.user_id.map(|id| id.0),
            &filter.database_id.map(|id| id.0),
            &filter.status.map(GrantStatus::as_str),
            &page.fetch_rows(),
        ];
        client
            .query(&statement, &parameters)
            .await?
            .iter()
            .map(grant)
            .collect()
    }
}

/// The hours in a row.
///
/// # Errors
/// When they are none.
pub fn schedule(row: &Row) -> Result<Option<Schedule>, StoreError> {
    let json: Option<serde_json::Value> = column(row, "schedule")?;
    let schedule = json.map(serde_json::from_value).transpose();
    schedule.map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> StoreError {
    StoreError::Malformed {
        column: "schedule",
        reason: error.to_string(),
    }
}

fn grant(row: &Row) -> Result<Grant, StoreError> {
    let max_connections: Option<i32> = column(row, "max_connections")?;
    Ok(Grant {
        id: GrantId(column(row, "id")?),
        user_id: UserId(column(row, "user_id")?),
        database_id: DatabaseId(column(row, "database_id")?),
        access_level: word(row, "access_level")?,
        starts_at: column(row, "starts_at")?,
        expires_at: column(row, "expires_at")?,
        max_queries: optional_count(row, "max_queries")?,
        max_bytes: optional_count(row, "max_bytes")?,
        block_copy: column(row, "block_copy")?,
        block_ddl: column(row, "block_ddl")?,
        statement_timeout_ms: optional_count(row, "statement_timeout_ms")?,
        max_connections: max_connections.map(i32::unsigned_abs),
        audit_level: word(row, "audit_level")?,
        schedule: schedule(row)?,
        reason: column(row, "reason")?,
        queries_used: super::count(row, "queries_reserved")?,
        bytes_used: super::count(row, "bytes_reserved")?,
        status: word(row, "status")?,
        created_at: column(row, "created_at")?,
        created_by: UserId(column(row, "created_by")?),
        revoked_at: column(row, "revoked_at")?,
        revoked_by: column::<Option<i64>>(row, "revoked_by")?.map(UserId),
    })
}
