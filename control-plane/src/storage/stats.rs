//! Sums over the record, in buckets of time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::query::first_id;
use super::{Storage, StoreError, column};

/// Statements of the time asked for; ids leave out the days around it.
const BUCKETS: &str = "select date_bin($3::float8 * interval '1 second', started_at, $1) as starts_at, \
       count(*) as statements, count(*) filter (where sqlstate <> '' and refusal = '') as errors, \
       count(*) filter (where refusal <> '') as refusals, sum(row_count)::bigint as rows, \
       sum(bytes_in)::bigint as bytes_in, sum(bytes_out)::bigint as bytes_out \
     from queries where started_at >= $1 and started_at < $2 and id >= $4 and id < $5 \
     group by 1 order by 1";

const NOW: &str = "select (select count(*) from connections where ended_at is null) as active_connections, \
       (select count(*) from proxy_runs \
        where last_seen_at > now() - $1::float8 * interval '1 second') as attached_proxies";

/// What ran in a stretch of time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StatsBucket {
    /// When it starts.
    pub starts_at: DateTime<Utc>,
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
}

/// How things stand.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct StatsNow {
    /// Connections that are open.
    pub active_connections: i64,
    /// Proxies that were heard of a moment ago.
    pub attached_proxies: i64,
}

impl Storage {
    /// What ran from `from` until `to`, in buckets of `bucket`; empty ones are left out.
    ///
    /// # Errors
    /// When the database cannot be reached, or the answer takes too long.
    pub async fn stats_buckets(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        bucket: Duration,
    ) -> Result<Vec<StatsBucket>, StoreError> {
        let day = chrono::Duration::days(1);
        let first = first_id(from - day).unwrap_or_default();
        let last = first_id(to + day).unwrap_or_default();
        let client = self.client().await?;
        let statement = client.prepare_cached(BUCKETS).await?;
        let rows = client
            .query(
                &statement,
                &[&from, &to, &bucket.as_secs_f64(), &first, &last],
            )
            .await?;
        rows.iter().map(stats_bucket).collect()
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

fn stats_bucket(row: &Row) -> Result<StatsBucket, StoreError> {
    Ok(StatsBucket {
        starts_at: column(row, "starts_at")?,
        statements: column(row, "statements")?,
        errors: column(row, "errors")?,
        refusals: column(row, "refusals")?,
        rows: column(row, "rows")?,
        bytes_in: column(row, "bytes_in")?,
        bytes_out: column(row, "bytes_out")?,
    })
}
