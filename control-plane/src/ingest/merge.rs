//! Merges the records of a batch: a start whose end is in the same batch becomes one row. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashSet};

use super::Map;
use super::reader::{Reader, Unreadable};
use super::record::{Position, Record, RecordKind, RowChunk, SessionEnd, Statement, StatementEnd};
use bytes::Bytes;
use foldhash::quality::RandomState;
use pglens_core::{QueryId, SessionId};

/// A record that cannot be stored for what it holds. It is named in an audit event, and its session is no longer said
/// to be complete; the run goes on behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Which one.
    pub position: Position,
    /// Why. Holds nothing of the record's content.
    pub reason: String,
}

/// What a batch adds to a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Statements begun.
    pub statements: i64,
    /// Payload from the client of the statements ended.
    pub bytes_in: i64,
    /// Payload to the client of the statements ended.
    pub bytes_out: i64,
    /// Records refused.
    pub refused: i64,
}

/// A batch, ready to be stored.
#[derive(Debug, Default, PartialEq)]
pub struct Merged {
    /// New rows, with what was captured of their results.
    pub statements: Vec<Statement>,
    /// Ends whose start was stored before.
    pub ends: Vec<StatementEnd>,
    /// Captured rows of other statements.
    pub chunks: Vec<RowChunk>,
    /// Sessions that ended.
    pub session_ends: Vec<SessionEnd>,
    /// What cannot be stored.
    pub refused: Vec<RefusedRecord>,
}

/// What has come already.
struct Seen {
    /// The statements begun, by their place in [`Merged::statements`].
    started: Map<QueryId, usize>,
    /// Chunks of other statements.
    chunks: HashSet<(QueryId, i32), RandomState>,
}

/// Merges `records`, each as it came, the first of which is the run's record number `first_sequence` and begins a batch.
#[must_use]
pub fn merge(first_sequence: u64, records: Vec<Bytes>) -> Merged {
    // Most statements have a start, rows and an end.
    let expected = records.len() / 2;
    let mut merged = Merged {
        statements: Vec::with_capacity(expected),
        ..Merged::default()
    };
    let mut seen = Seen {
        started: Map::with_capacity_and_hasher(expected, RandomState::default()),
        chunks: HashSet::with_hasher(RandomState::default()),
    };
    let mut reader = Reader::default();
    for (number, message) in (first_sequence..).zip(records) {
        match reader.read(number, message) {
            Err(Unreadable { session_id, reason }) => {
                // That something of it is missing is said of its session, if it can be told.
                let position = Position {
                    record: number,
                    kind: RecordKind::Unreadable,
                    session_id,
                    query_id: None,
                };
                merged.refuse(position, reason.to_string());
            }
            Ok(record) => merged.add(record, &mut seen),
        }
    }
    merged
}

impl Merged {
    fn add(&mut self, record: Record, seen: &mut Seen) {
        let position = record.position();
        match record {
            Record::Started(statement) => match seen.started.entry(statement.id) {
                Entry::Occupied(_) => self.refuse(position, "the statement began twice"),
                Entry::Vacant(entry) => {
                    entry.insert(self.statements.len());
                    self.statements.push(statement);
                }
            },
            Record::Ended(end) => {
                let start = seen
                    .started
                    .get(&end.id)
                    .and_then(|index| self.statements.get_mut(*index));
                match start {
                    None => self.ends.push(end),
                    Some(start) if start.session_id != end.session_id => {
                        self.refuse(position, "the statement is of another session");
                    }
                    Some(start) if start.end.is_some() => {
                        self.refuse(position, "the statement ended twice");
                    }
                    Some(start) => start.end_with(end),
                }
            }
            Record::Rows(chunk) => {
                let start = seen
                    .started
                    .get(&chunk.id)
                    .and_then(|index| self.statements.get_mut(*index));
                match start {
                    Some(start) if start.session_id != chunk.session_id => {
                        self.refuse(position, "the statement is of another session");
                    }
                    // Their numbers only grow.
                    Some(start)
                        if start
                            .rows
                            .last()
                            .is_none_or(|last| last.chunk < chunk.chunk) =>
                    {
                        start.rows.push(chunk);
                    }
                    Some(_) => self.refuse(position, "the chunk came twice or out of order"),
                    None if seen.chunks.insert((chunk.id, chunk.chunk)) => self.chunks.push(chunk),
                    None => self.refuse(position, "the chunk came twice"),
                }
            }
            Record::SessionEnded(end) => self.session_ends.push(end),
        }
    }

    /// The sessions that are named, of records that can be stored.
    #[must_use]
    pub fn sessions(&self) -> HashSet<SessionId> {
        let statements = self.statements.iter().map(|statement| statement.session_id);
        let ends = self.ends.iter().map(|end| end.session_id);
        let chunks = self.chunks.iter().map(|chunk| chunk.session_id);
        let sessions = self.session_ends.iter().map(|end| end.session_id);
        let mut named = HashSet::new();
        let mut last = None;
        for session_id in statements.chain(ends).chain(chunks).chain(sessions) {
            // Mostly the one before's.
            if last.replace(session_id) != Some(session_id) {
                named.insert(session_id);
            }
        }
        named
    }

    /// Refuses every record of a session that is none of the run's, which are those that `belongs` says yes to.
    pub fn refuse_strangers(&mut self, belongs: impl Fn(SessionId) -> bool) {
        let mut strangers = Vec::new();
        let statements = self
            .statements
            .extract_if(.., |statement| !belongs(statement.session_id));
        for mut statement in statements {
            let rows = std::mem::take(&mut statement.rows);
            let end = statement.end.take();
            strangers.push(Record::Started(statement));
            strangers.extend(rows.into_iter().map(Record::Rows));
            strangers.extend(end.map(Record::Ended));
        }
        let ends = self.ends.extract_if(.., |end| !belongs(end.session_id));
        strangers.extend(ends.map(Record::Ended));
        let chunks = self
            .chunks
            .extract_if(.., |chunk| !belongs(chunk.session_id));
        strangers.extend(chunks.map(Record::Rows));
        let sessions = self
            .session_ends
            .extract_if(.., |end| !belongs(end.session_id));
        strangers.extend(sessions.map(Record::SessionEnded));
        for stranger in strangers {
            self.refuse(stranger.position(), "its session is not one of this run");
        }
    }

    /// Notes a record that cannot be stored.
    pub fn refuse(&mut self, position: Position, reason: impl Into<String>) {
        self.refused.push(RefusedRecord {
            position,
            reason: reason.into(),
        });
    }
}

/// What a batch adds to each session; in the order of the ids, so that concurrent batches lock in one order.
#[must_use]
pub fn count_sessions<'a>(
    statements: impl IntoIterator<Item = &'a Statement>,
    ends: impl IntoIterator<Item = &'a StatementEnd>,
    refused: &[RefusedRecord],
) -> Vec<(SessionId, SessionCounts)> {
    fn add_end(counts: &mut SessionCounts, end: &StatementEnd) {
        counts.bytes_in = counts.bytes_in.saturating_add(end.bytes_in);
        counts.bytes_out = counts.bytes_out.saturating_add(end.bytes_out);
    }
    let mut counts: BTreeMap<SessionId, SessionCounts> = BTreeMap::new();
    for statement in statements {
        let session = counts.entry(statement.session_id).or_default();
        session.statements += 1;
        if let Some(end) = &statement.end {
            add_end(session, end);
        }
    }
    for end in ends {
        add_end(counts.entry(end.session_id).or_default(), end);
    }
    for session_id in refused
        .iter()
        .filter_map(|refused| refused.position.session_id)
    {
        counts.entry(session_id).or_default().refused += 1;
    }
    counts.into_iter().collect()
}

#[cfg(test)]
mod tests;
