//! Takes records in: everything a batch changes, in the transaction that moves its run's cursor.

use std::collections::HashSet;

use chrono::NaiveDate;
use pglens_core::{QueryId, RunId, SessionId};
use postgres_types::{ToSql, Type};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use uuid::Uuid;

use super::connection::SessionScope;
use super::quota::signed;
use super::{StoreError, Transaction, column};
use crate::ingest::record::{RowChunk, Statement, StatementEnd};

const MOVE_CURSOR: &str = "update proxy_runs set committed_sequence = $3 \
     where run_id = $1 and committed_sequence = $2";

const COPY_STATEMENTS: &str = "copy queries (id, connection_id, user_id, database_id, grant_id, sequence, sql, kind, \
     fingerprint, key_day, parameters_sealed, started_at, first_row_us, duration_us, row_count, bytes_in, bytes_out, \
     command_tag, sqlstate, error_message, refusal, transaction_status, columns, rows_truncated, captured_rows, \
     captured_bytes, result_digest, outcome_unknown) from stdin (format binary)";

const STATEMENT_TYPES: [Type; 28] = [
    Type::UUID,
    Type::UUID,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::DATE,
    Type::BYTEA,
    Type::TIMESTAMPTZ,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::JSONB,
    Type::BOOL,
    Type::INT8,
    Type::INT8,
    Type::BYTEA,
    Type::BOOL,
];

const COPY_CHUNKS: &str = "copy query_rows (query_id, chunk, first_row, row_count, key_day, data_sealed) \
     from stdin (format binary)";

const CHUNK_TYPES: [Type; 6] = [
    Type::UUID,
    Type::INT4,
    Type::INT8,
    Type::INT4,
    Type::DATE,
    Type::BYTEA,
];

/// The bounds on the ids tell the planner, before it starts, which partitions can be left out.
const END_STATEMENTS: &str = "update queries q set duration_us = e.duration_us, first_row_us = e.first_row_us, \
       row_count = e.row_count, bytes_in = e.bytes_in, bytes_out = e.bytes_out, command_tag = e.command_tag, \
       sqlstate = e.sqlstate, error_message = e.error_message, refusal = e.refusal, \
       transaction_status = e.transaction_status, columns = e.columns, rows_truncated = e.rows_truncated, \
       captured_rows = e.captured_rows, captured_bytes = e.captured_bytes, result_digest = e.result_digest, \
       outcome_unknown = e.outcome_unknown \
     from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
         $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::jsonb[], $14::bool[], $15::bigint[], \
         $16::bigint[], $17::bytea[], $18::bool[]) \
       e (id, session_id, duration_us, first_row_us, row_count, bytes_in, bytes_out, command_tag, sqlstate, \
          error_message, refusal, transaction_status, columns, rows_truncated, captured_rows, captured_bytes, \
          result_digest, outcome_unknown) \
     where q.id = e.id and q.connection_id = e.session_id and q.duration_us is null \
       and q.id between $19 and $20 \
     returning q.id";

const KNOWN_STATEMENTS: &str = "select q.id from unnest($1::uuid[], $2::uuid[]) e (id, session_id) \
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
    let writer = BinaryCopyInWriter::new(txn.copy_in(&copy).await?, &STATEMENT_TYPES);
    let mut writer = std::pin::pin!(writer);
    for new in statements {
        write_statement(writer.as_mut(), new).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn write_statement(
    writer: std::pin::Pin<&mut BinaryCopyInWriter>,
    new: &NewStatement,
) -> Result<(), StoreError> {
    let (statement, end) = (&new.statement, new.statement.end.as_ref());
    let number = |value: fn(&StatementEnd) -> i64| end.map_or(0, value);
    let flag = |value: fn(&StatementEnd) -> bool| end.is_some_and(value);
    let text = |value: fn(&StatementEnd) -> &String| end.map_or("", |end| value(end).as_str());
    let row: [&(dyn ToSql + Sync); 28] = [
        &statement.id.0,
        &statement.session_id.0,
        &new.scope.user_id.0,
        &new.scope.database_id.0,
        &new.scope.grant_id.0,
        &statement.sequence,
        &statement.sql,
        &statement.kind,
        &statement.fingerprint,
        &new.key_day,
        &new.parameters_sealed,
        &statement.started_at,
        &end.and_then(|end| end.first_row_us),
        &end.map(|end| end.duration_us),
        &number(|end| end.row_count),
        &number(|end| end.bytes_in),
        &number(|end| end.bytes_out),
        &text(|end| &end.command_tag),
        &text(|end| &end.sqlstate),
        &text(|end| &end.error_message),
        &text(|end| &end.refusal),
        &text(|end| &end.transaction_status),
        &end.and_then(|end| end.columns.as_ref()),
        &flag(|end| end.rows_truncated),
        &number(|end| end.captured_rows),
        &number(|end| end.captured_bytes),
        &end.and_then(|end| end.result_digest.as_ref()),
        &flag(|end| end.outcome_unknown),
    ];
    Ok(writer.write(&row).await?)
}

/// Adds chunks of rows.
///
/// # Errors
/// When the database cannot be reached, or refuses one of them.
pub async fn chunks_copy_in_txn(
    txn: &Transaction<'_>,
    chunks: &[&NewChunk],
) -> Result<(), StoreError> {
    if chunks.is_empty() {
        return Ok(());
    }
    let copy = txn.prepare_cached(COPY_CHUNKS).await?;
    let writer = BinaryCopyInWriter::new(txn.copy_in(&copy).await?, &CHUNK_TYPES);
    let mut writer = std::pin::pin!(writer);
    for NewChunk {
        chunk,
        key_day,
        data_sealed,
    } in chunks
    {
        let row: [&(dyn ToSql + Sync); 6] = [
            &chunk.id.0,
            &chunk.chunk,
            &chunk.first_row,
            &chunk.row_count,
            key_day,
            data_sealed,
        ];
        writer.as_mut().write(&row).await?;
    }
    writer.finish().await?;
    Ok(())
}

/// Ends statements that are stored, and returns those that were found running in the session named.
///
/// # Errors
/// When the database cannot be reached.
pub async fn statements_end_in_txn(
    txn: &Transaction<'_>,
    ends: &[StatementEnd],
) -> Result<HashSet<QueryId>, StoreError> {
    let Some((lowest, highest)) = bounds(ends.iter().map(|end| end.id)) else {
        return Ok(HashSet::new());
    };
    fn all<'a, T>(ends: &'a [StatementEnd], value: impl Fn(&'a StatementEnd) -> T) -> Vec<T> {
        ends.iter().map(value).collect()
    }
    let statement = txn.prepare_cached(END_STATEMENTS).await?;
    let parameters: [&(dyn ToSql + Sync); 20] = [
        &all(ends, |end| end.id.0),
        &all(ends, |end| end.session_id.0),
        &all(ends, |end| end.duration_us),
        &all(ends, |end| end.first_row_us),
        &all(ends, |end| end.row_count),
        &all(ends, |end| end.bytes_in),
        &all(ends, |end| end.bytes_out),
        &all(ends, |end| &end.command_tag),
        &all(ends, |end| &end.sqlstate),
        &all(ends, |end| &end.error_message),
        &all(ends, |end| &end.refusal),
        &all(ends, |end| &end.transaction_status),
        &all(ends, |end| end.columns.as_ref()),
        &all(ends, |end| end.rows_truncated),
        &all(ends, |end| end.captured_rows),
        &all(ends, |end| end.captured_bytes),
        &all(ends, |end| end.result_digest.as_deref()),
        &all(ends, |end| end.outcome_unknown),
        &lowest,
        &highest,
    ];
    let rows = txn.query(&statement, &parameters).await?;
    rows.iter()
        .map(|row| column(row, "id").map(QueryId))
        .collect()
}

/// Of statements and the sessions they are said to be of, those that are stored so.
///
/// # Errors
/// When the database cannot be reached.
pub async fn statements_known_in_txn(
    txn: &Transaction<'_>,
    statements: &[(QueryId, SessionId)],
) -> Result<HashSet<QueryId>, StoreError> {
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
        .map(|row| column(row, "id").map(QueryId))
        .collect()
}

/// The lowest and the highest of `ids`; `None` when there is none.
fn bounds(ids: impl Iterator<Item = QueryId>) -> Option<(Uuid, Uuid)> {
    ids.fold(None, |bounds, QueryId(id)| match bounds {
        None => Some((id, id)),
        Some((lowest, highest)) => Some((id.min(lowest), id.max(highest))),
    })
}
