//! Runs of data plane processes: whose they are, when they were last heard of, how far their record is stored.

use std::time::Duration;

use chrono::{DateTime, Utc};
use pglens_core::{RunId, SessionId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::recovery::mark_unknown_in_txn;
use super::{Storage, StoreError, Transaction, column};

const REGISTER: &str = "insert into proxy_runs \
     (run_id, proxy_name, hostname, version, started_at, active_sessions, record_key_sealed) \
     values ($1, $2, $3, $4, $5, $6, $7) \
     on conflict (run_id) do update \
     set hostname = excluded.hostname, version = excluded.version, active_sessions = excluded.active_sessions, \
         last_seen_at = now(), lost_at = null \
     where proxy_runs.proxy_name = excluded.proxy_name \
     returning record_key_sealed";

const SEEN: &str = "update proxy_runs set last_seen_at = now(), lost_at = null, active_sessions = $2, \
       clock_skew_us = $3 - (extract(epoch from clock_timestamp()) * 1000000)::bigint \
     where run_id = $1 returning clock_skew_us";

const FETCH: &str = "select proxy_name, committed_sequence from proxy_runs where run_id = $1";

const LIST: &str = "select r.run_id, r.proxy_name, r.hostname, r.version, r.started_at, r.last_seen_at, r.lost_at, \
       r.committed_sequence, r.clock_skew_us, now() - r.last_seen_at < $3::float8 * interval '1 second' as is_attached, \
       (select count(*) from connections c where c.run_id = r.run_id and c.ended_at is null) as active_sessions \
     from proxy_runs r where r.run_id < $1 order by r.run_id desc limit $2";

/// A run that ended in order has no open connections and is none of these.
const SILENT: &str = "select r.run_id from proxy_runs r \
     where r.last_seen_at < now() - $1::float8 * interval '1 second' \
       and exists (select from connections c where c.run_id = r.run_id and c.ended_at is null) \
     order by r.last_seen_at limit $2";

const MARK_LOST: &str = "update proxy_runs set lost_at = now(), active_sessions = 0 \
     where run_id = $1 and last_seen_at < now() - $2::float8 * interval '1 second' \
     returning proxy_name, hostname, last_seen_at, committed_sequence";

/// What its sessions hold of quotas stays theirs until their record is complete: they may have spent it.
const CLOSE_SESSIONS: &str = "update connections set ended_at = now(), end_reason = $2, audit_complete = false, \
       quota_withheld = queries_reserved > 0 or bytes_reserved > 0 \
     where run_id = $1 and ended_at is null and id <> all($3) \
       and started_at <= now() - $4::float8 * interval '1 second' \
     returning id";

const RECORD_KEY: &str = "select proxy_name, record_key_sealed from proxy_runs where run_id = $1";

/// What a proxy says about itself when it attaches.
#[derive(Debug)]
pub struct RunRegistration<'a> {
    /// Made by the proxy at its start.
    pub run_id: RunId,
    /// The name in its certificate.
    pub proxy_name: &'a str,
    /// Of its machine.
    pub hostname: &'a str,
    /// Of its program.
    pub version: &'a str,
    /// By its own clock.
    pub started_at: DateTime<Utc>,
    /// Sessions it holds.
    pub active_sessions: i32,
    /// Used if the run is new.
    pub record_key_sealed: &'a [u8],
}

/// Whose a run is, and how far its record is stored.
#[derive(Debug, Clone)]
pub struct RunState {
    /// The only identity that may speak for it.
    pub proxy_name: String,
    /// All records up to this one are stored.
    pub committed_sequence: i64,
}

/// A run as administrators see it.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// Made by the proxy.
    pub run_id: RunId,
    /// The name in its certificate.
    pub proxy_name: String,
    /// Of its machine.
    pub hostname: String,
    /// Of its program.
    pub version: String,
    /// By its own clock.
    pub started_at: DateTime<Utc>,
    /// When its last heartbeat came.
    pub last_seen_at: DateTime<Utc>,
    /// Its sessions were given up.
    pub lost_at: Option<DateTime<Utc>>,
    /// It was heard of within the time given.
    pub is_attached: bool,
    /// Sessions that are open.
    pub active_sessions: i64,
    /// All records up to this one are stored.
    pub committed_sequence: i64,
    /// Its clock less that of the storage database.
    pub clock_skew_us: Option<i64>,
}

/// A run that fell silent with open sessions.
#[derive(Debug)]
pub struct LostRun {
    /// Which one.
    pub run_id: RunId,
    /// The name in its certificate.
    pub proxy_name: String,
    /// Of its machine.
    pub hostname: String,
    /// When its last heartbeat came.
    pub last_seen_at: DateTime<Utc>,
    /// Records behind this one are missing.
    pub committed_sequence: i64,
    /// Its sessions, closed now.
    pub sessions: Vec<SessionId>,
}

impl Storage {
    /// Registers a run, or hears of it again. `None`: the run belongs to another identity. Otherwise the run's sealed
    /// record key, the one of the first registration.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn proxy_run_register(
        &self,
        run: &RunRegistration<'_>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(REGISTER).await?;
        let row = client
            .query_opt(
                &statement,
                &[
                    &run.run_id.0,
                    &run.proxy_name,
                    &run.hostname,
                    &run.version,
                    &run.started_at,
                    &run.active_sessions,
                    &run.record_key_sealed,
                ],
            )
            .await?;
        row.map(|row| column(&row, "record_key_sealed")).transpose()
    }

    /// Notes that a run was heard of, and returns its clock less that of the storage database, in microseconds.
    ///
    /// # Errors
    /// When the database cannot be reached, or there is no such run.
    pub async fn proxy_run_seen(
        &self,
        run_id: RunId,
        active_sessions: i32,
        sent_at_unix_us: Option<i64>,
    ) -> Result<Option<i64>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(SEEN).await?;
        let row = client
            .query_opt(&statement, &[&run_id.0, &active_sessions, &sent_at_unix_us])
            .await?;
        column(&row.ok_or(StoreError::NotFound)?, "clock_skew_us")
    }

    /// A run, if it is known.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn proxy_run_fetch(&self, run_id: RunId) -> Result<Option<RunState>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(FETCH).await?;
        let row = client.query_opt(&statement, &[&run_id.0]).await?;
        row.map(|row| {
            Ok(RunState {
                proxy_name: column(&row, "proxy_name")?,
                committed_sequence: column(&row, "committed_sequence")?,
            })
        })
        .transpose()
    }

    /// Whose a run is, and its sealed record key.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn proxy_run_record_key(
        &self,
        run_id: RunId,
    ) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(RECORD_KEY).await?;
        let row = client.query_opt(&statement, &[&run_id.0]).await?;
        row.map(|row| {
            Ok((
                column(&row, "proxy_name")?,
                column(&row, "record_key_sealed")?,
            ))
        })
        .transpose()
    }

    /// Runs older than `before`, the newest first. Those heard of within `attached_within` count as attached.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn proxy_run_list(
        &self,
        before: RunId,
        limit_rows: i64,
        attached_within: Duration,
    ) -> Result<Vec<RunInfo>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LIST).await?;
        let rows = client
            .query(
                &statement,
                &[&before.0, &limit_rows, &attached_within.as_secs_f64()],
            )
            .await?;
        rows.iter().map(run_info).collect()
    }

    /// Runs with open sessions that were not heard of for `silence`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn proxy_run_list_silent(
        &self,
        silence: Duration,
        limit_rows: i64,
    ) -> Result<Vec<RunId>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(SILENT).await?;
        let rows = client
            .query(&statement, &[&silence.as_secs_f64(), &limit_rows])
            .await?;
        rows.iter()
            .map(|row| column(row, "run_id").map(RunId))
            .collect()
    }
}

/// Marks a run lost and closes its sessions, unless it was heard of in the meantime. How statements without an end went on is
/// unknown then, until the proxy comes back and tells.
///
/// # Errors
/// When the database cannot be reached.
pub async fn close_lost_in_txn(
    txn: &Transaction<'_>,
    run_id: RunId,
    silence: Duration,
) -> Result<Option<LostRun>, StoreError> {
    let mark = txn.prepare_cached(MARK_LOST).await?;
    let Some(run) = txn
        .query_opt(&mark, &[&run_id.0, &silence.as_secs_f64()])
        .await?
    else {
        return Ok(None);
    };
    let sessions = close_sessions(txn, run_id, "proxy_lost", &[], Duration::ZERO).await?;
    let ids: Vec<Uuid> = sessions.iter().map(|id| id.0).collect();
    mark_unknown_in_txn(txn, &ids).await?;
    Ok(Some(LostRun {
        run_id,
        proxy_name: column(&run, "proxy_name")?,
        hostname: column(&run, "hostname")?,
        last_seen_at: column(&run, "last_seen_at")?,
        committed_sequence: column(&run, "committed_sequence")?,
        sessions,
    }))
}

/// Closes the sessions of a run that its proxy does not hold, although it was told of them at least `age` ago: their
/// login was cut off, or their end is still on its way and completes them.
///
/// # Errors
/// When the database cannot be reached.
pub async fn close_unheld_in_txn(
    txn: &Transaction<'_>,
    run_id: RunId,
    held: &[SessionId],
    age: Duration,
) -> Result<Vec<SessionId>, StoreError> {
    close_sessions(txn, run_id, "not_held", held, age).await
}

async fn close_sessions(
    txn: &Transaction<'_>,
    run_id: RunId,
    reason: &str,
    but: &[SessionId],
    age: Duration,
) -> Result<Vec<SessionId>, StoreError> {
    let but: Vec<Uuid> = but.iter().map(|id| id.0).collect();
    let statement = txn.prepare_cached(CLOSE_SESSIONS).await?;
    let rows = txn
        .query(&statement, &[&run_id.0, &reason, &but, &age.as_secs_f64()])
        .await?;
    rows.iter()
        .map(|row| column(row, "id").map(SessionId))
        .collect()
}

fn run_info(row: &Row) -> Result<RunInfo, StoreError> {
    Ok(RunInfo {
        run_id: RunId(column(row, "run_id")?),
        proxy_name: column(row, "proxy_name")?,
        hostname: column(row, "hostname")?,
        version: column(row, "version")?,
        started_at: column(row, "started_at")?,
        last_seen_at: column(row, "last_seen_at")?,
        lost_at: column(row, "lost_at")?,
        is_attached: column(row, "is_attached")?,
        active_sessions: column(row, "active_sessions")?,
        committed_sequence: column(row, "committed_sequence")?,
        clock_skew_us: column(row, "clock_skew_us")?,
    })
}
