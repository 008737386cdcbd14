//! What the feed sends of the record: no parameter, no row, no message of the target, which may quote both.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Storage, StoreError, column};

/// The text is cut here already, and left out of statements beyond the bytes of a request: those are sent with the next
/// one. The bounds on the ids tell the planner which partitions can be left out. A statement without an end is one whose
/// proxy was given up.
const STATEMENTS: &str = "select s.id, s.connection_id, s.user_id, s.username, s.database, s.grant_id, s.sequence, \
       s.kind, s.fingerprint, s.started_at, s.first_row_us, s.duration_us, s.row_count, s.bytes_in, s.bytes_out, \
       s.command_tag, s.sqlstate, s.refusal, s.transaction_status, s.rows_truncated, s.outcome_unknown, s.sql_bytes, \
       s.client_address, s.application_name, s.audit_complete, s.proxy_name, s.is_beyond, \
       case when $5 and not s.is_beyond then left(s.sql, $4) end as text from ( \
       select q.id, q.connection_id, q.user_id, u.username, d.name as database, q.grant_id, q.sequence, q.kind, q.fingerprint, \
         q.started_at, q.first_row_us, q.duration_us, q.row_count, q.bytes_in, q.bytes_out, q.command_tag, q.sqlstate, \
         q.refusal, q.transaction_status, q.rows_truncated, q.outcome_unknown or q.duration_us is null as outcome_unknown, \
         q.sql, octet_length(q.sql) as sql_bytes, c.client_address, c.application_name, c.audit_complete, r.proxy_name, \
         $5 and sum(least(octet_length(q.sql), $4)) over (order by e.place) > $6 and e.place > 1 as is_beyond, e.place \
       from unnest($1::uuid[]) with ordinality e (id, place) join queries q on q.id = e.id \
         left join connections c on c.id = q.connection_id left join users u on u.id = q.user_id \
         left join databases d on d.id = q.database_id left join proxy_runs r on r.run_id = c.run_id \
       where q.id between $2 and $3) s order by s.place";

/// What is read of statements.
#[derive(Debug, Clone, Copy)]
pub struct FeedText {
    /// Whether their text is.
    pub is_included: bool,
    /// Characters of a text beyond which it is cut.
    pub max_chars: i32,
    /// Bytes of all texts together, beyond which statements come without theirs.
    pub max_total_bytes: i64,
}

/// A statement as the feed tells of it.
#[derive(Debug, Clone)]
pub struct FeedStatement {
    /// Made by the proxy.
    pub id: Uuid,
    /// The session it ran in.
    pub connection_id: Uuid,
    /// Who ran it.
    pub user_id: i64,
    /// Their name as it is now.
    pub username: Option<String>,
    /// Name of the database as it is now.
    pub database: Option<String>,
    /// Under which grant.
    pub grant_id: i64,
    /// Counts the statements of the session from 1.
    pub sequence: i64,
    /// "SELECT", "COPY", ...
    pub kind: String,
    /// Equal for statements that differ in constants only; empty: not parsed.
    pub fingerprint: String,
    /// By the proxy's clock.
    pub started_at: DateTime<Utc>,
    /// From its start to the first row.
    pub first_row_us: Option<i64>,
    /// Absent: nobody told its end.
    pub duration_us: Option<i64>,
    /// Rows of the result.
    pub row_count: i64,
    /// Payload from the client.
    pub bytes_in: i64,
    /// Payload to the client.
    pub bytes_out: i64,
    /// As PostgreSQL says it.
    pub command_tag: String,
    /// Empty: it succeeded, or nobody knows.
    pub sqlstate: String,
    /// The rule that refused it; empty: it ran.
    pub refusal: String,
    /// "I", "T", "E" or empty.
    pub transaction_status: String,
    /// Some rows were not kept.
    pub rows_truncated: bool,
    /// How it ended is not known.
    pub outcome_unknown: bool,
    /// Its text, cut; absent: not included, or beyond the bytes of a request.
    pub text: Option<String>,
    /// Bytes of the whole text.
    pub text_bytes: i32,
    /// Whether it belongs into a later request.
    pub is_beyond: bool,
    /// Where the session came from: address and port.
    pub client_address: Option<String>,
    /// As the client names itself.
    pub application_name: Option<String>,
    /// Name of the proxy.
    pub proxy: Option<String>,
    /// False: records of the session may be missing.
    pub audit_complete: Option<bool>,
}

impl Storage {
    /// The statements of `ids` that are still kept, in that order.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_statement_list(
        &self,
        ids: &[Uuid],
        text: FeedText,
    ) -> Result<Vec<FeedStatement>, StoreError> {
        let (Some(lowest), Some(highest)) = (ids.iter().min(), ids.iter().max()) else {
            return Ok(Vec::new());
        };
        let client = self.client().await?;
        let statement = client.prepare_cached(STATEMENTS).await?;
        let rows = client
            .query(
                &statement,
                &[
                    &ids,
                    lowest,
                    highest,
                    &text.max_chars,
                    &text.is_included,
                    &text.max_total_bytes,
                ],
            )
            .await?;
        rows.iter().map(feed_statement).collect()
    }
}

fn feed_statement(row: &Row) -> Result<FeedStatement, StoreError> {
    Ok(FeedStatement {
        id: column(row, "id")?,
        connection_id: column(row, "connection_id")?,
        user_id: column(row, "user_id")?,
        username: column(row, "username")?,
        database: column(row, "database")?,
        grant_id: column(row, "grant_id")?,
        sequence: column(row, "sequence")?,
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
        refusal: column(row, "refusal")?,
        transaction_status: column(row, "transaction_status")?,
        rows_truncated: column(row, "rows_truncated")?,
        outcome_unknown: column(row, "outcome_unknown")?,
        text: column(row, "text")?,
        text_bytes: column(row, "sql_bytes")?,
        is_beyond: column(row, "is_beyond")?,
        client_address: column(row, "client_address")?,
        application_name: column(row, "application_name")?,
        proxy: column(row, "proxy_name")?,
        audit_complete: column(row, "audit_complete")?,
    })
}
