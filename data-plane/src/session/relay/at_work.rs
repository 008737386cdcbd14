//! Which statement the target is at, and what becomes of those it never told the end of.

use std::borrow::Cow;

use pglens_wire::frontend::{Execute, tag};

use super::ending::{Cancel, Ending};
use super::engine::Engine;
use super::exchange::Expected;
use crate::audit::Columns;
use crate::audit::recorder::{Follow, Outcome};
use crate::clock::Now;

impl Engine {
    /// Does what the record needs and the target does not wait for.
    pub(crate) fn catch_up(&self) {
        self.recorder.make_fingerprint();
    }

    /// Begins the record of the statement the target is at, if it is at one.
    pub(super) fn activate(&mut self, now: Now) {
        if self.recorder.is_running() {
            return;
        }
        match self.exchange.statement_at_work() {
            Some(Expected::Query(query)) if query.refused.is_none() => {
                if let Some(place) = query.statements.pop() {
                    self.activity.turn(now);
                    self.recorder.start(place, Columns::default(), now);
                    self.begun = (self.begun.0 + 1, Some(now.instant));
                }
            }
            Some(Expected::Execute(reply) | Expected::FunctionCall(reply)) => {
                if let Some(place) = reply.place.take() {
                    let columns = reply.columns();
                    self.activity.turn(now);
                    self.recorder.start(place, columns, now);
                    self.begun = (self.begun.0 + 1, Some(now.instant));
                }
            }
            _ => {}
        }
    }

    /// Whether the record of what a message runs would begin with it, and not when the target has answered what came before.
    /// Under `strict` only a start that is durable lets it be forwarded.
    pub(super) fn begins_at_once(&self, message: u8, payload: &[u8]) -> bool {
        let execute = (message == tag::EXECUTE).then(|| Execute::decode(payload).ok());
        let portal = execute.flatten().map(|execute| execute.portal);
        !self.recorder.is_running() && self.exchange.turns_at_once_to(portal)
    }

    /// Notes the statements of the message that was taken last, as far as the target does not turn to them at once.
    pub(super) fn announce(&mut self, now: Now) {
        match self.exchange.newest() {
            Some(Expected::Query(query)) => {
                for place in query.statements.iter_mut().rev() {
                    self.recorder.announce(place, now);
                }
            }
            Some(Expected::Execute(reply) | Expected::FunctionCall(reply)) => {
                if let Some(place) = &mut reply.place {
                    self.recorder.announce(place, now);
                }
            }
            _ => {}
        }
    }

    /// Completes the record when the session ends: what was forwarded and not answered may have run.
    pub(crate) fn finish(&mut self, ending: &Ending, now: Now) {
        let error = ending.error.as_ref();
        let outcome = Outcome {
            sqlstate: error.map_or(Cow::Borrowed(""), |error| Cow::Borrowed(&error.sqlstate)),
            error_message: error.map_or(Cow::Borrowed(""), |error| Cow::Borrowed(&error.message)),
            unknown: true,
            ..Outcome::default()
        };
        self.recorder.can_end(Follow::No);
        self.recorder.end(outcome.clone(), now);
        let unanswered: Vec<_> = self.exchange.drain().collect();
        for expected in unanswered {
            match expected {
                Expected::Query(query) if query.refused.is_none() => {
                    for place in query.statements.into_iter().rev() {
                        self.recorder.start_and_end(place, outcome.clone(), now);
                    }
                }
                Expected::Execute(reply) | Expected::FunctionCall(reply) => {
                    if let Some(place) = reply.place {
                        self.recorder.start_and_end(place, outcome.clone(), now);
                    }
                }
                _ => {}
            }
        }
        let sqlstate = error.map_or("", |error| &error.sqlstate);
        let used = self.quota.used();
        self.recorder.end_session(ending.reason, sqlstate, used);
    }

    /// Whether a statement may still run at the target that must not.
    pub(crate) fn must_cancel(&self, ending: &Ending) -> bool {
        ending.cancel == Cancel::Yes && !self.exchange.is_empty()
    }

    /// Whether the rows of the running statement can be handed on, so that the session can end without losing any.
    pub(crate) fn can_finish(&mut self) -> bool {
        self.recorder.can_end(Follow::Maybe)
    }
}
