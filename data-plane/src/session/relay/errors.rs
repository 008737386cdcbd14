//! Errors of the target: those of substitutes are replaced by ours, all are attributed.

use pglens_wire::backend::ErrorFields;

use super::ending::statement_timeout;
use super::engine::{CopyIn, Engine};
use super::exchange::{Expected, Refused};
use super::facts;
use super::from_target::Reply;
use super::output::Passage;
use crate::audit::StatementFacts;
use crate::audit::recorder::{Follow, Outcome};
use crate::clock::Now;
use crate::session::report::ClientError;

const QUERY_CANCELED: &[u8] = b"57014";

impl Engine {
    pub(super) fn error(&mut self, payload: &[u8], now: Now, out: &mut Passage<'_>) -> Reply {
        let fields = ErrorFields::read(payload);
        if self.recorder.is_running() && !self.recorder.can_end(Follow::No) {
            return Reply::Wait;
        }
        let is_copy = self.recorder.copies();
        let was_copying = std::mem::replace(&mut self.copy_in, CopyIn::No) != CopyIn::No;
        // A COPY can be cancelled behind a Sync that it has read, and fails of data before.
        if was_copying && fields.sqlstate != QUERY_CANCELED {
            self.exchange.expect_syncs_behind_data();
        }
        let is_fatal = fields.is_fatal();
        self.target_has_told |= is_fatal;
        let refused = match self.exchange.head().and_then(Expected::refused) {
            Some(refused) if !is_fatal => refused.take(),
            _ => None,
        };
        let reply = match refused {
            Some(refused) => {
                refused.error.put_error(out.put());
                let Refused { error, rule, place } = *refused;
                if let Some(place) = place {
                    let outcome = Refused::outcome(&error, rule);
                    self.recorder.start_and_end(place, outcome, now);
                }
                Reply::Replaced
            }
            None if self.is_cancelled_for_time(&fields) => {
                let error = self.statement_timeout();
                error.put_error(out.put());
                let outcome = Outcome::failed(error.sqlstate.as_bytes(), error.message.as_bytes());
                self.recorder.end(outcome, now);
                Reply::Replaced
            }
            None => {
                let outcome = Outcome::failed(fields.sqlstate, fields.message);
                let is_commit = !is_fatal && self.is_behind_statements();
                if is_commit
                    && self
                        .recorder
                        .fail_completed(fields.sqlstate, fields.message)
                {
                    // Its own record says so.
                } else if !self.recorder.is_running()
                    && let Some(facts) = self.attempted(is_fatal)
                {
                    match self.recorder.promise(facts) {
                        Some(place) => self.recorder.start_and_end(place, outcome, now),
                        None => return Reply::Wait,
                    }
                } else {
                    self.recorder.end(outcome, now);
                }
                Reply::Forward
            }
        };
        let unused = match self.exchange.head() {
            Some(expected) if expected.is_extended() => {
                self.flushed = false;
                let (unused, mut uncertain) = self.exchange.fail_head(is_copy);
                while let Some(place) = uncertain.pop() {
                    self.recorder.start_and_end(place, Outcome::unknown(), now);
                }
                unused
            }
            Some(Expected::Query(query)) => {
                // The statements behind the one that failed do not run.
                query.outcome = None;
                let unused = query.unused_statements();
                query.statements.clear();
                unused
            }
            _ => 0,
        };
        self.quota.give_back_queries(unused);
        reply
    }

    /// Whether it is the error that the proxy asked for when a statement's time was over.
    fn is_cancelled_for_time(&mut self, fields: &ErrorFields<'_>) -> bool {
        let running = self.running().map(|(number, _)| number);
        running.is_some() && running == self.out_of_time && fields.sqlstate == QUERY_CANCELED
    }

    fn statement_timeout(&self) -> ClientError {
        let grant = self.judge.grant();
        let limit = grant.statement_timeout.unwrap_or_default();
        statement_timeout(limit).detail(format!("Grant {} sets that limit.", grant.id))
    }

    /// Whether the target has run the statements that it was given and is about to be ready: what fails then is the
    /// commit of an implicit transaction, in a deferred constraint, say.
    fn is_behind_statements(&mut self) -> bool {
        let head = self.exchange.head();
        let ready_follows = matches!(
            head,
            Some(Expected::Sync | Expected::Query(_) | Expected::FunctionCall(_))
        );
        ready_follows && !self.recorder.is_running()
    }

    /// What the head of the queue was about to do when it failed before its Execute: a Parse of a text that is wrong,
    /// or a Bind whose values cannot be, in which functions may have run. People look for these in the record. A Sync
    /// is among them when the ends of the statements it was to commit have gone into the record before.
    fn attempted(&mut self, is_fatal: bool) -> Option<StatementFacts> {
        match self.exchange.head()? {
            // Otherwise it is the session that ends, and its record says so.
            Expected::Sync if !is_fatal => Some(facts::of_sync()),
            Expected::Parse { statement, .. } => {
                let bytes_in = statement.text.sql().len() as u64;
                Some(facts::of_prepared(statement, bytes_in))
            }
            Expected::Bind { bound, .. } => Some(facts::of_portal(bound.as_ref()?, 0)),
            _ => None,
        }
    }
}
