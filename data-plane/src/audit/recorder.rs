//! Makes the record of a session: one statement at a time, in the order in which the target runs them.
//!
//! `ends` has how statements and the session end, `tail` what is kept back then, `written` what has to be on the disk, or
//! stored, before others go on.

use std::sync::Arc;

use pglens_core::{AuditLevel, SessionId};
use pglens_policy::Fingerprint;
use uuid::Uuid;

use super::capture::{Capture, CaptureLimits, PlainRows};
pub(crate) use super::capture::{ChunkRoom, Follow};
use super::encode::{Rows, Started};
use super::query_id::query_id;
use super::statement::StatementFacts;
pub(crate) use super::statement::{Outcome, Promised};
use super::{Columns, Outbox, OutboxHold};
use crate::clock::Now;
use crate::metrics::Metrics;
use tail::Tail;

mod ends;
mod tail;
mod written;

/// Memory that a session without a statement keeps for the next one, twice.
const MAX_IDLE_BYTES: usize = 512;
/// Rows for which every statement has a promised place, so that one with a short answer ends even when the outbox is
/// full: nobody waits for what has been done already.
const PROMISED_ROW_BYTES: usize = 4096;

/// The statement the target works on.
#[derive(Debug)]
struct Running {
    query_id: Uuid,
    started: Now,
    first_row_us: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    columns: Columns,
    capture: Capture,
    /// Its start had no fingerprint: its end has.
    owes_fingerprint: bool,
    /// The result at hand is that of a COPY, whose rows the command tag counts.
    copies: bool,
    place: Promised,
}

impl Running {
    /// What its start did not have of it.
    fn fingerprint(&self) -> Option<Fingerprint> {
        let text = self.place.facts.said.text();
        self.owes_fingerprint
            .then(|| text.fingerprint.make(text.sql()))?
    }
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
    outbox: OutboxHold,
    metrics: Arc<Metrics>,
    limits: CaptureLimits,
    level: AuditLevel,
    running: Option<Running>,
    /// The end of the last statement, as long as its transaction status may come.
    tail: Tail,
    totals: Totals,
    /// Number of the statement that was announced last, if all before it run.
    announced_sequence: u64,
    /// Numbers of the last start and the last rows that were pushed.
    last_started: u64,
    last_rows: u64,
    /// The frame that must be written before the session goes on.
    unwritten: Option<u64>,
}

impl Recorder {
    pub(crate) fn new(
        session_id: SessionId,
        outbox: Arc<Outbox>,
        metrics: Arc<Metrics>,
        limits: CaptureLimits,
        level: AuditLevel,
    ) -> Self {
        Self {
            session_id,
            outbox: OutboxHold::new(outbox),
            metrics,
            limits,
            level,
            running: None,
            tail: Tail::default(),
            totals: Totals::default(),
            announced_sequence: 0,
            last_started: 0,
            last_rows: 0,
            unwritten: None,
        }
    }

    /// Asks for a place for the record of a statement; `None` while there is none.
    pub(crate) fn promise(&self, facts: StatementFacts) -> Option<Promised> {
        let bytes = facts.record_bytes() + PROMISED_ROW_BYTES;
        let place = self.outbox.try_reserve(bytes)?;
        Some(Promised { facts, place })
    }

    /// Notes that a statement may run from when it is forwarded on, though its record begins later.
    pub(crate) fn announce(&mut self, place: &mut Promised, now: Now) {
        if place.place.is_announced() {
            return;
        }
        let query_id = query_id(now);
        self.announced_sequence = self.announced_sequence.max(self.totals.statements) + 1;
        let started = self.started(&place.facts, query_id, self.announced_sequence, now);
        let announced = self.outbox.announce(&started);
        self.unwritten = Some(announced.frame);
        place.place.announce(announced);
    }

    fn started<'a>(
        &self,
        facts: &'a StatementFacts,
        query_id: Uuid,
        sequence: u64,
        now: Now,
    ) -> Started<'a> {
        let text = facts.said.text();
        Started {
            query_id,
            session_id: self.session_id,
            sequence,
            sql: text.sql(),
            kind: text.kind,
            parameters: facts.said.parameters(),
            started_at_unix_us: now.unix_us,
            fingerprint: text.fingerprint.at_hand(),
        }
    }

    /// Begins the record of the statement that the target turns to now.
    pub(crate) fn start(&mut self, mut place: Promised, columns: Columns, now: Now) {
        self.totals.statements += 1;
        self.totals.bytes_in += place.facts.bytes_in;
        let announced = place.place.begin();
        let query_id = match &announced {
            Some(announced) => announced.query_id,
            None => query_id(now),
        };
        let sequence = self.totals.statements;
        let owes_fingerprint = place.facts.said.text().fingerprint.is_due();
        let mut started = self.started(&place.facts, query_id, sequence, now);
        if owes_fingerprint {
            // Another session may have made it meanwhile: start and end do not both have it.
            started.fingerprint = None;
        }
        let (session_id, tail) = (self.session_id, &mut self.tail);
        if !tail.is_empty() {
            self.metrics.statement(tail.ended_as);
        }
        let pushed = self.outbox.append(|appending| {
            if !tail.is_empty() {
                tail.push((session_id, ""), appending);
            }
            match &announced {
                Some(announced) => appending.push_announced(announced, &started),
                None => appending.push(&started),
            }
        });
        self.last_started = pushed.sequence;
        // One that was announced may run already: the spool says so.
        if announced.is_none() || self.is_strict() {
            self.unwritten = Some(pushed.frame);
        }
        self.running = Some(Running {
            query_id,
            started: now,
            first_row_us: None,
            bytes_in: place.facts.bytes_in,
            bytes_out: 0,
            columns,
            capture: Capture::new(self.limits, std::mem::take(&mut self.tail.data)),
            owes_fingerprint,
            copies: false,
            place,
        });
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Makes the fingerprint of the running statement if its text is the first of its kind: while the target works, and
    /// not before it does. A statement that ends sooner has its own made then.
    pub(crate) fn make_fingerprint(&self) {
        if let Some(running) = &self.running
            && running.owes_fingerprint
        {
            let _kept_in_it = running.fingerprint();
        }
    }

    /// The text of the running statement.
    pub(crate) fn running_sql(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        Some(running.place.facts.said.text().sql().to_owned())
    }

    /// The columns of the running statement, once the target has described them.
    pub(crate) fn columns(&mut self, columns: Columns) {
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
        } else if self.hand_on_chunk(0, Follow::Maybe) {
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

    /// The target has answered that COPY data follows, in either direction.
    pub(crate) fn copy_begins(&mut self) {
        if let Some(running) = &mut self.running {
            running.copies = true;
        }
    }

    /// Whether the running statement is a COPY that has begun.
    pub(crate) fn copies(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.copies)
    }

    /// A result of the running statement is complete. Rows of a COPY are as many as its command tag says: messages may
    /// hold any number of them, a part of one, or a header.
    pub(crate) fn result_complete(&mut self, command_tag: &[u8]) {
        if let Some(running) = &mut self.running {
            let copies = std::mem::take(&mut running.copies);
            let copied = copies.then(|| rows_copied(command_tag)).flatten();
            running.capture.result_complete(copied);
        }
    }

    /// Begins a message of `total` bytes with COPY data from the client.
    pub(crate) fn begin_copy_data(&mut self, total: usize, now: Now) {
        if let Some(capture) = self.row_comes(now) {
            capture.begin_uncounted(total);
        }
    }

    /// Begins `messages` messages of `bytes` bytes with COPY data from the client, which the limit counts as `lines`
    /// rows, no more than [`Recorder::plain_rows`].
    pub(crate) fn begin_copy_run(&mut self, (messages, lines): (u64, u64), bytes: usize, now: Now) {
        if let Some(capture) = self.row_comes(now) {
            capture.begin_all_uncounted(messages, lines, bytes);
        }
    }

    /// Begins a row of `total` bytes, or a message with COPY data from the target.
    pub(crate) fn begin_row(&mut self, total: usize, now: Now) {
        if let Some(capture) = self.row_comes(now) {
            capture.begin(total);
        }
    }

    /// Begins `rows` rows of `bytes` bytes, no more than [`Recorder::plain_rows`].
    pub(crate) fn begin_rows(&mut self, rows: u64, bytes: usize, now: Now) {
        if let Some(capture) = self.row_comes(now) {
            capture.begin_all(rows, bytes);
        }
    }

    fn row_comes(&mut self, now: Now) -> Option<&mut Capture> {
        let running = self.running.as_mut()?;
        running
            .first_row_us
            .get_or_insert_with(|| now.micros_since(running.started));
        Some(&mut running.capture)
    }

    /// Rows that need no question to [`Recorder::room_for_row`].
    pub(crate) fn plain_rows(&self) -> PlainRows {
        let none = PlainRows { rows: 0, bytes: 0 };
        let running = self.running.as_ref();
        running.map_or(none, |running| running.capture.plain_rows())
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

    /// Whether the running statement can end, or one of several results that it stands for: the rest of the rows must
    /// find room in the outbox. A few last rows have it already, and go there with the end.
    pub(crate) fn can_end(&mut self, follow: Follow) -> bool {
        let pending = self.running.as_ref().map(|running| &running.capture);
        let is_small = pending.is_none_or(|capture| capture.pending_bytes() <= PROMISED_ROW_BYTES);
        if is_small && follow == Follow::No && !self.is_strict() {
            return self.outbox.has_room(0, PROMISED_ROW_BYTES);
        }
        self.hand_on_chunk(PROMISED_ROW_BYTES, follow)
    }

    fn hand_on_chunk(&mut self, promised: usize, follow: Follow) -> bool {
        let Some(running) = &mut self.running else {
            return true;
        };
        let pending = running.capture.pending_bytes();
        if !self.outbox.has_room(pending, promised) {
            return false;
        }
        // Strict: what was delivered is never further than a chunk ahead of what is durable.
        if pending > 0
            && self.level == AuditLevel::Strict
            && !self.outbox.is_durable(self.last_rows)
        {
            return false;
        }
        if let Some(chunk) = running.capture.chunk(follow) {
            let pushed = self.outbox.push(&Rows {
                query_id: running.query_id,
                session_id: self.session_id,
                chunk: chunk.number,
                first_row: chunk.first_row,
                row_count: chunk.row_count,
                data: chunk.data,
            });
            running.capture.handed_on();
            self.last_rows = pushed.sequence;
            if self.level == AuditLevel::Strict {
                self.unwritten = Some(pushed.frame);
            }
        }
        true
    }
}

/// The number in `COPY 5`.
fn rows_copied(command_tag: &[u8]) -> Option<u64> {
    let tag = std::str::from_utf8(command_tag).ok()?;
    tag.strip_prefix("COPY ")?.parse().ok()
}
