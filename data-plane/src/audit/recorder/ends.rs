//! How statements end, and the session: their ends wait for the transaction status behind them.

use pglens_wire::backend::TransactionStatus;

use super::{Outcome, PROMISED_ROW_BYTES, Promised, Recorder};
use crate::audit::Columns;
use crate::audit::encode::{Ended, SessionEnded};
use crate::clock::Now;
use crate::metrics::{Direction, StatementOutcome};
use crate::policy::quota::Used;

impl Recorder {
    /// Ends the running statement. More than a few rows that no chunk was made of are given up: ask [`Recorder::can_end`]
    /// before.
    pub(crate) fn end(&mut self, outcome: Outcome<'_>, now: Now) {
        // Read where it stands: it is half a kilobyte.
        let Some(running) = &mut self.running else {
            return;
        };
        if let Some(rule) = outcome.refusal {
            self.metrics.refusal(rule);
        }
        if running.capture.pending_bytes() > PROMISED_ROW_BYTES {
            running.capture.abandon_chunk();
        }
        self.tail.rows = running.capture.last_rows();
        let result_digest = running.capture.digest();
        let fingerprint = running.fingerprint();
        let ended = Ended {
            duration_us: now.micros_since(running.started),
            first_row_us: running.first_row_us,
            row_count: running.capture.rows(),
            bytes_in: running.bytes_in,
            bytes_out: running.bytes_out,
            command_tag: &outcome.command_tag,
            sqlstate: &outcome.sqlstate,
            error_message: &outcome.error_message,
            refusal: outcome.refusal.unwrap_or_default(),
            columns: running.columns.fields(),
            rows_truncated: running.capture.is_truncated(),
            captured_rows: running.capture.kept_rows(),
            captured_bytes: running.capture.kept_bytes(),
            result_digest,
            outcome_unknown: outcome.unknown,
            fingerprint,
        };
        let tail = &mut self.tail;
        tail.query_id = running.query_id;
        tail.ended_as = outcome.metric();
        tail.end.set(&ended);
        tail.data = running.capture.take_buffer();
        tail.place = self.running.take().map(|running| running.place.place);
    }

    /// Records a statement that the target finished with, or never saw, as one event.
    pub(crate) fn start_and_end(&mut self, place: Promised, outcome: Outcome<'_>, now: Now) {
        self.start(place, Columns::default(), now);
        self.end(outcome, now);
    }

    /// What had completed has failed after all, before its transaction status came: the commit of an implicit
    /// transaction. `false`: no such end is at hand, because it went into the record already or there was none.
    pub(crate) fn fail_completed(&mut self, sqlstate: &[u8], message: &[u8]) -> bool {
        let is_at_hand = !self.tail.is_empty();
        if !is_at_hand || !matches!(self.tail.ended_as, StatementOutcome::Succeeded) {
            return false;
        }
        let outcome = Outcome::failed(sqlstate, message);
        self.tail.ended_as = outcome.metric();
        let end = &mut self.tail.end;
        end.fail(&outcome.sqlstate, &outcome.error_message);
        true
    }

    /// The transaction status behind the last statement.
    pub(crate) fn ready(&mut self, status: TransactionStatus) {
        self.push_end(status.as_str());
    }

    /// Stops waiting for a transaction status.
    pub(crate) fn flush_end(&mut self) {
        self.push_end("");
    }

    /// Stops waiting for a transaction status as far as rows are concerned: the client has them.
    pub(crate) fn flush_rows(&mut self) {
        if self.tail.rows.is_some() {
            let (session_id, tail) = (self.session_id, &mut self.tail);
            self.outbox
                .append(|appending| tail.push_rows(session_id, appending));
        }
    }

    fn push_end(&mut self, transaction_status: &'static str) {
        if self.tail.is_empty() {
            return;
        }
        self.metrics.statement(self.tail.ended_as);
        let (session_id, tail) = (self.session_id, &mut self.tail);
        let pushed = self
            .outbox
            .append(|appending| tail.push((session_id, transaction_status), appending));
        if self.is_strict() {
            self.unwritten = Some(pushed.frame);
        }
        self.tail.shrink();
    }

    /// Ends the record of the session.
    pub(crate) fn end_session(&mut self, reason: &'static str, sqlstate: &str, used: Used) {
        self.metrics.session_ended(reason);
        self.flush_end();
        self.count_bytes();
        let pushed = self.outbox.push(&SessionEnded {
            session_id: self.session_id,
            ended_at_unix_us: crate::clock::unix_us(),
            reason,
            sqlstate,
            queries_used: used.queries,
            bytes_used: used.bytes,
            bytes_in: self.totals.bytes_in,
            bytes_out: self.totals.bytes_out,
        });
        self.unwritten = Some(pushed.frame);
        self.flush();
    }

    /// Counts what passed, at the end of the session.
    fn count_bytes(&self) {
        self.metrics
            .row_bytes(Direction::ToClient, self.totals.bytes_out);
        self.metrics
            .row_bytes(Direction::ToTarget, self.totals.bytes_in);
    }
}
