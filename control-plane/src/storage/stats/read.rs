//! Reads the sums.

use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use super::span::{HOUR, Span};
use crate::storage::query::first_id;
use crate::storage::{Storage, StoreError, column};

/// Folded sums and those that are not yet, of the time from $1 until $2; of whole hours from $3 until $4.
macro_rules! sums {
    ($rest:literal) => {
        concat!(
            "with sums as (select minute, user_id, database_id, statements, errors, refusals, rows, bytes_in, \
               bytes_out, duration_us from stats_minutes \
               where minute >= $1 and minute < $3 or minute >= $4 and minute < $2 \
             union all select hour, user_id, database_id, statements, errors, refusals, rows, bytes_in, \
               bytes_out, duration_us from stats_hours where hour >= $3 and hour < $4 \
             union all select minute, user_id, database_id, statements, errors, refusals, rows, bytes_in, \
               bytes_out, duration_us from stats_deltas where minute >= $1 and minute < $2) ",
            $rest
        )
    };
}

/// Counts of a group; no sum is beyond what the answer can hold.
macro_rules! counts {
    () => {
        "sum(statements)::bigint as statements, sum(errors)::bigint as errors, sum(refusals)::bigint as refusals, \
         least(sum(rows), 9223372036854775807)::bigint as rows, \
         least(sum(bytes_in), 9223372036854775807)::bigint as bytes_in, \
         least(sum(bytes_out), 9223372036854775807)::bigint as bytes_out, \
         least(sum(duration_us), 9223372036854775807)::bigint as duration_us"
    };
}

const BUCKETS: &str = concat!(
    sums!("select date_bin($5::float8 * interval '1 second', minute, $1) as starts_at, "),
    counts!(),
    " from sums group by 1 order by 1"
);

/// How many sessions were open at $1, and began and ended in each bucket until $2. Those open at $1 are those open now,
/// but for what has changed since.
const SESSIONS: &str = "with buckets as ( \
       select case when at < $2 then date_bin($3::float8 * interval '1 second', at, $1) end as starts_at, \
         sum(opened)::bigint as opened, sum(ended)::bigint as ended from \
         (select started_at as at, 1 as opened, 0 as ended from connections where started_at >= $1 and id >= $4 \
          union all select ended_at, 0, 1 from connections where ended_at >= $1) changes group by 1) \
     select null::timestamptz as starts_at, (select count(*) from connections where ended_at is null) \
       + coalesce(sum(ended) - sum(opened), 0)::bigint as opened, 0::bigint as ended from buckets \
     union all select starts_at, opened, ended from buckets where starts_at is not null order by 1 nulls first";

const TOP_USERS: &str = concat!(
    sums!("select s.user_id, (select username from users where id = s.user_id) as username, "),
    counts!(),
    " from sums s group by s.user_id order by 3 desc, 1 limit $5"
);

const TOP_DATABASES: &str = concat!(
    sums!(
        "select s.database_id, (select name from databases where id = s.database_id) as database, "
    ),
    counts!(),
    " from sums s group by s.database_id order by 3 desc, 1 limit $5"
);

/// Folded by the hour: hours that begin in the time; of whole days from $3 until $4.
const TOP_FINGERPRINTS: &str = concat!(
    "with sums as (select fingerprint, example, statements, errors, refusals, rows, bytes_in, bytes_out, duration_us \
       from stats_fingerprints where hour >= $1 and hour < $3 or hour >= $4 and hour < $2 \
     union all select fingerprint, example, statements, errors, refusals, rows, bytes_in, bytes_out, duration_us \
       from stats_fingerprint_days where day >= $3 and day < $4 \
     union all select fingerprint, example, statements, errors, refusals, rows, bytes_in, bytes_out, duration_us \
       from stats_deltas where minute >= $1 and minute < $2 and fingerprint <> ''), \
     top as (select fingerprint, (array_agg(example) filter (where example is not null))[1] as example, ",
    counts!(),
    " from sums group by 1 order by 3 desc, 1 limit $5) \
     select t.*, (select left(q.sql, 1000) from queries q where q.id = t.example) as sql \
     from top t order by t.statements desc, t.fingerprint"
);

const NOW: &str = "select (select count(*) from connections where ended_at is null) as active_connections, \
       (select count(*) from proxy_runs \
        where last_seen_at > now() - $1::float8 * interval '1 second') as attached_proxies";

/// What ran, in numbers.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct Counts {
    /// Statements begun, refused ones included.
    pub statements: i64,
    /// Statements that the target ended with an error.
    pub errors: i64,
    /// Statements that PgLens refused.
    pub refusals: i64,
    /// Rows they gave.
    pub rows: i64,
    /// Payload from clients.
    pub bytes_in: i64,
    /// Payload to clients.
    pub bytes_out: i64,
    /// How long they took together.
    pub duration_us: i64,
}

/// What ran in a stretch of time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StatsBucket {
    /// When it starts.
    pub starts_at: DateTime<Utc>,
    /// What ran.
    #[serde(flatten)]
    pub counts: Counts,
    /// Sessions that were open at some time in it.
    pub active_sessions: i64,
}

/// What a user ran.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TopUser {
    /// The user.
    pub user_id: i64,
    /// The user's name as it is now.
    pub username: Option<String>,
    /// What ran.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What ran on a database.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TopDatabase {
    /// The database.
    pub database_id: i64,
    /// The database's name as it is now.
    pub database: Option<String>,
    /// What ran.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Statements that differ in constants only.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TopFingerprint {
    /// As `/api/queries` filters by it.
    pub fingerprint: String,
    /// One of them; null: it is past its retention.
    pub example: Option<Uuid>,
    /// The beginning of its text.
    pub sql: Option<String>,
    /// What ran.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How things stand.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct StatsNow {
    /// Connections that are open.
    pub active_connections: i64,
    /// Proxies that were heard of a moment ago.
    pub attached_proxies: i64,
}

/// Sessions that began and ended in a bucket; without a time, those that were open before.
#[derive(Debug, Clone, Copy)]
pub struct SessionChanges {
    /// The bucket's start.
    pub starts_at: Option<DateTime<Utc>>,
    /// Began in it.
    pub opened: i64,
    /// Ended in it.
    pub ended: i64,
}

impl Storage {
    /// What ran from `from` until `to`, in buckets of `bucket`; empty ones are left out. Whole minutes are counted.
    ///
    /// # Errors
    /// When the database cannot be reached, or the answer takes too long.
    pub async fn stats_buckets(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        bucket: Duration,
    ) -> Result<Vec<(DateTime<Utc>, Counts)>, StoreError> {
        let span = Span::new(from, to, HOUR);
        let has_whole_hours =
            bucket.as_secs().is_multiple_of(3600) && from.duration_trunc(HOUR) == Ok(from);
        let span = if has_whole_hours {
            span
        } else {
            span.in_parts()
        };
        let client = self.client().await?;
        let statement = client.prepare_cached(BUCKETS).await?;
        let seconds = bucket.as_secs_f64();
        let rows = client.query(&statement, &span.and(&seconds)).await?;
        rows.iter()
            .map(|row| Ok((column(row, "starts_at")?, counts(row)?)))
            .collect()
    }

    /// Sessions open before `from`, then those that began and ended in each bucket.
    ///
    /// # Errors
    /// When the database cannot be reached, or the answer takes too long.
    pub async fn stats_sessions(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        bucket: Duration,
    ) -> Result<Vec<SessionChanges>, StoreError> {
        // Ids are of a control plane's clock, times of the database's.
        let first = from.checked_sub_signed(TimeDelta::days(1));
        let first = first.and_then(first_id).unwrap_or_default();
        let client = self.client().await?;
        let statement = client.prepare_cached(SESSIONS).await?;
        let seconds = bucket.as_secs_f64();
        let rows = client
            .query(&statement, &[&from, &to, &seconds, &first])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(SessionChanges {
                    starts_at: column(row, "starts_at")?,
                    opened: column(row, "opened")?,
                    ended: column(row, "ended")?,
                })
            })
            .collect()
    }

    /// The users with the most statements.
    ///
    /// # Errors
    /// When the database cannot be reached, or the answer takes too long.
    pub async fn stats_top_users(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<TopUser>, StoreError> {
        let span = Span::new(from, to, HOUR);
        let client = self.client().await?;
        let statement = client.prepare_cached(TOP_USERS).await?;
        let rows = client.query(&statement, &span.and(&limit)).await?;
        rows.iter()
            .map(|row| {
                Ok(TopUser {
                    user_id: column(row, "user_id")?,
                    username: column(row, "username")?,
                    counts: counts(row)?,
                })
            })
            .collect()
    }

    /// The databases with the most statements.
    ///
    /// # Errors
    /// When the database cannot be reached, or the answer takes too long.
    pub async fn stats_top_databases(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<TopDatabase>, StoreError> {
        let span = Span::new(from, to, HOUR);
        let client = self.client().await?;
        let statement = client.prepare_cached(TOP_DATABASES).await?;
        let rows = client.query(&statement, &span.and(&limit)).await?;
        rows.iter()
            .map(|row| {
                Ok(TopDatabase {
                    database_id: column(row, "database_id")?,
                    database: column(row, "database")?,
                    counts: counts(row)?,
                })
            })
            .collect()
    }

    /// The fingerprints with the most statements.
    ///
    /// # Errors
    /// When the database cannot be reached, or the answer takes too long.
    pub async fn stats_top_fingerprints(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<TopFingerprint>, StoreError> {
        let from = from.duration_trunc(HOUR).unwrap_or(from);
        let span = Span::new(from, to, TimeDelta::days(1));
        let client = self.client().await?;
        let statement = client.prepare_cached(TOP_FINGERPRINTS).await?;
        let rows = client.query(&statement, &span.and(&limit)).await?;
        rows.iter()
            .map(|row| {
                Ok(TopFingerprint {
                    fingerprint: column(row, "fingerprint")?,
                    example: column(row, "example")?,
                    sql: column(row, "sql")?,
                    counts: counts(row)?,
                })
            })
            .collect()
    }

    /// How things stand now. Proxies heard of within `attached_within` count as attached.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn stats_now(&self, attached_within: Duration) -> Result<StatsNow, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(NOW).await?;
        let row = client
            .query_one(&statement, &[&attached_within.as_secs_f64()])
            .await?;
        Ok(StatsNow {
            active_connections: column(&row, "active_connections")?,
            attached_proxies: column(&row, "attached_proxies")?,
        })
    }
}

fn counts(row: &Row) -> Result<Counts, StoreError> {
    Ok(Counts {
        statements: column(row, "statements")?,
        errors: column(row, "errors")?,
        refusals: column(row, "refusals")?,
        rows: column(row, "rows")?,
        bytes_in: column(row, "bytes_in")?,
        bytes_out: column(row, "bytes_out")?,
        duration_us: column(row, "duration_us")?,
    })
}
