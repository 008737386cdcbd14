//! The records of a batch as storage keeps them: typed, bounded, storable. Conversion from the contract between the
//! planes happens here and nowhere else.

use bytes::Bytes;
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use pglens_core::{QueryId, SessionId};
use pglens_rpc::convert::{InvalidField, query_id, session_id};
use prost::Message;

use super::columns::pack_columns;
use super::encoded::{self, Event, Parameter};
use super::text::{storable, word};

/// SQLSTATEs have five characters; the column is indexed.
const SQLSTATE_BYTES: usize = 5;
/// Kinds, tags, fingerprints and names of rules: words of the proxy's own making.
const WORD_BYTES: usize = 256;
/// Error messages are whole sentences of the target, which may quote a value.
const MESSAGE_BYTES: usize = 64 * 1024;

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
    pub columns: Option<Vec<u8>>,
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
    /// Reads the record at position `record` of the run. What it holds stays in `message` for as long as it is there.
    ///
    /// # Errors
    /// When it is no record, or lacks what storage needs: its event, or an id.
    pub fn read(record: u64, message: Bytes) -> Result<Self, InvalidField> {
        let message = encoded::Record::decode(message)
            .map_err(|error| InvalidField::new("records", error.to_string()))?;
        match message
            .event
            .ok_or_else(|| InvalidField::missing("event"))?
        {
            Event::StatementStarted(started) => read_started(record, started).map(Self::Started),
            Event::RowsCaptured(rows) => read_rows(record, rows).map(Self::Rows),
            Event::StatementEnded(ended) => read_ended(record, ended).map(Self::Ended),
            Event::SessionEnded(ended) => read_session_ended(record, ended).map(Self::SessionEnded),
        }
    }

    /// The session that `message` names, if so much of it can be read.
    #[must_use]
    pub fn whose(message: Bytes) -> Option<SessionId> {
        let session = match encoded::Record::decode(message).ok()?.event? {
            Event::StatementStarted(started) => started.session_id,
            Event::RowsCaptured(rows) => rows.session_id,
            Event::StatementEnded(ended) => ended.session_id,
            Event::SessionEnded(ended) => ended.session_id,
        };
        session_id(&session).ok()
    }

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

fn read_started(
    record: u64,
    started: encoded::StatementStarted,
) -> Result<Statement, InvalidField> {
    let id = query_id(&started.query_id)?;
    for parameter in &started.parameters {
        Parameter::decode(parameter.clone())
            .map_err(|error| InvalidField::new("parameters", error.to_string()))?;
    }
    Ok(Statement {
        record,
        id,
        session_id: session_id(&started.session_id)?,
        sequence: count(started.sequence),
        sql: storable("sql", started.sql)?,
        kind: word("kind", started.kind, WORD_BYTES)?,
        fingerprint: word("fingerprint", started.fingerprint, WORD_BYTES)?,
        parameters: started.parameters,
        started_at: instant(started.started_at_unix_us),
        rows: Vec::new(),
        end: None,
    })
}

fn read_rows(record: u64, rows: encoded::RowsCaptured) -> Result<RowChunk, InvalidField> {
    let small = |field, number: u32| {
        i32::try_from(number)
            .map_err(|_| InvalidField::new(field, format!("{number} is too large")))
    };
    Ok(RowChunk {
        record,
        id: query_id(&rows.query_id)?,
        session_id: session_id(&rows.session_id)?,
        chunk: small("chunk", rows.chunk)?,
        first_row: count(rows.first_row),
        row_count: small("row_count", rows.row_count)?,
        data: rows.data,
    })
}

fn read_ended(record: u64, ended: encoded::StatementEnded) -> Result<StatementEnd, InvalidField> {
    Ok(StatementEnd {
        record,
        id: query_id(&ended.query_id)?,
        session_id: session_id(&ended.session_id)?,
        duration_us: count(ended.duration_us),
        first_row_us: ended.first_row_us.map(count),
        row_count: count(ended.row_count),
        bytes_in: count(ended.bytes_in),
        bytes_out: count(ended.bytes_out),
        command_tag: word("command_tag", ended.command_tag, WORD_BYTES)?,
        sqlstate: word("sqlstate", ended.sqlstate, SQLSTATE_BYTES)?,
        error_message: word("error_message", ended.error_message, MESSAGE_BYTES)?,
        refusal: word("refusal", ended.refusal, WORD_BYTES)?,
        columns: pack_columns(ended.columns)?,
        rows_truncated: ended.rows_truncated,
        captured_rows: count(ended.captured_rows),
        captured_bytes: count(ended.captured_bytes),
        result_digest: Some(ended.result_digest).filter(|digest| !digest.is_empty()),
        transaction_status: word("transaction_status", ended.transaction_status, 1)?,
        outcome_unknown: ended.outcome_unknown,
        fingerprint: word("fingerprint", ended.fingerprint, WORD_BYTES)?,
    })
}

fn read_session_ended(
    record: u64,
    ended: encoded::SessionEnded,
) -> Result<SessionEnd, InvalidField> {
    Ok(SessionEnd {
        record,
        session_id: session_id(&ended.session_id)?,
        ended_at: instant(ended.ended_at_unix_us),
        reason: word("reason", ended.reason, WORD_BYTES)?,
        sqlstate: word("sqlstate", ended.sqlstate, SQLSTATE_BYTES)?,
        queries_used: count(ended.queries_used),
        bytes_used: count(ended.bytes_used),
        bytes_in: count(ended.bytes_in),
        bytes_out: count(ended.bytes_out),
    })
}

/// Counts beyond what storage can hold are as good as its largest.
fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Times no clock shows, and those PostgreSQL cannot hold, become the nearest that it can.
fn instant(unix_us: i64) -> DateTime<Utc> {
    const YEAR_9999_UNIX_US: i64 = 253_370_764_800_000_000;
    DateTime::from_timestamp_micros(unix_us.clamp(0, YEAR_9999_UNIX_US)).unwrap_or_default()
}
