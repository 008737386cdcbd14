//! The records of a batch as storage keeps them: typed, bounded, storable. [`Reader`](super::reader::Reader) makes them.

use bytes::Bytes;
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use pglens_core::{QueryId, SessionId};

/// The start of a statement, with its end when both came in one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Position in the run's record.
    pub record: u64,
    /// Made by the proxy.
    pub id: QueryId,
    /// The session it ran in.
    pub session_id: SessionId,
    /// Counts the statements of the session from 1.
    pub sequence: i64,
    /// Its text.
    pub sql: ByteString,
    /// "SELECT", "COPY", ...
    pub kind: ByteString,
    /// Equal for statements that differ in constants only.
    pub fingerprint: ByteString,
    /// As bound, encoded and not yet sealed.
    pub parameters: Vec<Bytes>,
    /// By the proxy's clock.
    pub started_at: DateTime<Utc>,
    /// Its rows in the same batch.
    pub rows: Vec<RowChunk>,
    /// Absent while it runs.
    pub end: Option<StatementEnd>,
}

impl Statement {
    /// Notes its end, which came in the same batch.
    pub fn end_with(&mut self, end: StatementEnd) {
        if self.fingerprint.is_empty() {
            self.fingerprint.clone_from(&end.fingerprint);
        }
        self.end = Some(end);
    }
}

/// The end of a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementEnd {
    /// Position in the run's record.
    pub record: u64,
    /// The statement.
    pub id: QueryId,
    /// The session it ran in.
    pub session_id: SessionId,
    /// From its start.
    pub duration_us: i64,
    /// From its start to the first row.
    pub first_row_us: Option<i64>,
    /// Rows of the result, kept or not.
    pub row_count: i64,
    /// Payload from the client.
    pub bytes_in: i64,
    /// Payload to the client.
    pub bytes_out: i64,
    /// As PostgreSQL says it.
    pub command_tag: ByteString,
    /// Empty: it succeeded.
    pub sqlstate: ByteString,
    /// Of the target, or of the refusal.
    pub error_message: ByteString,
    /// The rule that refused it; empty: it ran.
    pub refusal: ByteString,
    /// The result's columns, as they are kept.
    pub columns: Option<Bytes>,
    /// Some rows were not kept.
    pub rows_truncated: bool,
    /// Rows kept.
    pub captured_rows: i64,
    /// Bytes of rows kept.
    pub captured_bytes: i64,
    /// BLAKE3 over the whole result.
    pub result_digest: Option<Bytes>,
    /// "I", "T", "E" or empty.
    pub transaction_status: ByteString,
    /// The connection broke before it was known.
    pub outcome_unknown: bool,
    /// The statement's, if its start did not have it.
    pub fingerprint: ByteString,
}

/// A chunk of a statement's rows, not yet sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChunk {
    /// Position in the run's record.
    pub record: u64,
    /// The statement.
    pub id: QueryId,
    /// The session it ran in.
    pub session_id: SessionId,
    /// Counts the chunks from 0.
    pub chunk: i32,
    /// Number of its first row.
    pub first_row: i64,
    /// Rows in it.
    pub row_count: i32,
    /// Wire messages.
    pub data: Bytes,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEnd {
    /// Position in the run's record.
    pub record: u64,
    /// The session.
    pub session_id: SessionId,
    /// By the proxy's clock.
    pub ended_at: DateTime<Utc>,
    /// "client_closed", ...
    pub reason: ByteString,
    /// What the client was told; empty when it left by itself.
    pub sqlstate: ByteString,
    /// Statements counted against the quota.
    pub queries_used: i64,
    /// Bytes counted against the quota.
    pub bytes_used: i64,
    /// Payload from the client in all.
    pub bytes_in: i64,
    /// Payload to the client in all.
    pub bytes_out: i64,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart as soon as it is read, never kept"
)]
pub enum Record {
    /// A statement began.
    Started(Statement),
    /// Rows of it.
    Rows(RowChunk),
    /// It ended.
    Ended(StatementEnd),
    /// Its session ended.
    SessionEnded(SessionEnd),
}

impl Record {
    /// The session it belongs to.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        match self {
            Self::Started(statement) => statement.session_id,
            Self::Rows(chunk) => chunk.session_id,
            Self::Ended(end) => end.session_id,
            Self::SessionEnded(end) => end.session_id,
        }
    }

    /// Its place in the record, for a report about it.
    #[must_use]
    pub fn position(&self) -> Position {
        let (record, kind, query_id) = match self {
            Self::Started(statement) => (
                statement.record,
                RecordKind::StatementStarted,
                Some(statement.id),
            ),
            Self::Rows(chunk) => (chunk.record, RecordKind::RowsCaptured, Some(chunk.id)),
            Self::Ended(end) => (end.record, RecordKind::StatementEnded, Some(end.id)),
            Self::SessionEnded(end) => (end.record, RecordKind::SessionEnded, None),
        };
        Position {
            record,
            kind,
            session_id: Some(self.session_id()),
            query_id,
        }
    }
}

/// What kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A start.
    StatementStarted,
    /// Rows.
    RowsCaptured,
    /// An end.
    StatementEnded,
    /// The end of a session.
    SessionEnded,
    /// It could not be read.
    Unreadable,
}

impl RecordKind {
    /// Its name in audit events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StatementStarted => "statement_started",
            Self::RowsCaptured => "rows_captured",
            Self::StatementEnded => "statement_ended",
            Self::SessionEnded => "session_ended",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Where in the run's record something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Counts the records of the run.
    pub record: u64,
    /// What it is.
    pub kind: RecordKind,
    /// The session it names.
    pub session_id: Option<SessionId>,
    /// The statement it names.
    pub query_id: Option<QueryId>,
}
