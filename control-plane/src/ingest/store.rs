//! Stores a batch: everything it changes, and the run's cursor, in one transaction.
//!
//! What storage refuses for its content it would refuse again for ever. Such a batch is stored record by record; those
//! that are refused are named in an audit event, their sessions are marked incomplete, and the run goes on.

use std::collections::{HashMap, HashSet};

use pglens_core::{QueryId, RunId, SessionId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::merge::{RefusedRecord, count_sessions};
use super::record::{Position, RecordKind, StatementEnd};
use super::seal::SealedBatch;
use super::sums::sums;
use crate::service::audit::{Action, Actor, AuditEntry};
use crate::storage::record::{
    Begun, NewChunk, NewStatement, PackedChunk, cursor_move_in_txn, rows_copy_in_txn,
    statements_copy_in_txn, statements_end_in_txn, statements_known_in_txn,
};
use crate::storage::session_end::{sessions_count_in_txn, sessions_end_in_txn};
use crate::storage::{Storage, StoreError, Transaction, UsedClient, audit, feed, stats, together};

/// Why rows are refused whose statement is not there.
const NO_STATEMENT: &str = "its statement is not one of its session";

/// Refused records named in one audit event; their number is always told.
const MAX_REFUSED_NAMED: usize = 100;

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is committed; so many records were refused.
    Committed {
        /// Refused for what they hold.
        refused: usize,
    },
    /// The run's cursor stands elsewhere: another stream of the run was there.
    CursorMoved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    AllAtOnce,
    OneByOne,
}

/// Stores `batch`, which brings the run's record from `expected` to `last`.
///
/// # Errors
/// When storage is not available, or fails in a way that may pass. Nothing is stored then.
pub async fn store(
    storage: &Storage,
    run_id: RunId,
    expected: u64,
    last: u64,
    batch: &SealedBatch,
) -> Result<Stored, StoreError> {
    match attempt(storage, run_id, (expected, last), batch, Mode::AllAtOnce).await {
        Err(error) if error.refuses_content() => {
            attempt(storage, run_id, (expected, last), batch, Mode::OneByOne).await
        }
        stored => stored,
    }
}

async fn attempt(
    storage: &Storage,
    run_id: RunId,
    (expected, last): (u64, u64),
    batch: &SealedBatch,
    mode: Mode,
) -> Result<Stored, StoreError> {
    let mut client = storage.client().await?;
    let attempted = attempt_with(&mut client, run_id, (expected, last), batch, mode).await;
    if attempted.is_err() {
        // A COPY may be what failed.
        client.give_up();
    }
    attempted
}

async fn attempt_with(
    client: &mut UsedClient,
    run_id: RunId,
    (expected, last): (u64, u64),
    batch: &SealedBatch,
    mode: Mode,
) -> Result<Stored, StoreError> {
    let mut txn = client.transaction().await?;
    if !cursor_move_in_txn(&txn, run_id, expected, last).await? {
        return Ok(Stored::CursorMoved);
    }
    let mut refused = batch.refused.clone();
    let Added {
        statements,
        ended,
        known,
    } = match mode {
        Mode::AllAtOnce => add_all(&txn, batch).await?,
        Mode::OneByOne => add_each(&mut txn, batch, &mut refused).await?,
    };
    let ends = ends_of(batch, &ended, &mut refused);
    let chunks = chunks_of(batch, &known, &mut refused);
    let (chunks, blocks) = match mode {
        Mode::AllAtOnce => (chunks, batch.blocks.as_slice()),
        Mode::OneByOne => {
            add_each_rows(&mut txn, batch, &chunks, &known, &mut refused).await?;
            (Vec::new(), &[][..])
        }
    };

    let whole = statements
        .iter()
        .filter(|new| new.statement.end.is_some())
        .map(|new| new.statement.id);
    let told: Vec<Uuid> = whole.chain(ended.keys().copied()).map(|id| id.0).collect();
    let begun = ends
        .iter()
        .filter_map(|end| Some((*end, ended.get(&end.id)?)));
    let sums = sums(&statements, begun);
    let stored = statements.iter().map(|new| &new.statement);
    let counts = count_sessions(stored, ends, &refused);
    together(
        together(
            rows_copy_in_txn(&txn, &chunks, blocks),
            stats::add_in_txn(&txn, &sums),
        ),
        together(
            feed::statements_queue_in_txn(&txn, &told),
            sessions_count_in_txn(&txn, run_id, &counts),
        ),
    )
    .await?;
    sessions_end_in_txn(&txn, run_id, &batch.session_ends).await?;
    if !refused.is_empty() {
        audit::insert_in_txn(&txn, &event(run_id, &refused)).await?;
    }
    txn.commit().await?;
    Ok(Stored::Committed {
        refused: refused.len(),
    })
}

/// A statement, and the session that it runs in or is said to.
type OfSession = (QueryId, SessionId);

/// What is in the record now.
struct Added<'a> {
    /// New ones.
    statements: Vec<&'a NewStatement>,
    /// Those of earlier batches that have ended now.
    ended: HashMap<QueryId, Begun>,
    /// Those whose rows can be stored.
    known: HashSet<OfSession>,
}

/// Adds statements and ends, and finds out whose rows can be stored, together. The COPY comes first: behind one that does not
/// begin, answers say nothing (see [`UsedClient::give_up`]), and it would not begin behind a statement that failed.
async fn add_all<'a>(
    txn: &Transaction<'_>,
    batch: &'a SealedBatch,
) -> Result<Added<'a>, StoreError> {
    let statements: Vec<&NewStatement> = batch.statements.iter().collect();
    let (own, others) = with_rows(batch, &statements);
    let (((), ended), mut known) = together(
        together(
            statements_copy_in_txn(txn, &statements),
            statements_end_in_txn(txn, &batch.ends),
        ),
        statements_known_in_txn(txn, &others),
    )
    .await?;
    known.extend(own);
    known.extend(ended.iter().map(|(id, begun)| (*id, begun.session_id)));
    Ok(Added {
        statements,
        ended,
        known,
    })
}

/// The same, statement by statement, without those that storage refuses.
async fn add_each<'a>(
    txn: &mut Transaction<'_>,
    batch: &'a SealedBatch,
    refused: &mut Vec<RefusedRecord>,
) -> Result<Added<'a>, StoreError> {
    let mut statements = Vec::with_capacity(batch.statements.len());
    for new in &batch.statements {
        let attempt = txn.transaction().await?;
        match statements_copy_in_txn(&attempt, &[new]).await {
            Ok(()) => {
                attempt.commit().await?;
                statements.push(new);
            }
            Err(error) if error.refuses_content() => {
                attempt.rollback().await?;
                let (record, id) = (new.statement.record, new.statement.id);
                let session_id = new.statement.session_id;
                let position = position(record, RecordKind::StatementStarted, session_id, id);
                refused.push(refusal(position, words(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    let ended = statements_end_in_txn(txn, &batch.ends).await?;
    let (_own, others) = with_rows(batch, &statements);
    let mut known = statements_known_in_txn(txn, &others).await?;
    known.extend(ids_of(&statements));
    known.extend(ended.iter().map(|(id, begun)| (*id, begun.session_id)));
    Ok(Added {
        statements,
        ended,
        known,
    })
}

/// The statements that have rows outside of blocks: those among `added`, and the others with the sessions they are said to
/// be of, if storage has to be asked for them; those that end in the batch it tells of anyway. Merging has seen to it that
/// chunks of the batch's own statements name the right session.
fn with_rows(batch: &SealedBatch, added: &[&NewStatement]) -> (Vec<OfSession>, Vec<OfSession>) {
    // Most rows are in blocks.
    if batch.chunks.is_empty() {
        return Default::default();
    }
    let mut others: HashSet<OfSession> = batch
        .chunks
        .iter()
        .map(|new| (new.chunk.id, new.chunk.session_id))
        .collect();
    for end in &batch.ends {
        others.remove(&(end.id, end.session_id));
    }
    let own = ids_of(added).filter(|id| others.remove(id)).collect();
    (own, others.into_iter().collect())
}

fn ids_of(statements: &[&NewStatement]) -> impl Iterator<Item = OfSession> {
    statements
        .iter()
        .map(|new| (new.statement.id, new.statement.session_id))
}

/// The ends that were stored; the others are refused.
fn ends_of<'a>(
    batch: &'a SealedBatch,
    ended: &HashMap<QueryId, Begun>,
    refused: &mut Vec<RefusedRecord>,
) -> Vec<&'a StatementEnd> {
    let (ends, without_start): (Vec<_>, Vec<_>) = batch.ends.iter().partition(|end| {
        let begun = ended.get(&end.id);
        begun.is_some_and(|begun| begun.session_id == end.session_id)
    });
    refused.extend(without_start.into_iter().map(|end| {
        let position = position(
            end.record,
            RecordKind::StatementEnded,
            end.session_id,
            end.id,
        );
        refusal(
            position,
            "its statement is not one that runs in its session",
        )
    }));
    ends
}

/// The chunks of rows that can be stored; the others are refused.
fn chunks_of<'a>(
    batch: &'a SealedBatch,
    known: &HashSet<OfSession>,
    refused: &mut Vec<RefusedRecord>,
) -> Vec<&'a NewChunk> {
    let (chunks, unknown): (Vec<_>, Vec<_>) = batch
        .chunks
        .iter()
        .partition(|new| known.contains(&(new.chunk.id, new.chunk.session_id)));
    let refusals = unknown.into_iter().map(chunk_position);
    refused.extend(refusals.map(|position| refusal(position, NO_STATEMENT)));
    chunks
}

/// Adds rows chunk by chunk, without those that storage refuses.
async fn add_each_rows(
    txn: &mut Transaction<'_>,
    batch: &SealedBatch,
    chunks: &[&NewChunk],
    known: &HashSet<OfSession>,
    refused: &mut Vec<RefusedRecord>,
) -> Result<(), StoreError> {
    // Rows of statements that were refused stay in their block, where nothing leads to them.
    for packed in batch.blocks.iter().flat_map(|block| &block.packed) {
        if !known.contains(&(packed.id, packed.session_id)) {
            refused.push(refusal(packed_position(packed), NO_STATEMENT));
        }
    }
    rows_copy_in_txn(txn, &[], &batch.blocks).await?;
    for new in chunks.iter().copied() {
        let attempt = txn.transaction().await?;
        match rows_copy_in_txn(&attempt, &[new], &[]).await {
            Ok(()) => attempt.commit().await?,
            Err(error) if error.refuses_content() => {
                attempt.rollback().await?;
                refused.push(refusal(chunk_position(new), words(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn position(record: u64, kind: RecordKind, session_id: SessionId, query_id: QueryId) -> Position {
    Position {
        record,
        kind,
        session_id: Some(session_id),
        query_id: Some(query_id),
    }
}

fn chunk_position(new: &NewChunk) -> Position {
    position(
        new.chunk.record,
        RecordKind::RowsCaptured,
        new.chunk.session_id,
        new.chunk.id,
    )
}

fn packed_position(packed: &PackedChunk) -> Position {
    position(
        packed.record,
        RecordKind::RowsCaptured,
        packed.session_id,
        packed.id,
    )
}

fn refusal(position: Position, reason: impl Into<String>) -> RefusedRecord {
    RefusedRecord {
        position,
        reason: reason.into(),
    }
}

/// What storage said, without the values it may quote.
fn words(error: &StoreError) -> String {
    match error {
        StoreError::Postgres(error) => {
            let code = error.code().map_or("", |code| code.code());
            format!("storage refuses it with SQLSTATE {code}")
        }
        other => other.to_string(),
    }
}

fn event(run_id: RunId, refused: &[RefusedRecord]) -> AuditEntry {
    let named: Vec<Value> = refused
        .iter()
        .take(MAX_REFUSED_NAMED)
        .map(|RefusedRecord { position, reason }| {
            json!({
                "sequence": position.record,
                "kind": position.kind.as_str(),
                "connection_id": position.session_id,
                "query_id": position.query_id,
                "reason": reason,
            })
        })
        .collect();
    AuditEntry::of(Actor::System, Action::RecordRefused, "proxy_run", run_id)
        .after(json!({ "refused_count": refused.len(), "refused": named }))
}
