//! What a login asks storage: who it is, where to, and under which grant.
//!
//! The decision runs in one transaction that holds the rows it rests on. A change that would end the session therefore
//! either comes first and is seen, or waits and then finds the session.

use chrono::{DateTime, Utc};
use pglens_core::{AccessLevel, AuditLevel, DatabaseId, GrantId, RunId, SslMode, UserId};
use tokio_postgres::Row;

use super::grant::schedule;
use super::quota_claim::{Holders, holders_in_txn};
use super::{Storage, StoreError, Transaction, column, count, optional_count, word};
use crate::service::schedule::Schedule;

const USER: &str = "select id, scram_verifier_sealed, password_hash, password_is_default, is_disabled, \
       password_changed_at \
     from users where username = $1 and deleted_at is null";

const TOKEN: &str = "update tokens set last_used_at = now() \
     where token_hash = $1 and user_id = $2 and kind = 'api' and revoked_at is null \
       and (expires_at is null or expires_at > now()) \
     returning id";

const RUN: &str = "select from proxy_runs where run_id = $1 and proxy_name = $2";

/// Waits for a change of the user that is under way. Nothing comes back when the user may no longer log in, or when the
/// proof was made with a password that is no longer the user's.
const LOCK_USER: &str = "select from users \
     where id = $1 and password_changed_at = $2 and not is_disabled and deleted_at is null for share";

const LOCK_DATABASE: &str = "select id, host, port, database_name, username, password_sealed, read_username, \
       read_password_sealed, ssl_mode, ssl_root_cert, record_rows, record_max_rows, record_max_bytes, \
       allowed_functions \
     from databases where name = $1 and not is_disabled and deleted_at is null for share";

/// The grant that counts comes first: one that holds now before one that is to come before one that is over; among
/// those that hold, the highest level, then the latest expiry.
const GRANTS: &str = "select id, access_level, starts_at, expires_at, revoked_at, max_queries, max_bytes, \
       block_copy, block_ddl, statement_timeout_ms, max_connections, audit_level, schedule, state, \
       clock_timestamp() as now \
     from (select *, case when revoked_at is not null then 'revoked' \
               when expires_at <= clock_timestamp() then 'expired' \
               when starts_at > clock_timestamp() then 'pending' \
               else 'active' end as state \
           from grants where user_id = $1 and database_id = $2) g \
     order by array_position(array['active', 'pending'], state) nulls last, \
       state = 'active' and access_level = 'write' desc, expires_at desc, id desc \
     limit $3";

/// Nothing comes back when the grant no longer holds: it was revoked while this waited for it. The lock is the one of
/// an update, for the session takes its slices from the row.
const LOCK_GRANT: &str = "select queries_reserved, bytes_reserved, clock_timestamp() as now, \
       (extract(epoch from expires_at - clock_timestamp()) * 1000)::bigint as expires_in_ms \
     from grants where id = $1 and revoked_at is null and starts_at <= clock_timestamp() \
       and expires_at > clock_timestamp() \
     for no key update";

/// Grants of one user on one database that a login looks at.
const MAX_GRANTS: i64 = 100;

/// What a proof is checked against.
#[derive(Debug)]
pub struct LoginUser {
    /// The user.
    pub id: UserId,
    /// Sealed with the master key.
    pub scram_verifier_sealed: Vec<u8>,
    /// Argon2id.
    pub password_hash: String,
    /// The well-known first password.
    pub password_is_default: bool,
    /// May not log in.
    pub is_disabled: bool,
    /// To notice a change before the login is through.
    pub password_changed_at: DateTime<Utc>,
}

/// A target and its stored logins.
#[derive(Debug)]
pub struct LoginDatabase {
    /// The database.
    pub id: DatabaseId,
    /// Where the target is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database's own name there.
    pub database_name: String,
    /// The stored login.
    pub username: String,
    /// Its password, sealed.
    pub password_sealed: Vec<u8>,
    /// The login for read grants with its sealed password, where there is one.
    pub reader: Option<(String, Vec<u8>)>,
    /// How the connection to it is protected.
    pub ssl_mode: SslMode,
    /// PEM; `None`: the system's roots.
    pub ssl_root_cert: Option<String>,
    /// Whether rows are kept.
    pub record_rows: bool,
    /// Rows kept for each statement, where the database says.
    pub record_max_rows: Option<u64>,
    /// Bytes of rows kept for each statement, where the database says.
    pub record_max_bytes: Option<u64>,
    /// Functions that read grants may call in addition.
    pub allowed_functions: Vec<String>,
}

/// Whether a grant holds, by the clock of the storage database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// Now.
    Active,
    /// Not yet.
    Pending,
    /// No longer.
    Expired,
    /// It was taken back.
    Revoked,
}

impl std::str::FromStr for GrantState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "active" => Ok(Self::Active),
            "pending" => Ok(Self::Pending),
            "expired" => Ok(Self::Expired),
            "revoked" => Ok(Self::Revoked),
            other => Err(format!("\"{other}\" is no state of a grant")),
        }
    }
}

/// A grant as a login sees it.
#[derive(Debug)]
pub struct LoginGrant {
    /// The grant.
    pub id: GrantId,
    /// Whether it holds.
    pub state: GrantState,
    /// Read or write.
    pub access_level: AccessLevel,
    /// From then on.
    pub starts_at: DateTime<Utc>,
    /// Until then.
    pub expires_at: DateTime<Utc>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Statements in all.
    pub max_queries: Option<u64>,
    /// Bytes in all.
    pub max_bytes: Option<u64>,
    /// COPY is refused.
    pub block_copy: bool,
    /// DDL is refused.
    pub block_ddl: bool,
    /// For each statement.
    pub statement_timeout_ms: Option<u64>,
    /// Sessions at once.
    pub max_connections: Option<u32>,
    /// How durable the record is before a statement runs.
    pub audit_level: AuditLevel,
    /// Hours in which it lets its user in.
    pub schedule: Option<Schedule>,
    /// When this was looked up, by the clock of the storage database.
    pub now: DateTime<Utc>,
}

/// What is left of a grant whose row the transaction holds.
#[derive(Debug)]
pub struct HeldGrant {
    /// Statements handed out or spent.
    pub queries_reserved: u64,
    /// Bytes handed out or spent.
    pub bytes_reserved: u64,
    /// By the clock of the storage database.
    pub expires_in_ms: u64,
    /// What that clock says.
    pub now: DateTime<Utc>,
    /// The sessions that are open under it, and what they hold.
    pub holders: Holders,
}

impl Storage {
    /// The user of that name, unless it was deleted.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn login_user_fetch(&self, username: &str) -> Result<Option<LoginUser>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(USER).await?;
        let row = client.query_opt(&statement, &[&username]).await?;
        row.as_ref().map(login_user).transpose()
    }

    /// Whether the hash is that of an API token of the user which can be used now.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn login_token_use(
        &self,
        user_id: UserId,
        token_hash: &[u8],
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(TOKEN).await?;
        Ok(client
            .query_opt(&statement, &[&token_hash, &user_id.0])
            .await?
            .is_some())
    }

    /// Whether the run is known, and as one of that proxy.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn login_run_check(
        &self,
        run_id: RunId,
        proxy_name: &str,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(RUN).await?;
        Ok(client
            .query_opt(&statement, &[&run_id.0, &proxy_name])
            .await?
            .is_some())
    }
}

/// Holds the user as it was at `password_changed_at`; `false` when it is no longer so.
///
/// # Errors
/// When the database cannot be reached.
pub async fn user_lock_in_txn(
    txn: &Transaction<'_>,
    user_id: UserId,
    password_changed_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let statement = txn.prepare_cached(LOCK_USER).await?;
    Ok(txn
        .query_opt(&statement, &[&user_id.0, &password_changed_at])
        .await?
        .is_some())
}

/// Holds the database of that name, if it is there and not disabled.
///
/// # Errors
/// When the database cannot be reached.
pub async fn database_lock_in_txn(
    txn: &Transaction<'_>,
    name: &str,
) -> Result<Option<LoginDatabase>, StoreError> {
    let statement = txn.prepare_cached(LOCK_DATABASE).await?;
    let row = txn.query_opt(&statement, &[&name]).await?;
    row.as_ref().map(login_database).transpose()
}

/// The grants of the user on the database, the one that counts first, whether they hold or not.
///
/// # Errors
/// When the database cannot be reached.
pub async fn grants_find_in_txn(
    txn: &Transaction<'_>,
    user_id: UserId,
    database_id: DatabaseId,
) -> Result<Vec<LoginGrant>, StoreError> {
    let statement = txn.prepare_cached(GRANTS).await?;
    let rows = txn
        .query(&statement, &[&user_id.0, &database_id.0, &MAX_GRANTS])
        .await?;
    rows.iter().map(login_grant).collect()
}

/// Holds the grant; `None` when it does not hold any more.
///
/// # Errors
/// When the database cannot be reached.
pub async fn grant_lock_in_txn(
    txn: &Transaction<'_>,
    grant_id: GrantId,
) -> Result<Option<HeldGrant>, StoreError> {
    let statement = txn.prepare_cached(LOCK_GRANT).await?;
    let Some(row) = txn.query_opt(&statement, &[&grant_id.0]).await? else {
        return Ok(None);
    };
    Ok(Some(HeldGrant {
        queries_reserved: count(&row, "queries_reserved")?,
        bytes_reserved: count(&row, "bytes_reserved")?,
        expires_in_ms: count(&row, "expires_in_ms")?,
        now: column(&row, "now")?,
        holders: holders_in_txn(txn, grant_id).await?,
    }))
}

fn login_user(row: &Row) -> Result<LoginUser, StoreError> {
    Ok(LoginUser {
        id: UserId(column(row, "id")?),
        scram_verifier_sealed: column(row, "scram_verifier_sealed")?,
        password_hash: column(row, "password_hash")?,
        password_is_default: column(row, "password_is_default")?,
        is_disabled: column(row, "is_disabled")?,
        password_changed_at: column(row, "password_changed_at")?,
    })
}

fn login_database(row: &Row) -> Result<LoginDatabase, StoreError> {
    let port: i32 = column(row, "port")?;
    let read_username: Option<String> = column(row, "read_username")?;
    let read_password_sealed: Option<Vec<u8>> = column(row, "read_password_sealed")?;
    Ok(LoginDatabase {
        id: DatabaseId(column(row, "id")?),
        host: column(row, "host")?,
        port: u16::try_from(port).map_err(|_| malformed("port", port))?,
        database_name: column(row, "database_name")?,
        username: column(row, "username")?,
        password_sealed: column(row, "password_sealed")?,
        reader: read_username.zip(read_password_sealed),
        ssl_mode: word(row, "ssl_mode")?,
        ssl_root_cert: column(row, "ssl_root_cert")?,
        record_rows: column(row, "record_rows")?,
        record_max_rows: optional_count(row, "record_max_rows")?,
        record_max_bytes: optional_count(row, "record_max_bytes")?,
        allowed_functions: column(row, "allowed_functions")?,
    })
}

fn login_grant(row: &Row) -> Result<LoginGrant, StoreError> {
    let max_connections: Option<i32> = column(row, "max_connections")?;
    Ok(LoginGrant {
        id: GrantId(column(row, "id")?),
        state: word(row, "state")?,
        access_level: word(row, "access_level")?,
        starts_at: column(row, "starts_at")?,
        expires_at: column(row, "expires_at")?,
        revoked_at: column(row, "revoked_at")?,
        max_queries: optional_count(row, "max_queries")?,
        max_bytes: optional_count(row, "max_bytes")?,
        block_copy: column(row, "block_copy")?,
        block_ddl: column(row, "block_ddl")?,
        statement_timeout_ms: optional_count(row, "statement_timeout_ms")?,
        max_connections: max_connections
            .map(|limit| u32::try_from(limit).map_err(|_| malformed("max_connections", limit)))
            .transpose()?,
        audit_level: word(row, "audit_level")?,
        schedule: schedule(row)?,
        now: column(row, "now")?,
    })
}

fn malformed(column: &'static str, value: i32) -> StoreError {
    StoreError::Malformed {
        column,
        reason: format!("{value} is out of range"),
    }
}
