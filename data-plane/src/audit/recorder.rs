//! Makes the record of a session: one statement at a time, in the order in which the target runs them.

use std::ops::Range;
use std::sync::Arc;

use pglens_core::SessionId;
use pglens_policy::Fingerprint;
use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use pglens_wire::backend::TransactionStatus;
use uuid::Uuid;

pub(crate) use super::capture::ChunkRoom;
use super::capture::{Capture, CaptureLimits, PlainRows};
use super::{Outbox, Reservation};
use crate::clock::Now;
use crate::metrics::{Direction, Metrics, StatementOutcome};
use crate::policy::quota::Used;

/// What start and end of a statement take besides its text and parameters; columns and error text are bounded.
const STATEMENT_OVERHEAD_BYTES: usize = 512;
/// What is recorded of a statement that was refused, at most.
const MAX_REFUSED_BYTES: usize = 256 * 1024;
/// Longest error message that is recorded.
const MAX_ERROR_MESSAGE_BYTES: usize = 8 * 1024;

/// What is known of a statement before it runs.
#[derive(Debug, Clone)]
pub(crate) struct StatementFacts {
    pub(crate) text: Arc<str>,
    pub(crate) range: Range<usize>,
    pub(crate) kind: &'static str,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) parameters: Arc<[v1::Parameter]>,
    /// Bytes the client sent for it.
    pub(crate) bytes_in: u64,
}

impl StatementFacts {
    fn sql(&self) -> &str {
        self.text.get(self.range.clone()).unwrap_or(&self.text)
    }

    pub(crate) fn record_bytes(&self) -> usize {
        let of_parameter =
            |parameter: &v1::Parameter| 16 + parameter.value.as_ref().map_or(0, Vec::len);
        self.range.len()
            + self.parameters.iter().map(of_parameter).sum::<usize>()
            + STATEMENT_OVERHEAD_BYTES
    }

    /// Cut to what fits into any record, for a statement that was refused.
    pub(crate) fn shortened(mut self) -> Self {
        if self.record_bytes() > MAX_REFUSED_BYTES {
            self.parameters = Arc::from([]);
            let end = self.range.end.min(self.range.start + MAX_REFUSED_BYTES);
            self.range.end = self.text.floor_char_boundary(end);
        }
        self
    }
}

/// A statement whose record has a place in the outbox: it may be forwarded.
#[derive(Debug)]
pub(crate) struct Promised {
    facts: StatementFacts,
    _place: Reservation,
}

/// How a statement ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) command_tag: String,
    pub(crate) sqlstate: String,
    pub(crate) error_message: String,
    /// Name of the rule that refused it.
    pub(crate) refusal: Option<&'static str>,
    pub(crate) unknown: bool,
}

impl Outcome {
    pub(crate) fn completed(command_tag: &[u8]) -> Self {
        Self {
            command_tag: String::from_utf8_lossy(command_tag).into_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn failed(sqlstate: &[u8], message: &[u8]) -> Self {
        let message = message.get(..MAX_ERROR_MESSAGE_BYTES).unwrap_or(message);
        Self {
            sqlstate: String::from_utf8_lossy(sqlstate).into_owned(),
            error_message: String::from_utf8_lossy(message).into_owned(),
            ..Self::default()
        }
    }

    fn metric(&self) -> StatementOutcome {
        if self.refusal.is_some() {
            StatementOutcome::Refused
        } else if self.unknown {
            StatementOutcome::Unknown
        } else if self.sqlstate.is_empty() {
            StatementOutcome::Succeeded
        } else {
            StatementOutcome::Failed
        }
    }
}

/// The statement the target works on.
#[derive(Debug)]
struct Running {
    query_id: Uuid,
    started: Now,
    first_row_us: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    columns: Arc<[v1::Column]>,
    capture: Capture,
    place: Promised,
}

/// Totals of the session.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    statements: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// The record of one session.
#[derive(Debug)]
pub(crate) struct Recorder {
    session_id: SessionId,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    limits: CaptureLimits,
    running: Option<Running>,
    /// The end of the last statement, kept for the transaction status that `ReadyForQuery` may bring.
    ended: Option<v1::StatementEnded>,
    totals: Totals,
}

impl Recorder {
    pub(crate) fn new(
        session_id: SessionId,
        outbox: Arc<Outbox>,
        metrics: Arc<Metrics>,
        limits: CaptureLimits,
    ) -> Self {
        Self {
            session_id,
            outbox,
            metrics,
            limits,
            running: None,
            ended: None,
            totals: Totals::default(),
        }
    }

    /// Asks for a place for the record of a statement; `None` while there is none.
    pub(crate) fn promise(&self, facts: StatementFacts) -> Option<Promised> {
        let place = self.outbox.try_reserve(facts.record_bytes())?;
        Some(Promised {
            facts,
            _place: place,
        })
    }

    /// Begins the record of the statement that the target turns to now.
    pub(crate) fn start(&mut self, place: Promised, columns: Arc<[v1::Column]>, now: Now) {
        self.flush_end();
        self.totals.statements += 1;
        self.totals.bytes_in += place.facts.bytes_in;
        let query_id = Uuid::now_v7();
        let facts = &place.facts;
        self.outbox
            .push(Event::StatementStarted(v1::StatementStarted {
                query_id: query_id.as_bytes().to_vec(),
                session_id: self.session_id.to_wire(),
                sequence: self.totals.statements,
                sql: facts.sql().to_owned(),
                kind: facts.kind.to_owned(),
                parameters: facts.parameters.to_vec(),
                started_at_unix_us: now.unix_us,
                fingerprint: facts
                    .fingerprint
                    .map(|fingerprint| fingerprint.to_string())
                    .unwrap_or_default(),
            }));
        self.running = Some(Running {
            query_id,
            started: now,
            first_row_us: None,
            bytes_in: facts.bytes_in,
            bytes_out: 0,
            columns,
            capture: Capture::new(self.limits),
            place,
        });
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The text of the running statement.
    pub(crate) fn running_sql(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        Some(running.place.facts.sql().to_owned())
    }

    /// The columns of the running statement, once the target has described them.
    pub(crate) fn columns(&mut self, columns: Arc<[v1::Column]>) {
        if let Some(running) = &mut self.running {
            running.columns = columns;
        }
    }

    /// Makes room in the chunk for a row of `total` bytes behind `pending` bytes that belong to it already.
    /// `false`: the outbox has no room for the chunk, and the row must wait.
    pub(crate) fn room_for_row(&mut self, pending: usize, total: usize) -> ChunkRoom {
        let Some(running) = &self.running else {
            return ChunkRoom::Ready;
        };
        if !running.capture.must_hand_on_before(pending, total) {
            ChunkRoom::Ready
        } else if pending > 0 {
            ChunkRoom::HandOnFirst
        } else if self.hand_on_chunk() {
            ChunkRoom::Ready
        } else {
            ChunkRoom::OutboxFull
        }
    }

    /// Whether a row of `total` bytes would be treated like the one before it.
    pub(crate) fn is_like_last_row(&self, total: usize) -> bool {
        self.running
            .as_ref()
            .is_none_or(|running| running.capture.is_like_last_row(total))
    }

    /// Begins a row or COPY message of `total` bytes.
    pub(crate) fn begin_row(&mut self, total: usize, now: Now) {
        if let Some(running) = &mut self.running {
            running
                .first_row_us
                .get_or_insert_with(|| now.micros_since(running.started));
            running.capture.begin(total);
        }
    }

    /// Rows that need no question to [`Recorder::room_for_row`].
    pub(crate) fn plain_rows(&self) -> PlainRows {
        let none = PlainRows { rows: 0, bytes: 0 };
        let running = self.running.as_ref();
        running.map_or(none, |running| running.capture.plain_rows())
    }

    /// Begins `rows` rows of `bytes` bytes, no more than [`Recorder::plain_rows`].
    pub(crate) fn begin_rows(&mut self, rows: u64, bytes: usize, now: Now) {
        if let Some(running) = &mut self.running {
            running
                .first_row_us
                .get_or_insert_with(|| now.micros_since(running.started));
            running.capture.begin_all(rows, bytes);
        }
    }

    /// Takes bytes of rows that were begun, on their way to the client.
    pub(crate) fn bytes_to_client(&mut self, bytes: &[u8]) {
        let count = bytes.len() as u64;
        self.totals.bytes_out += count;
        if let Some(running) = &mut self.running {
            running.bytes_out += count;
            running.capture.bytes(bytes);
        }
    }

    /// Takes bytes of COPY data that was begun, on its way to the target.
    pub(crate) fn bytes_to_target(&mut self, bytes: &[u8]) {
        let count = bytes.len() as u64;
        self.totals.bytes_in += count;
        if let Some(running) = &mut self.running {
            running.bytes_in += count;
            running.capture.bytes(bytes);
        }
    }

    /// Whether the running statement can end: the rest of its rows must find room in the outbox.
    pub(crate) fn can_end(&mut self) -> bool {
        self.hand_on_chunk()
    }

    fn hand_on_chunk(&mut self) -> bool {
        let Some(running) = &mut self.running else {
            return true;
        };
        if !self.outbox.has_room(running.capture.pending_bytes()) {
            return false;
        }
        if let Some(chunk) = running.capture.take_chunk() {
            self.outbox.push(Event::RowsCaptured(v1::RowsCaptured {
                query_id: running.query_id.as_bytes().to_vec(),
                session_id: self.session_id.to_wire(),
                chunk: chunk.number,
                first_row: chunk.first_row,
                row_count: chunk.row_count,
                data: chunk.data.into(),
            }));
        }
        true
    }

    /// Ends the running statement. Rows that no chunk was made of are given up: ask [`Recorder::can_end`] before.
    pub(crate) fn end(&mut self, outcome: Outcome, now: Now) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        self.metrics.statement(outcome.metric());
        if let Some(rule) = outcome.refusal {
            self.metrics.refusal(rule);
        }
        if running.capture.pending_bytes() > 0 {
            running.capture.abandon_chunk();
        }
        self.ended = Some(v1::StatementEnded {
            query_id: running.query_id.as_bytes().to_vec(),
            session_id: self.session_id.to_wire(),
            duration_us: now.micros_since(running.started),
            first_row_us: running.first_row_us,
            row_count: running.capture.rows(),
            bytes_in: running.bytes_in,
            bytes_out: running.bytes_out,
            command_tag: outcome.command_tag,
            sqlstate: outcome.sqlstate,
            error_message: outcome.error_message,
            refusal: outcome.refusal.unwrap_or_default().to_owned(),
            columns: running.columns.to_vec(),
            rows_truncated: running.capture.is_truncated(),
            captured_rows: running.capture.kept_rows(),
            captured_bytes: running.capture.kept_bytes(),
            result_digest: running.capture.digest(),
            transaction_status: String::new(),
            outcome_unknown: outcome.unknown,
        });
        drop(running.place);
    }

    /// Records a statement that the target finished with, or never saw, as one event.
    pub(crate) fn start_and_end(&mut self, place: Promised, outcome: Outcome, now: Now) {
        self.start(place, Arc::from([]), now);
        self.end(outcome, now);
    }

    /// The transaction status behind the last statement.
    pub(crate) fn ready(&mut self, status: TransactionStatus) {
        if let Some(ended) = &mut self.ended {
            status.as_str().clone_into(&mut ended.transaction_status);
        }
        self.flush_end();
    }

    /// Stops waiting for a transaction status.
    pub(crate) fn flush_end(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.outbox.push(Event::StatementEnded(ended));
        }
    }

    /// Ends the record of the session.
    pub(crate) fn end_session(&mut self, reason: &str, sqlstate: &str, used: Used) {
        self.flush_end();
        self.count_bytes();
        self.outbox.push(Event::SessionEnded(v1::SessionEnded {
            session_id: self.session_id.to_wire(),
            ended_at_unix_us: crate::clock::unix_us(),
            reason: reason.to_owned(),
            sqlstate: sqlstate.to_owned(),
            queries_used: used.queries,
            bytes_used: used.bytes,
            bytes_in: self.totals.bytes_in,
            bytes_out: self.totals.bytes_out,
        }));
    }

    /// Counts what passed, at the end of the session.
    fn count_bytes(&self) {
        self.metrics
            .row_bytes(Direction::ToClient, self.totals.bytes_out);
        self.metrics
            .row_bytes(Direction::ToTarget, self.totals.bytes_in);
    }
}
