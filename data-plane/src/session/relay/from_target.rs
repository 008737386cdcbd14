//! Target to client: rows pass in runs, replies are attributed, errors of substitutes are replaced by ours.

use pglens_wire::backend::{self, TransactionStatus, tag};
use pglens_wire::frame::{HEADER_BYTES, Header, Look};

use super::ending::Ending;
use super::engine::{CopyIn, Engine, Progress, Rest, Step, Wait};
use super::exchange::Expected;
use super::output::Passage;
use super::sql_names;
use crate::audit::recorder::{Follow, Outcome};
use crate::clock::Now;

/// Other messages up to this size are read whole: the description of 1600 columns is well below.
const MAX_WHOLE_MESSAGE_BYTES: usize = 1024 * 1024;
/// Of larger ones this much is read before they pass: SQLSTATE and message stand at the start of an error.
const PREFIX_BYTES: usize = 8 * 1024;

impl Engine {
    /// Takes as much of the chunk as can go on now.
    ///
    /// # Errors
    /// The end of the session.
    pub(crate) fn target_bytes(
        &mut self,
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Progress, Ending> {
        loop {
            let rest = out.rest();
            let look = self
                .target
                .look(rest)
                .map_err(|_| Ending::target_protocol("a message has no possible length"))?;
            let step = match look {
                Look::Rest(0) | Look::Incomplete => Step::NeedMore(HEADER_BYTES),
                Look::Rest(count) => self.target_rest(rest.get(..count).unwrap_or_default(), out),
                Look::Frame(header) => match header.tag() {
                    tag::DATA_ROW | tag::COPY_DATA => self.rows(header, rest, now, out)?,
                    _ => self.reply(header, rest, now, out)?,
                },
            };
            let progress = match step {
                Step::Taken(count) => {
                    out.consume(count);
                    continue;
                }
                Step::NeedMore(needs) => Progress { needs, wait: None },
                Step::Wait(wait) => Progress::waiting(wait),
            };
            self.settle();
            return Ok(progress);
        }
    }

    /// After a chunk: an end that no `ReadyForQuery` is about to follow waits no longer.
    fn settle(&mut self) {
        let ready_follows = matches!(
            self.exchange.head(),
            Some(Expected::Sync | Expected::Query(_) | Expected::FunctionCall(_))
        );
        if ready_follows || self.exchange.is_skipping() {
            self.recorder.flush_rows();
        } else {
            self.recorder.flush_end();
        }
        if self.exchange.is_empty() {
            self.activity.rest();
        }
    }

    fn target_rest(&mut self, bytes: &[u8], out: &mut Passage<'_>) -> Step {
        self.pass(bytes, self.target_rest, out);
        Step::Taken(self.target.take_rest(bytes.len()))
    }

    pub(super) fn pass(&mut self, bytes: &[u8], rest: Rest, out: &mut Passage<'_>) {
        match rest {
            Rest::Drop => {}
            Rest::Forward | Rest::Bind => out.pass(bytes.len()),
            Rest::Record => {
                self.recorder.bytes_to_client(bytes);
                out.pass(bytes.len());
            }
        }
    }

    /// Takes a message as far as it has come; the rest will be treated alike.
    pub(super) fn take_target(
        &mut self,
        header: Header,
        chunk: &[u8],
        rest: Rest,
        out: &mut Passage<'_>,
    ) -> Step {
        self.target_rest = rest;
        let taken = self.target.take_frame(header, chunk.len());
        self.pass(chunk.get(..taken).unwrap_or_default(), rest, out);
        Step::Taken(taken)
    }

    /// Takes a message that is no row.
    fn reply(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Step, Ending> {
        let total = header.total_bytes();
        let needed = if total > MAX_WHOLE_MESSAGE_BYTES {
            PREFIX_BYTES
        } else {
            total
        };
        if chunk.len() < needed {
            return Ok(Step::NeedMore(needed));
        }
        let payload = header.payload(chunk);
        let reply = match header.tag() {
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => Reply::Forward,
            tag::PARAMETER_STATUS => self.parameter_status(payload)?,
            tag::READY_FOR_QUERY => self.ready(payload, now)?,
            tag::ERROR_RESPONSE => self.error(payload, now, out),
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => {
                self.complete(header.tag(), payload, now)?
            }
            tag::FUNCTION_CALL_RESPONSE => self.function_result(total, now)?,
            tag => self.answer(tag, payload, now)?,
        };
        match reply {
            Reply::Wait => Ok(Step::Wait(Wait::Room)),
            Reply::WaitForQuota => Ok(Step::Wait(Wait::Quota)),
            Reply::Forward => Ok(self.take_target(header, chunk, Rest::Forward, out)),
            Reply::Replaced => Ok(self.take_target(header, chunk, Rest::Drop, out)),
        }
    }

    /// Replies that complete no statement.
    fn answer(&mut self, tag: u8, payload: &[u8], now: Now) -> Result<Reply, Ending> {
        let malformed = |_| Ending::target_protocol("a message is malformed");
        let described = &mut self.described;
        let is_answered = match (tag, self.exchange.head()) {
            (tag::PARSE_COMPLETE, Some(Expected::Parse { refused: None, .. }))
            | (tag::BIND_COMPLETE, Some(Expected::Bind { refused: None, .. }))
            | (
                tag::CLOSE_COMPLETE,
                Some(Expected::CloseStatement { .. } | Expected::ClosePortal { .. }),
            )
            | (tag::NO_DATA, Some(Expected::DescribeStatement(_) | Expected::DescribePortal(_))) => {
                true
            }
            (tag::PARAMETER_DESCRIPTION, Some(Expected::DescribeStatement(statement))) => {
                if let Some(statement) = statement {
                    let types = backend::parameter_description(payload).map_err(malformed)?;
                    let _described_before = statement.described_parameters.set(types);
                }
                false
            }
            (tag::ROW_DESCRIPTION, Some(Expected::DescribeStatement(statement))) => {
                if let Some(statement) = statement {
                    let _described_before = statement.columns.set(described.columns(payload)?);
                }
                true
            }
            (tag::ROW_DESCRIPTION, Some(Expected::DescribePortal(portal))) => {
                if let Some(portal) = portal {
                    let _described_before = portal.columns.set(described.columns(payload)?);
                }
                true
            }
            (tag::ROW_DESCRIPTION, Some(Expected::Query(query))) if query.refused.is_none() => {
                self.recorder.columns(described.columns(payload)?);
                false
            }
            (
                tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_DONE,
                Some(Expected::Query(_) | Expected::Execute(_)),
            ) if self.recorder.is_running() => {
                if tag != tag::COPY_DONE {
                    self.recorder.copy_begins();
                }
                if tag == tag::COPY_IN_RESPONSE {
                    let is_text = payload.first() == Some(&0);
                    self.copy_in = CopyIn::Active { is_text };
                    self.exchange.swallow_syncs();
                }
                false
            }
            _ => return Err(Ending::target_protocol("a reply does not fit its message")),
        };
        if is_answered {
            self.describe_running();
            self.pop(now);
        }
        Ok(Reply::Forward)
    }

    /// The running statement may have begun before its columns were known.
    fn describe_running(&mut self) {
        let is_description = matches!(
            self.exchange.head(),
            Some(Expected::DescribeStatement(_) | Expected::DescribePortal(_))
        );
        if is_description
            && self.recorder.is_running()
            && let Some(Expected::Execute(reply)) = self.exchange.statement_at_work()
        {
            let columns = reply.columns();
            self.recorder.columns(columns);
        }
    }

    /// The head is answered; the target turns to the next message.
    fn pop(&mut self, now: Now) {
        self.flushed = false;
        self.exchange.pop();
        self.activate(now);
    }

    /// CommandComplete, EmptyQueryResponse or PortalSuspended: a statement has run.
    fn complete(&mut self, tag: u8, payload: &[u8], now: Now) -> Result<Reply, Ending> {
        let command_tag = match tag {
            tag::COMMAND_COMPLETE => backend::command_complete(payload)
                .map_err(|_| Ending::target_protocol("a message is malformed"))?,
            _ => b"",
        };
        if !self.recorder.is_running() {
            return Err(Ending::target_protocol(
                "a completion belongs to no statement",
            ));
        }
        let follow = match self.exchange.head() {
            Some(Expected::Query(query)) if query.open_ended => Follow::Maybe,
            _ => Follow::No,
        };
        if !self.recorder.can_end(follow) {
            return Ok(Reply::Wait);
        }
        self.copy_in = CopyIn::No;
        self.exchange.forget_swallowed_syncs();
        self.recorder.result_complete(command_tag);
        let outcome = Outcome::completed(command_tag);
        let text = sql_names::matters(command_tag).then(|| self.recorder.running_sql());
        match self.exchange.head() {
            Some(Expected::Query(query)) if query.open_ended => {
                query.outcome = Some(Box::new(outcome.into_owned()));
            }
            Some(Expected::Query(_)) => {
                self.recorder.end(outcome, now);
                self.activate(now);
            }
            Some(Expected::Execute(_)) => {
                self.recorder.end(outcome, now);
                self.pop(now);
            }
            _ => {
                return Err(Ending::target_protocol(
                    "a completion does not fit its message",
                ));
            }
        }
        if let Some(text) = text.flatten() {
            sql_names::follow(&mut self.exchange.statements, command_tag, &text);
        }
        Ok(Reply::Forward)
    }

    fn function_result(&mut self, total: usize, now: Now) -> Result<Reply, Ending> {
        let is_call = matches!(self.exchange.head(), Some(Expected::FunctionCall(_)));
        if !is_call || !self.recorder.is_running() {
            return Err(Ending::target_protocol(
                "a function result belongs to no call",
            ));
        }
        if !self.pay_bytes(total, now)? {
            return Ok(Reply::WaitForQuota);
        }
        self.recorder.end(Outcome::default(), now);
        Ok(Reply::Forward)
    }

    fn readiness(&mut self) -> Readiness {
        let is_running = self.recorder.is_running();
        match self.exchange.head() {
            Some(Expected::Query(query)) if is_running && query.outcome.is_none() => {
                Readiness::Early
            }
            Some(Expected::FunctionCall(_)) if is_running => Readiness::Early,
            Some(Expected::Query(_) | Expected::Sync | Expected::FunctionCall(_)) => Readiness::Due,
            _ => Readiness::Unasked,
        }
    }

    fn ready(&mut self, payload: &[u8], now: Now) -> Result<Reply, Ending> {
        let status = TransactionStatus::decode(payload)
            .map_err(|_| Ending::target_protocol("a message is malformed"))?;
        let readiness = self.readiness();
        if readiness != Readiness::Due && self.exchange.take_swallowed_sync() {
            self.recorder.ready(status);
            return Ok(Reply::Forward);
        }
        if readiness == Readiness::Unasked {
            return Err(Ending::target_protocol("it is ready though nothing asked"));
        }
        if let Some(Expected::Query(query)) = self.exchange.head() {
            let outcome = query.outcome.take();
            if self.recorder.is_running() && !self.recorder.can_end(Follow::No) {
                query.outcome = outcome;
                return Ok(Reply::Wait);
            }
            let outcome = outcome.map_or_else(Outcome::unknown, |outcome| *outcome);
            self.recorder.end(outcome, now);
        }
        self.recorder.ready(status);
        self.status = status;
        self.copy_in = CopyIn::No;
        self.pop(now);
        if status == TransactionStatus::Idle && self.exchange.is_empty() {
            self.exchange.forget_portals();
        }
        Ok(Reply::Forward)
    }
}

/// How `ReadyForQuery` fits the message at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Due,
    /// The message has not been heard of. Unless it is a query with fewer statements than the parser found in it, this is for
    /// a Sync that a COPY before it has not swallowed after all.
    Early,
    Unasked,
}

/// What becomes of a reply.
pub(super) enum Reply {
    Forward,
    /// Ours stands in its place.
    Replaced,
    /// The outbox has no room for what it completes.
    Wait,
    /// Bytes of the quota are on their way.
    WaitForQuota,
}
