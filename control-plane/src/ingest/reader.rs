//! Reads the records of a batch, one behind the other: what a brief one leaves out is said by those before it. `Record` of
//! `events.proto` has the rules.

use bytes::Bytes;
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use pglens_core::limits::MAX_REPEATED_BYTES;
use pglens_core::{QueryId, SessionId};
use pglens_rpc::convert::{InvalidField, query_id, session_id};
use prost::Message;

use super::columns::pack_columns;
use super::encoded::{self, Event, Parameter};
use super::record::{Record, RowChunk, SessionEnd, Statement, StatementEnd};
use super::text::{storable, word};

/// SQLSTATEs have five characters; the column is indexed.
const SQLSTATE_BYTES: usize = 5;
/// Kinds, tags, fingerprints and names of rules: words of the proxy's own making.
const WORD_BYTES: usize = 256;
/// Error messages are whole sentences of the target, which may quote a value.
const MESSAGE_BYTES: usize = 64 * 1024;

/// Reads records in order.
#[derive(Debug, Default)]
pub struct Reader {
    /// Of the record before.
    session_id: Option<SessionId>,
    query_id: Option<QueryId>,
    /// It has them, the first of their statement.
    first_rows: Option<Bytes>,
    start: Option<Said>,
    outcome: Option<Outcome>,
}

/// What the last start said.
#[derive(Debug)]
struct Said {
    sql: ByteString,
    kind: ByteString,
    fingerprint: ByteString,
}

/// What the last end said.
#[derive(Debug, Clone)]
struct Outcome {
    command_tag: ByteString,
    sqlstate: ByteString,
    error_message: ByteString,
    refusal: ByteString,
    columns: Option<Bytes>,
}

/// A record that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The session that it names, if so much of it can be told.
    pub session_id: Option<SessionId>,
    /// Why.
    pub reason: InvalidField,
}

impl Reader {
    /// Reads the record at position `record` of the run. What it holds stays in `message` for as long as it is there.
    ///
    /// # Errors
    /// When it is no record, lacks what storage needs, or refers to what is not there. Nothing can refer to it then.
    pub fn read(&mut self, record: u64, message: Bytes) -> Result<Record, Unreadable> {
        let event = encoded::Record::decode(message)
            .map_err(|error| InvalidField::new("records", error.to_string()))
            .and_then(|message| message.event.ok_or_else(|| InvalidField::missing("event")));
        let event = match event {
            Ok(event) => event,
            Err(reason) => {
                *self = Self::default();
                let session_id = None;
                return Err(Unreadable { session_id, reason });
            }
        };
        let ids = self.ids(&event);
        let known = (ids.0.clone().ok(), ids.1.clone().ok());
        let read = self.read_event(record, event, ids);
        (self.query_id, self.session_id) = known;
        read.map_err(|reason| {
            (self.first_rows, self.start, self.outcome) = (None, None, None);
            let (_, session_id) = known;
            Unreadable { session_id, reason }
        })
    }

    /// What it is about: as it says, or as the one before it.
    fn ids(&self, event: &Event) -> Ids {
        let is_left_out = |id: &[u8]| event.is_brief() && id.is_empty();
        let (query, session) = event.ids();
        let query = match self.query_id {
            Some(before) if is_left_out(query) => Ok(before),
            _ => query_id(query),
        };
        let session = match self.session_id {
            Some(before) if is_left_out(session) => Ok(before),
            _ => session_id(session),
        };
        (query, session)
    }

    fn read_event(
        &mut self,
        record: u64,
        event: Event,
        (query, session): Ids,
    ) -> Result<Record, InvalidField> {
        let is_brief = event.is_brief();
        let rows_before = self.first_rows.take();
        Ok(match event {
            Event::StatementStarted(started) | Event::BriefStatementStarted(started) => {
                let of = (record, query?, session?);
                Record::Started(self.read_started(of, started, is_brief)?)
            }
            Event::RowsCaptured(rows) | Event::BriefRowsCaptured(rows) => {
                let chunk = read_rows((record, query?, session?), rows)?;
                self.first_rows = (chunk.chunk == 0).then(|| chunk.data.clone());
                Record::Rows(chunk)
            }
            Event::StatementEnded(ended) | Event::BriefStatementEnded(ended) => {
                let of = (record, query?, session?);
                let is_behind_its_rows = is_brief && self.query_id == Some(of.1);
                let mut end = self.read_ended(of, ended, is_brief)?;
                if let Some(rows) = rows_before.filter(|_| is_behind_its_rows) {
                    end.result_digest.get_or_insert_with(|| digest(&rows));
                }
                Record::Ended(end)
            }
            Event::SessionEnded(ended) => {
                Record::SessionEnded(read_session_ended(record, session?, ended)?)
            }
        })
    }

    fn read_started(
        &mut self,
        (record, id, session_id): Of,
        started: encoded::StatementStarted,
        is_brief: bool,
    ) -> Result<Statement, InvalidField> {
        for parameter in &started.parameters {
            Parameter::decode(parameter.clone())
                .map_err(|error| InvalidField::new("parameters", error.to_string()))?;
        }
        let Said {
            sql,
            kind,
            fingerprint,
        } = match (is_brief, self.start.take()) {
            (false, _) => Said::read(started.sql, started.kind, started.fingerprint)?,
            (true, Some(before)) => before.but(started.sql, started.kind, started.fingerprint)?,
            (true, None) => return Err(InvalidField::new("sql", "refers to no start before it")),
        };
        self.start = Some(Said {
            sql: sql.clone(),
            kind: kind.clone(),
            fingerprint: fingerprint.clone(),
        });
        Ok(Statement {
            record,
            id,
            session_id,
            sequence: count(started.sequence),
            sql,
            kind,
            fingerprint,
            parameters: started.parameters,
            started_at: instant(started.started_at_unix_us),
            rows: Vec::new(),
            end: None,
        })
    }

    fn read_ended(
        &mut self,
        (record, id, session_id): Of,
        mut ended: encoded::StatementEnded,
        is_brief: bool,
    ) -> Result<StatementEnd, InvalidField> {
        let is_told = !ended.command_tag.is_empty() || !ended.sqlstate.is_empty();
        let outcome = match self.outcome.take() {
            _ if !is_brief || is_told => Outcome::read(&mut ended)?,
            Some(before) if before.can_be_repeated() => before,
            _ => {
                return Err(InvalidField::new(
                    "command_tag",
                    "refers to no end before it",
                ));
            }
        };
        self.outcome = Some(outcome.clone());
        Ok(StatementEnd {
            record,
            id,
            session_id,
            duration_us: count(ended.duration_us),
            first_row_us: ended.first_row_us.map(count),
            row_count: count(ended.row_count),
            bytes_in: count(ended.bytes_in),
            bytes_out: count(ended.bytes_out),
            command_tag: outcome.command_tag,
            sqlstate: outcome.sqlstate,
            error_message: outcome.error_message,
            refusal: outcome.refusal,
            columns: outcome.columns,
            rows_truncated: ended.rows_truncated,
            captured_rows: count(ended.captured_rows),
            captured_bytes: count(ended.captured_bytes),
            result_digest: Some(ended.result_digest).filter(|digest| !digest.is_empty()),
            transaction_status: word("transaction_status", ended.transaction_status, 1)?,
            outcome_unknown: ended.outcome_unknown,
            fingerprint: word("fingerprint", ended.fingerprint, WORD_BYTES)?,
        })
    }
}

/// Statement and session that a record is about.
type Ids = (
    Result<QueryId, InvalidField>,
    Result<SessionId, InvalidField>,
);

/// Its position in the record of the run, and what it is about.
type Of = (u64, QueryId, SessionId);

impl Said {
    fn read(sql: Bytes, kind: Bytes, fingerprint: Bytes) -> Result<Self, InvalidField> {
        Ok(Self {
            sql: storable("sql", sql)?,
            kind: word("kind", kind, WORD_BYTES)?,
            fingerprint: word("fingerprint", fingerprint, WORD_BYTES)?,
        })
    }

    /// The same but for what is not empty.
    fn but(self, sql: Bytes, kind: Bytes, fingerprint: Bytes) -> Result<Self, InvalidField> {
        if sql.is_empty() && self.sql.len() > MAX_REPEATED_BYTES {
            return Err(InvalidField::new(
                "sql",
                "refers to a text that is too long for it",
            ));
        }
        let said = |bytes: &Bytes| !bytes.is_empty();
        Ok(Self {
            sql: match said(&sql) {
                true => storable("sql", sql)?,
                false => self.sql,
            },
            kind: match said(&kind) {
                true => word("kind", kind, WORD_BYTES)?,
                false => self.kind,
            },
            fingerprint: match said(&fingerprint) {
                true => word("fingerprint", fingerprint, WORD_BYTES)?,
                false => self.fingerprint,
            },
        })
    }
}

impl Outcome {
    fn can_be_repeated(&self) -> bool {
        let columns = self.columns.as_ref().map_or(0, Bytes::len);
        self.error_message.len() + columns <= MAX_REPEATED_BYTES
    }

    fn read(ended: &mut encoded::StatementEnded) -> Result<Self, InvalidField> {
        let take = std::mem::take::<Bytes>;
        Ok(Self {
            command_tag: word("command_tag", take(&mut ended.command_tag), WORD_BYTES)?,
            sqlstate: word("sqlstate", take(&mut ended.sqlstate), SQLSTATE_BYTES)?,
            error_message: word(
                "error_message",
                take(&mut ended.error_message),
                MESSAGE_BYTES,
            )?,
            refusal: word("refusal", take(&mut ended.refusal), WORD_BYTES)?,
            columns: pack_columns(std::mem::take(&mut ended.columns))?,
        })
    }
}

fn digest(rows: &[u8]) -> Bytes {
    Bytes::copy_from_slice(blake3::hash(rows).as_bytes())
}

fn read_rows(
    (record, id, session_id): Of,
    rows: encoded::RowsCaptured,
) -> Result<RowChunk, InvalidField> {
    let small = |field, number: u32| {
        i32::try_from(number)
            .map_err(|_| InvalidField::new(field, format!("{number} is too large")))
    };
    Ok(RowChunk {
        record,
        id,
        session_id,
        chunk: small("chunk", rows.chunk)?,
        first_row: count(rows.first_row),
        row_count: small("row_count", rows.row_count)?,
        data: rows.data,
    })
}

fn read_session_ended(
    record: u64,
    session_id: SessionId,
    ended: encoded::SessionEnded,
) -> Result<SessionEnd, InvalidField> {
    Ok(SessionEnd {
        record,
        session_id,
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

#[cfg(test)]
mod tests;
