//! Reads the record of statements.

mod filter;
mod list;
#[cfg(test)]
mod plans;
mod text_lookup;
mod text_spans;

use chrono::{DateTime, NaiveDate, Utc};
use pglens_core::QueryId;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Storage, StoreError, column};
use crate::crypto::keyring::hexadecimal;
use crate::ingest::columns::columns_json;

pub use filter::{Order, QueryFilter};
pub use list::QueriesFound;

/// A statement without an end whose session is over will never get one.
const COLUMNS: &str = "q.id, q.connection_id, q.user_id, u.username, q.database_id, d.name as database, q.grant_id, q.sequence, q.sql, q.kind, \
     nullif(q.fingerprint, '') as fingerprint, q.started_at, q.first_row_us, q.duration_us, q.row_count, q.bytes_in, \
     q.bytes_out, nullif(q.command_tag, '') as command_tag, nullif(q.sqlstate, '') as sqlstate, \
     nullif(q.error_message, '') as error_message, nullif(q.refusal, '') as refusal, \
     nullif(q.transaction_status, '') as transaction_status, q.rows_truncated, q.captured_rows, q.captured_bytes, \
     q.result_digest, coalesce(c.record_rows, true) as rows_recorded, \
     q.captured_rows > 0 and q.key_day < (select rows_kept_from from retention) as rows_dropped, \
     q.outcome_unknown or (q.duration_us is null and c.ended_at is not null) as outcome_unknown";

const JOINS: &str = "left join connections c on c.id = q.connection_id left join users u on u.id = q.user_id \
     left join databases d on d.id = q.database_id";

/// One executed or refused statement.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Query {
    /// Made by the proxy; sorts by time.
    pub id: Uuid,
    /// The session it ran in.
    pub connection_id: Uuid,
    /// Who ran it.
    pub user_id: i64,
    /// The user's name as it is now.
    pub username: Option<String>,
    /// Where.
    pub database_id: i64,
    /// The database's name as it is now.
    pub database: Option<String>,
    /// Under which grant.
    pub grant_id: i64,
    /// Counts the statements of the session from 1.
    pub sequence: i64,
    /// Its text.
    pub sql: String,
    /// For example "SELECT"; "UNKNOWN" for text the parser does not understand.
    pub kind: String,
    /// Equal for statements that differ in constants only; null: not parsed.
    pub fingerprint: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// From its start to the first row; null: no row.
    pub first_row_us: Option<i64>,
    /// From its start to its end; null: it runs, or its outcome is unknown.
    pub duration_us: Option<i64>,
    /// Rows of the result, or messages of a COPY, kept or not.
    pub row_count: i64,
    /// Payload from the client.
    pub bytes_in: i64,
    /// Payload to the client.
    pub bytes_out: i64,
    /// As PostgreSQL says it, for example "SELECT 5".
    pub command_tag: Option<String>,
    /// Null: it succeeded.
    pub sqlstate: Option<String>,
    /// Null: it succeeded.
    pub error_message: Option<String>,
    /// The rule that refused it; null: it ran.
    pub refusal: Option<String>,
    /// "I", "T" or "E" behind it.
    pub transaction_status: Option<String>,
    /// Some rows were not kept.
    pub rows_truncated: bool,
    /// Rows kept.
    pub captured_rows: i64,
    /// Bytes of rows kept.
    pub captured_bytes: i64,
    /// False: its database was set to keep no rows.
    pub rows_recorded: bool,
    /// Its rows were kept, and were dropped since: they are past their retention.
    pub rows_dropped: bool,
    /// BLAKE3 over the whole result, hexadecimal; null: there was none.
    pub result_digest: Option<String>,
    /// It is not known whether it ran to its end.
    pub outcome_unknown: bool,
}

/// A statement with what is sealed or large.
#[derive(Debug, Clone)]
pub struct QueryRecord {
    /// The statement.
    pub query: Query,
    /// The result's columns as they were described.
    pub columns: Option<Value>,
    /// Day of the key of its parameters.
    pub key_day: NaiveDate,
    /// Absent: it has none.
    pub parameters_sealed: Option<Vec<u8>>,
    /// The block that holds its rows together with those of other statements.
    pub rows_block: Option<Uuid>,
}

impl Storage {
    /// One statement, if it is there.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn query_fetch(&self, id: QueryId) -> Result<Option<QueryRecord>, StoreError> {
        let text = format!(
            "select {COLUMNS}, q.columns, q.result_columns, q.key_day, \
             q.parameters_sealed, q.rows_block from queries q {JOINS} where q.id = $1"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&text).await?;
        let row = client.query_opt(&statement, &[&id.0]).await?;
        row.map(|row| {
            Ok(QueryRecord {
                query: query(&row)?,
                columns: columns(&row)?,
                key_day: column(&row, "key_day")?,
                parameters_sealed: column(&row, "parameters_sealed")?,
                rows_block: column(&row, "rows_block")?,
            })
        })
        .transpose()
    }
}

/// The lowest id that a `UUIDv7` made at `time` can have; `None` for times before 1970.
#[must_use]
pub fn first_id(time: DateTime<Utc>) -> Option<Uuid> {
    let unix_ms = u64::try_from(time.timestamp_millis()).ok()?;
    Some(Uuid::from_u128(u128::from(unix_ms) << 80))
}

/// The columns of the result; records of earlier versions have them as JSON.
fn columns(row: &Row) -> Result<Option<Value>, StoreError> {
    match column::<Option<&[u8]>>(row, "result_columns")? {
        None => column(row, "columns"),
        Some(packed) => columns_json(packed)
            .map(Some)
            .map_err(|error| StoreError::Malformed {
                column: "result_columns",
                reason: error.to_string(),
            }),
    }
}

fn query(row: &Row) -> Result<Query, StoreError> {
    let digest: Option<&[u8]> = column(row, "result_digest")?;
    Ok(Query {
        id: column(row, "id")?,
        connection_id: column(row, "connection_id")?,
        user_id: column(row, "user_id")?,
        username: column(row, "username")?,
        database_id: column(row, "database_id")?,
        database: column(row, "database")?,
        grant_id: column(row, "grant_id")?,
        sequence: column(row, "sequence")?,
        sql: column(row, "sql")?,
        kind: column(row, "kind")?,
        fingerprint: column(row, "fingerprint")?,
        started_at: column(row, "started_at")?,
        first_row_us: column(row, "first_row_us")?,
        duration_us: column(row, "duration_us")?,
        row_count: column(row, "row_count")?,
        bytes_in: column(row, "bytes_in")?,
        bytes_out: column(row, "bytes_out")?,
        command_tag: column(row, "command_tag")?,
        sqlstate: column(row, "sqlstate")?,
        error_message: column(row, "error_message")?,
        refusal: column(row, "refusal")?,
        transaction_status: column(row, "transaction_status")?,
        rows_truncated: column(row, "rows_truncated")?,
        captured_rows: column(row, "captured_rows")?,
        captured_bytes: column(row, "captured_bytes")?,
        rows_recorded: column(row, "rows_recorded")?,
        rows_dropped: column(row, "rows_dropped")?,
        result_digest: digest.map(hexadecimal),
        outcome_unknown: column(row, "outcome_unknown")?,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn ids_sort_by_the_time_of_their_making() {
        let now = Utc::now();
        let id = Uuid::now_v7();
        assert!(first_id(now).unwrap() <= id);
        assert!(id < first_id(now + TimeDelta::seconds(60)).unwrap());
        assert_eq!(first_id(DateTime::UNIX_EPOCH - TimeDelta::days(1)), None);
    }
}
