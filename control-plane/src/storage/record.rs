//! Takes records in: everything a batch changes, in the transaction that moves its run's cursor.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use pglens_core::{QueryId, RunId, SessionId};
use postgres_types::ToSql;
use uuid::Uuid;

use super::connection::SessionScope;
use super::copy::CopyRows;
use super::query_rows::BLOCK_CHUNK;
use super::quota::signed;
use super::{StoreError, Transaction, column};
use crate::ingest::record::{RowChunk, Statement, StatementEnd};

/// What is stored now leaves the journal. An entry has fewer than 65,536 records, so that those which have left it before
/// need not be looked through until the next vacuum.
const MOVE_CURSOR: &str = "with stored as (delete from record_journal where run_id = $1 \
       and first_sequence > $2::bigint - 65536 and first_sequence <= $3 and last_sequence <= $3) \
     update proxy_runs set committed_sequence = $3 where run_id = $1 and committed_sequence = $2";

const COPY_STATEMENTS: &str = "copy queries (id, connection_id, user_id, database_id, grant_id, sequence, sql, kind, \
     fingerprint, key_day, parameters_sealed, started_at, first_row_us, duration_us, row_count, bytes_in, bytes_out, \
     command_tag, sqlstate, error_message, refusal, transaction_status, result_columns, rows_truncated, captured_rows, \
     captured_bytes, result_digest, outcome_unknown, rows_block) from stdin (format binary)";

/// Fields of [`COPY_STATEMENTS`].
const STATEMENT_FIELDS: i16 = 29;

const COPY_ROWS: &str = "copy query_rows (query_id, chunk, first_row, row_count, key_day, data_sealed) \
     from stdin (format binary)";

/// Fields of [`COPY_ROWS`].
const ROWS_FIELDS: i16 = 6;

/// The bounds on the ids tell the planner, before it starts, which partitions can be left out. That it still runs is said
/// so that the index of those that do is not used: it holds every statement that has ended since the last vacuum as well.
const END_STATEMENTS: &str = "update queries q set duration_us = e.duration_us, first_row_us = e.first_row_us, \
       row_count = e.row_count, bytes_in = e.bytes_in, bytes_out = e.bytes_out, command_tag = e.command_tag, \
       sqlstate = e.sqlstate, error_message = e.error_message, refusal = e.refusal, \
       transaction_status = e.transaction_status, result_columns = e.result_columns, rows_truncated = e.rows_truncated, \
       captured_rows = e.captured_rows, captured_bytes = e.captured_bytes, result_digest = e.result_digest, \
       outcome_unknown = e.outcome_unknown, \
       fingerprint = case e.fingerprint when '' then q.fingerprint else e.fingerprint end \
     from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
         $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bytea[], $14::bool[], $15::bigint[], \
         $16::bigint[], $17::bytea[], $18::bool[], $19::text[]) \
       e (id, session_id, duration_us, first_row_us, row_count, bytes_in, bytes_out, command_tag, sqlstate, \
          error_message, refusal, transaction_status, result_columns, rows_truncated, captured_rows, captured_bytes, \
          result_digest, outcome_unknown, fingerprint) \
     where q.id = e.id and q.connection_id = e.session_id and coalesce(q.duration_us, -1) < 0 \
       and q.id = any ($1::uuid[]) and q.id between $20 and $21 \
     returning q.id, q.connection_id, q.user_id, q.database_id, q.fingerprint, q.started_at";

const KNOWN_STATEMENTS: &str = "select q.id, q.connection_id from unnest($1::uuid[], $2::uuid[]) e (id, session_id) \
     join queries q on q.id = e.id and q.connection_id = e.session_id where q.id between $3 and $4";

/// A statement with what its row needs besides.
#[derive(Debug)]
pub struct NewStatement {
    /// As it came.
    pub statement: Statement,
    /// Whose its session is.
    pub scope: SessionScope,
    /// Day of the key its parameters are sealed with.
    pub key_day: NaiveDate,
    /// Absent: it has none.
    pub parameters_sealed: Option<Vec<u8>>,
    /// The block with its rows; absent: its rows have chunks of their own, or there are none.
    pub rows_block: Option<Uuid>,
}

/// A chunk of rows with what its row needs besides.
#[derive(Debug)]
pub struct NewChunk {
    /// As it came, without its data.
    pub chunk: RowChunk,
    /// Day of the key.
    pub key_day: NaiveDate,
    /// The data.
    pub data_sealed: Vec<u8>,
}

/// Rows of several statements, sealed together.
#[derive(Debug)]
pub struct NewBlock {
    /// Its own, of the same day as the statements.
    pub id: Uuid,
    /// Day of the key.
    pub key_day: NaiveDate,
    /// The data.
    pub data_sealed: Vec<u8>,
    /// What it holds.
    pub packed: Vec<PackedChunk>,
}

/// A chunk in a block.
#[derive(Debug, Clone, Copy)]
pub struct PackedChunk {
    /// Position in the run's record.
    pub record: u64,
    /// The statement.
    pub id: QueryId,
    /// The session it ran in.
    pub session_id: SessionId,
}

/// Moves a run's cursor from `expected` to `last`; `false` when it stands elsewhere. Holds the run until the end of
/// the transaction, so that of two streams of one run only one stores a batch.
///
/// # Errors
/// When the database cannot be reached.
pub async fn cursor_move_in_txn(
    txn: &Transaction<'_>,
    run_id: RunId,
    expected: u64,
    last: u64,
) -> Result<bool, StoreError> {
    let statement = txn.prepare_cached(MOVE_CURSOR).await?;
    let moved = txn
        .execute(&statement, &[&run_id.0, &signed(expected), &signed(last)])
        .await?;
    Ok(moved > 0)
}

/// Adds statements.
///
/// # Errors
/// When the database cannot be reached, or refuses one of them.
pub async fn statements_copy_in_txn(
    txn: &Transaction<'_>,
    statements: &[&NewStatement],
) -> Result<(), StoreError> {
    if statements.is_empty() {
        return Ok(());
    }
    let copy = txn.prepare_cached(COPY_STATEMENTS).await?;
    let mut rows = CopyRows::new(STATEMENT_FIELDS);
    for new in statements {
        put_start(rows.row(), new);
        put_end(&mut rows, new.statement.end.as_ref());
        rows.optional(new.rows_block, CopyRows::uuid);
    }
    rows.send(txn, &copy).await
}

fn put_start(row: &mut CopyRows, new: &NewStatement) {
    let statement = &new.statement;
    row.uuid(statement.id.0)
        .uuid(statement.session_id.0)
        .int8(new.scope.user_id.0)
        .int8(new.scope.database_id.0)
        .int8(new.scope.grant_id.0)
        .int8(statement.sequence)
        .text(&statement.sql)
        .text(&statement.kind)
        .text(&statement.fingerprint)
        .date(new.key_day)
        .optional(new.parameters_sealed.as_deref(), CopyRows::bytea)
        .timestamptz(statement.started_at);
}

fn put_end(row: &mut CopyRows, end: Option<&StatementEnd>) {
    let Some(end) = end else {
        row.null().null().int8(0).int8(0).int8(0);
        row.text("").text("").text("").text("").text("").null();
        row.bool(false).int8(0).int8(0).null().bool(false);
        return;
    };
    row.optional(end.first_row_us, CopyRows::int8)
        .int8(end.duration_us)
        .int8(end.row_count)
        .int8(end.bytes_in)
        .int8(end.bytes_out)
        .text(&end.command_tag)
        .text(&end.sqlstate)
        .text(&end.error_message)
        .text(&end.refusal)
        .text(&end.transaction_status)
        .optional(end.columns.as_deref(), CopyRows::bytea)
        .bool(end.rows_truncated)
        .int8(end.captured_rows)
        .int8(end.captured_bytes)
        .optional(end.result_digest.as_deref(), CopyRows::bytea)
        .bool(end.outcome_unknown);
}

/// Adds captured rows: chunks of their own, and blocks.
///
/// # Errors
/// When the database cannot be reached, or refuses one of them.
pub async fn rows_copy_in_txn(
    txn: &Transaction<'_>,
    chunks: &[&NewChunk],
    blocks: &[NewBlock],
) -> Result<(), StoreError> {
    if chunks.is_empty() && blocks.is_empty() {
        return Ok(());
    }
    let copy = txn.prepare_cached(COPY_ROWS).await?;
    let mut rows = CopyRows::new(ROWS_FIELDS);
    for NewChunk {
        chunk,
        key_day,
        data_sealed,
    } in chunks
    {
        rows.row()
            .uuid(chunk.id.0)
            .int4(chunk.chunk)
            .int8(chunk.first_row)
            .int4(chunk.row_count)
            .date(*key_day)
            .bytea(data_sealed);
    }
    for block in blocks {
        rows.row()
            .uuid(block.id)
            .int4(BLOCK_CHUNK)
            .int8(0)
            .int4(0)
            .date(block.key_day)
            .bytea(&block.data_sealed);
    }
    rows.send(txn, &copy).await
}

/// What is known of a statement since it began.
#[derive(Debug)]
pub struct Begun {
    /// The session it runs in.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: i64,
    /// Where it runs.
    pub database_id: i64,
    /// Equal for statements that differ in constants only.
    pub fingerprint: String,
    /// By the proxy's clock.
    pub started_at: DateTime<Utc>,
}

/// Ends statements that are stored, and returns those that were found running in the session named.
///
/// # Errors
/// When the database cannot be reached.
pub async fn statements_end_in_txn(
    txn: &Transaction<'_>,
    ends: &[StatementEnd],
) -> Result<HashMap<QueryId, Begun>, StoreError> {
    let Some((lowest, highest)) = bounds(ends.iter().map(|end| end.id)) else {
        return Ok(HashMap::new());
    };
    fn all<'a, T>(ends: &'a [StatementEnd], value: impl Fn(&'a StatementEnd) -> T) -> Vec<T> {
        ends.iter().map(value).collect()
    }
    let statement = txn.prepare_cached(END_STATEMENTS).await?;
    let parameters: [&(dyn ToSql + Sync); 21] = [
        &all(ends, |end| end.id.0),
        &all(ends, |end| end.session_id.0),
        &all(ends, |end| end.duration_us),
        &all(ends, |end| end.first_row_us),
        &all(ends, |end| end.row_count),
        &all(ends, |end| end.bytes_in),
        &all(ends, |end| end.bytes_out),
        &all(ends, |end| &*end.command_tag),
        &all(ends, |end| &*end.sqlstate),
        &all(ends, |end| &*end.error_message),
        &all(ends, |end| &*end.refusal),
        &all(ends, |end| &*end.transaction_status),
        &all(ends, |end| end.columns.as_deref()),
        &all(ends, |end| end.rows_truncated),
        &all(ends, |end| end.captured_rows),
        &all(ends, |end| end.captured_bytes),
        &all(ends, |end| end.result_digest.as_deref()),
        &all(ends, |end| end.outcome_unknown),
        &all(ends, |end| &*end.fingerprint),
        &lowest,
        &highest,
    ];
    let rows = txn.query(&statement, &parameters).await?;
    rows.iter()
        .map(|row| {
            let begun = Begun {
                session_id: SessionId(column(row, "connection_id")?),
                user_id: column(row, "user_id")?,
                database_id: column(row, "database_id")?,
                fingerprint: column(row, "fingerprint")?,
                started_at: column(row, "started_at")?,
            };
            Ok((QueryId(column(row, "id")?), begun))
        })
        .collect()
}

/// Of statements and the sessions they are said to be of, those that are stored so.
///
/// # Errors
/// When the database cannot be reached.
pub async fn statements_known_in_txn(
    txn: &Transaction<'_>,
    statements: &[(QueryId, SessionId)],
) -> Result<HashSet<(QueryId, SessionId)>, StoreError> {
    let Some((lowest, highest)) = bounds(statements.iter().map(|(id, _)| *id)) else {
        return Ok(HashSet::new());
    };
    let ids: Vec<Uuid> = statements.iter().map(|(id, _)| id.0).collect();
    let sessions: Vec<Uuid> = statements
        .iter()
        .map(|(_, session_id)| session_id.0)
        .collect();
    let statement = txn.prepare_cached(KNOWN_STATEMENTS).await?;
    let rows = txn
        .query(&statement, &[&ids, &sessions, &lowest, &highest])
        .await?;
    rows.iter()
        .map(|row| {
            let session_id = SessionId(column(row, "connection_id")?);
            Ok((QueryId(column(row, "id")?), session_id))
        })
        .collect()
}

/// The lowest and the highest of `ids`; `None` when there is none.
fn bounds(ids: impl Iterator<Item = QueryId>) -> Option<(Uuid, Uuid)> {
    ids.fold(None, |bounds, QueryId(id)| match bounds {
        None => Some((id, id)),
        Some((lowest, highest)) => Some((id.min(lowest), id.max(highest))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Dsn, Storage, migrate};
    use pglens_testkit::TestPostgres;

    #[tokio::test]
    async fn ends_are_not_looked_for_in_the_index_of_what_runs() {
        let database = TestPostgres::shared().await.create_database().await;
        let storage = Storage::connect(Dsn::parse(&database.url).unwrap(), 1);
        let storage = storage.await.unwrap();
        migrate::migrate(&storage).await.unwrap();
        let client = storage.client().await.unwrap();
        let prepare = format!("prepare ends as {END_STATEMENTS}");
        client.batch_execute(&prepare).await.unwrap();
        let (id, others) = (Uuid::now_v7(), ["null"; 17].join(", "));
        let ids = format!("array['{id}']::uuid[]");
        let explain = format!("explain execute ends ({ids}, {ids}, {others}, '{id}', '{id}')");
        let rows = client.query(&explain, &[]).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Update on"), "{plan}");
        assert!(!plan.contains("duration_us IS NULL"), "{plan}");
    }
}
