//! Connections: the sessions that were let in, from their login to their end.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use pglens_core::{DatabaseId, GrantId, RunId, SessionId, UserId};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use super::filter::Conditions;
use super::query::{Order, first_id};
use super::{Storage, StoreError, Transaction, column};

/// Between the clock of the control plane that made an id and the database's, which says when the session started.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::days(1);

const INSERT: &str = "insert into connections \
     (id, run_id, user_id, database_id, grant_id, client_address, application_name, tls_version, \
      queries_reserved, bytes_reserved, window_ends_at, record_rows, cancel_key) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

const COLUMNS: &str = "c.id, c.user_id, u.username, c.database_id, d.name as database, c.grant_id, \
     c.client_address, c.application_name, c.tls_version, r.proxy_name, c.started_at, c.ended_at, c.end_reason, \
     c.sqlstate, c.audit_complete, c.query_count, c.bytes_in, c.bytes_out, c.kill_requested_at";

const FROM: &str = "connections c join users u on u.id = c.user_id join databases d on d.id = c.database_id \
     join proxy_runs r on r.run_id = c.run_id";

const KILL: &str = "update connections set kill_requested_at = now(), kill_requested_by = $2 \
     where id = $1 and ended_at is null and kill_requested_at is null";

const RUNS_BY_CANCEL_KEY: &str =
    "select distinct run_id from connections where cancel_key = $1 and ended_at is null";

const SCOPES: &str =
    "select id, user_id, database_id, grant_id from connections where id = any($1) and run_id = $2";

/// Ends a session that no proxy ever held.
const ABANDON: &str = "update connections set ended_at = now(), end_reason = 'login_interrupted' \
     where id = $1 and ended_at is null returning grant_id, queries_reserved, bytes_reserved";

/// A session that was let in.
#[derive(Debug)]
pub struct NewConnection<'a> {
    /// Made by the control plane.
    pub id: SessionId,
    /// The proxy's run.
    pub run_id: RunId,
    /// Who.
    pub user_id: UserId,
    /// Where to.
    pub database_id: DatabaseId,
    /// Under which grant.
    pub grant_id: GrantId,
    /// Where from, as the proxy sees it.
    pub client_address: &'a str,
    /// As the client names itself.
    pub application_name: &'a str,
    /// Absent: plain TCP.
    pub tls_version: Option<&'a str>,
    /// First slice of the grant's statements.
    pub queries_reserved: i64,
    /// First slice of the grant's bytes.
    pub bytes_reserved: i64,
    /// When the hours of its grant end.
    pub window_ends_at: Option<DateTime<Utc>>,
    /// Whether rows of it are recorded.
    pub record_rows: bool,
    /// Keyed digest of what its client cancels with.
    pub cancel_key: Option<[u8; 32]>,
}

/// A session that was let in, running or ended.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Connection {
    /// Also the `connection_id` of its queries.
    pub id: Uuid,
    /// Who.
    pub user_id: i64,
    /// Name of the user.
    pub username: String,
    /// Where to.
    pub database_id: i64,
    /// Name of the database.
    pub database: String,
    /// The grant it is pinned to.
    pub grant_id: i64,
    /// Where from: address and port.
    pub client_address: String,
    /// As the client names itself.
    pub application_name: String,
    /// Null: plain TCP.
    pub tls_version: Option<String>,
    /// Name of the proxy.
    pub proxy: String,
    /// When it was let in.
    pub started_at: DateTime<Utc>,
    /// Null: it is running.
    pub ended_at: Option<DateTime<Utc>>,
    /// For example "client_closed".
    pub end_reason: Option<String>,
    /// What the client was told at the end; null when it left by itself.
    pub sqlstate: Option<String>,
    /// False: records of it may be missing.
    pub audit_complete: bool,
    /// Statements recorded.
    pub query_count: i64,
    /// Payload from the client.
    pub bytes_in: i64,
    /// Payload to the client.
    pub bytes_out: i64,
    /// When somebody asked to end it.
    pub kill_requested_at: Option<DateTime<Utc>>,
}

/// Which connections are listed; absent fields match all.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// To this database.
    pub database_id: Option<DatabaseId>,
    /// Under this grant.
    pub grant_id: Option<GrantId>,
    /// Running, or ended.
    pub active: Option<bool>,
    /// Begun then or later.
    pub from: Option<DateTime<Utc>>,
    /// Begun before then.
    pub to: Option<DateTime<Utc>>,
    /// Through the proxy of this name.
    pub proxy: Option<String>,
    /// From this address, whatever the port.
    pub client_address: Option<IpAddr>,
    /// With its whole record, or not.
    pub audit_complete: Option<bool>,
}

impl ConnectionFilter {
    fn add_to(&self, conditions: &mut Conditions) {
        conditions.add_some("c.user_id = $", self.user_id.map(|id| id.0));
        conditions.add_some("c.database_id = $", self.database_id.map(|id| id.0));
        conditions.add_some("c.grant_id = $", self.grant_id.map(|id| id.0));
        match self.active {
            Some(true) => conditions.add_fixed("c.ended_at is null"),
            Some(false) => conditions.add_fixed("c.ended_at is not null"),
            None => {}
        }
        // Ids are made with the start, by the clock of a control plane.
        let low = self
            .from
            .and_then(|from| first_id(from.checked_sub_signed(CLOCK_TOLERANCE)?));
        let high = self
            .to
            .and_then(|to| to.checked_add_signed(CLOCK_TOLERANCE))
            .map(|to| first_id(to).unwrap_or_default());
        conditions.add_some("c.started_at >= $", self.from);
        conditions.add_some("c.id >= $", low);
        conditions.add_some("c.started_at < $", self.to);
        conditions.add_some("c.id < $", high);
        conditions.add_some("r.proxy_name = $", self.proxy.clone());
        conditions.add_some(
            "c.client_address like any ($)",
            self.client_address.map(address_patterns),
        );
        match self.audit_complete {
            Some(true) => conditions.add_fixed("c.audit_complete"),
            Some(false) => conditions.add_fixed("not c.audit_complete"),
            None => {}
        }
    }
}

/// An address as it is stored: with a port, mostly.
fn address_patterns(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(address) => vec![address.to_string(), format!("{address}:%")],
        IpAddr::V6(address) => vec![address.to_string(), format!("[{address}]:%")],
    }
}

/// Whose a session is; what its statements are stored with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionScope {
    /// Who.
    pub user_id: UserId,
    /// Where to.
    pub database_id: DatabaseId,
    /// Under which grant.
    pub grant_id: GrantId,
}

impl Storage {
    /// Connections behind `after`, up to `limit_rows` of them.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connection_list(
        &self,
        filter: &ConnectionFilter,
        order: Order,
        after: Option<Uuid>,
        limit_rows: i64,
    ) -> Result<Vec<Connection>, StoreError> {
        let mut conditions = Conditions::default();
        filter.add_to(&mut conditions);
        let direction = match order {
            Order::Newest => {
                conditions.add_some("c.id < $", after);
                "desc"
            }
            Order::Oldest => {
                conditions.add_some("c.id > $", after);
                "asc"
            }
        };
        let limit = conditions.place(limit_rows);
        let text = format!(
            "select {COLUMNS} from {FROM} where {} order by c.id {direction} limit {limit}",
            conditions.text()
        );
        let client = self.client().await?;
        let statement = client.prepare(&text).await?;
        let rows = client.query(&statement, &conditions.parameters()).await?;
        rows.iter().map(connection).collect()
    }

    /// One connection, if it is there.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connection_fetch(&self, id: SessionId) -> Result<Option<Connection>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!("select {COLUMNS} from {FROM} where c.id = $1"))
            .await?;
        client
            .query_opt(&statement, &[&id.0])
            .await?
            .as_ref()
            .map(connection)
            .transpose()
    }

    /// The connections with these ids, in any order.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connection_list_by_id(&self, ids: &[Uuid]) -> Result<Vec<Connection>, StoreError> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(&format!(
                "select {COLUMNS} from {FROM} where c.id = any($1)"
            ))
            .await?;
        let rows = client.query(&statement, &[&ids]).await?;
        rows.iter().map(connection).collect()
    }

    /// The runs that hold a running session with this cancel key; nearly always one at most.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn session_run_list_by_cancel_key(
        &self,
        cancel_key: &[u8; 32],
    ) -> Result<Vec<RunId>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(RUNS_BY_CANCEL_KEY).await?;
        let key = cancel_key.as_slice();
        let rows = client.query(&statement, &[&key]).await?;
        rows.iter()
            .map(|row| Ok(RunId(column(row, "run_id")?)))
            .collect()
    }

    /// Whose the sessions are, of those that the run has.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connection_scopes(
        &self,
        run_id: RunId,
        ids: &[SessionId],
    ) -> Result<Vec<(SessionId, SessionScope)>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(SCOPES).await?;
        let rows = client.query(&statement, &[&ids, &run_id.0]).await?;
        rows.iter()
            .map(|row| {
                let scope = SessionScope {
                    user_id: UserId(column(row, "user_id")?),
                    database_id: DatabaseId(column(row, "database_id")?),
                    grant_id: GrantId(column(row, "grant_id")?),
                };
                Ok((SessionId(column(row, "id")?), scope))
            })
            .collect()
    }
}

/// Keeps a session that is let in.
///
/// # Errors
/// When the database cannot be reached.
pub async fn insert_in_txn(
    txn: &Transaction<'_>,
    connection: &NewConnection<'_>,
) -> Result<(), StoreError> {
    let statement = txn.prepare_cached(INSERT).await?;
    txn.execute(
        &statement,
        &[
            &connection.id.0,
            &connection.run_id.0,
            &connection.user_id.0,
            &connection.database_id.0,
            &connection.grant_id.0,
            &connection.client_address,
            &connection.application_name,
            &connection.tls_version,
            &connection.queries_reserved,
            &connection.bytes_reserved,
            &connection.window_ends_at,
            &connection.record_rows,
            &connection.cancel_key.as_ref().map(<[u8; 32]>::as_slice),
        ],
    )
    .await?;
    Ok(())
}

/// Asks for the end of a session; `false` when it has ended or was asked before.
///
/// # Errors
/// When the database cannot be reached.
pub async fn request_kill_in_txn(
    txn: &Transaction<'_>,
    id: SessionId,
    by: UserId,
) -> Result<bool, StoreError> {
    let statement = txn.prepare_cached(KILL).await?;
    Ok(txn.execute(&statement, &[&id.0, &by.0]).await? > 0)
}

/// Ends a session whose login was given up before its proxy heard of it. What it held of its grant's quotas comes back
/// to the caller, to be given back.
///
/// # Errors
/// When the database cannot be reached.
pub async fn abandon_in_txn(
    txn: &Transaction<'_>,
    id: SessionId,
) -> Result<Option<(GrantId, i64, i64)>, StoreError> {
    let statement = txn.prepare_cached(ABANDON).await?;
    let row = txn.query_opt(&statement, &[&id.0]).await?;
    row.map(|row| {
        Ok((
            GrantId(column(&row, "grant_id")?),
            column(&row, "queries_reserved")?,
            column(&row, "bytes_reserved")?,
        ))
    })
    .transpose()
}

fn connection(row: &Row) -> Result<Connection, StoreError> {
    Ok(Connection {
        id: column(row, "id")?,
        user_id: column(row, "user_id")?,
        username: column(row, "username")?,
        database_id: column(row, "database_id")?,
        database: column(row, "database")?,
        grant_id: column(row, "grant_id")?,
        client_address: column(row, "client_address")?,
        application_name: column(row, "application_name")?,
        tls_version: column(row, "tls_version")?,
        proxy: column(row, "proxy_name")?,
        started_at: column(row, "started_at")?,
        ended_at: column(row, "ended_at")?,
        end_reason: column(row, "end_reason")?,
        sqlstate: column(row, "sqlstate")?,
        audit_complete: column(row, "audit_complete")?,
        query_count: column(row, "query_count")?,
        bytes_in: column(row, "bytes_in")?,
        bytes_out: column(row, "bytes_out")?,
        kill_requested_at: column(row, "kill_requested_at")?,
    })
}
