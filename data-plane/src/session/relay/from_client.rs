//! Client to target: what is judged is judged whole, what is refused is replaced, the rest passes as it came.

use std::rc::Rc;

use pglens_wire::frame::{HEADER_BYTES, Header, Look};
use pglens_wire::frontend::{self, Bind, Execute, FunctionCall, Parse, Query, tag};

use smallvec::smallvec;

use super::ending::Ending;
use super::engine::{Admission, Engine, Progress, Rest, Step, Wait};
use super::exchange::{Expected, QueryReply, StatementReply};
use super::facts;
use super::large_bind::LARGE_BIND_BYTES;
use super::output::Passage;
use super::prepared::Prepared;
use crate::audit::StatementFacts;
use crate::clock::Now;
use crate::policy::{judge, refusals};

/// Largest message that is read whole to be judged. Twice what can be recorded leaves room for names and lists.
const MAX_JUDGED_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// A text that no version of PostgreSQL parses. The target's log shows it.
pub(super) const NO_SQL: &str = "PgLens refused this statement";
/// A name nobody gives to a statement or portal.
pub(super) const NO_NAME: &[u8] = b"PgLens: no such name";
/// No function has this object id.
pub(super) const NO_FUNCTION: u32 = 0;

impl Engine {
    /// Takes as much of the chunk as can go on now.
    ///
    /// # Errors
    /// The end of the session.
    pub(crate) fn client_bytes(
        &mut self,
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Progress, Ending> {
        while !self.is_terminating {
            let rest = out.rest();
            let look = self.client.look(rest).map_err(Ending::client_frame)?;
            let step = match look {
                Look::Rest(0) | Look::Incomplete => Step::NeedMore(HEADER_BYTES),
                Look::Rest(count) => self.client_rest(rest.get(..count).unwrap_or_default(), out),
                Look::Frame(header) => self.client_frame(header, rest, now, out)?,
            };
            match step {
                Step::Taken(count) => out.consume(count),
                Step::NeedMore(needs) => return Ok(Progress { needs, wait: None }),
                Step::Wait(wait) => return Ok(Progress::waiting(wait)),
            }
        }
        Ok(Progress::default())
    }

    fn client_rest(&mut self, bytes: &[u8], out: &mut Passage<'_>) -> Step {
        let taken = self.client.take_rest(bytes.len());
        self.pass_to_target(bytes, self.client_rest, out);
        Step::Taken(taken)
    }

    pub(super) fn pass_to_target(&mut self, bytes: &[u8], rest: Rest, out: &mut Passage<'_>) {
        if rest != Rest::Drop {
            out.pass(bytes.len());
        }
        match rest {
            Rest::Drop | Rest::Forward => {}
            Rest::Record => self.recorder.bytes_to_target(bytes),
            Rest::Bind => self.large_bind_values(bytes),
        }
    }

    /// Takes a message as far as it has come; the rest will be treated alike.
    pub(super) fn take_client(
        &mut self,
        header: Header,
        chunk: &[u8],
        rest: Rest,
        out: &mut Passage<'_>,
    ) -> Step {
        self.client_rest = rest;
        let taken = self.client.take_frame(header, chunk.len());
        self.pass_to_target(chunk.get(..taken).unwrap_or_default(), rest, out);
        Step::Taken(taken)
    }

    fn client_frame(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Step, Ending> {
        if !tag::comes_after_login(header.tag()) {
            return Err(Ending::client_message_type(header.tag()));
        }
        if header.tag() == tag::TERMINATE {
            if self.is_answered() {
                return Err(Ending::client_terminated());
            }
            // As with PostgreSQL: what was sent before is answered.
            self.is_terminating = true;
            return Ok(self.take_client(header, chunk, Rest::Forward, out));
        }
        if self.exchange.is_skipping() && header.tag() != tag::SYNC {
            // The target would discard it.
            return Ok(self.take_client(header, chunk, Rest::Drop, out));
        }
        match header.tag() {
            tag::COPY_DATA => self.copy_data(header, chunk, now, out),
            tag::COPY_DONE | tag::COPY_FAIL => Ok(self.copy_end(header, chunk, out)),
            tag::FLUSH => Ok(self.take_client(header, chunk, Rest::Forward, out)),
            tag::SYNC => Ok(self.sync(header, chunk, out)),
            _ => self.judged(header, chunk, now, out),
        }
    }

    fn judged(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Step, Ending> {
        let total = header.total_bytes();
        if header.tag() == tag::BIND && total > LARGE_BIND_BYTES {
            return Ok(self.large_bind(header, chunk, now, out));
        }
        if total > MAX_JUDGED_MESSAGE_BYTES {
            return self.oversized(header, chunk, now, out);
        }
        let Some(frame) = chunk.get(..total) else {
            return Ok(Step::NeedMore(total));
        };
        if self.exchange.is_full() {
            return Ok(self.wait_for_replies(out));
        }
        let runs = matches!(header.tag(), tag::QUERY | tag::EXECUTE | tag::FUNCTION_CALL);
        let payload = header.payload(frame);
        if runs && self.recorder.is_strict() && !self.begins_at_once(header.tag(), payload) {
            self.give_up_copy(out);
            return Ok(self.wait_for_replies(out));
        }
        self.copy_is_over();
        if self.activity.is_being_cancelled() && self.client_waits(Wait::Cancel, now) {
            return Ok(Step::Wait(Wait::Cancel));
        }
        let wait = match header.tag() {
            tag::QUERY => self.query(frame, payload, now, out),
            tag::PARSE => self.parse(frame, payload, now, out),
            tag::BIND => self.bind(frame, payload, now, out),
            tag::EXECUTE => self.execute(frame, payload, now, out),
            tag::FUNCTION_CALL => self.function_call(frame, payload, now, out),
            tag::DESCRIBE => self.describe(frame, payload, out),
            tag::CLOSE => self.close(frame, payload, out),
            tag => return Err(Ending::client_message_type(tag)),
        };
        let wait = wait.unwrap_or_else(|error| {
            self.replace_malformed(header.tag(), &error, out);
            None
        });
        match wait {
            Some(wait) => Ok(Step::Wait(wait)),
            None => {
                self.judge.forget_study();
                self.activity.begin(now);
                if runs {
                    self.activate(now);
                    self.announce(now);
                }
                Ok(Step::Taken(self.client.take_frame(header, total)))
            }
        }
    }

    fn query(
        &mut self,
        frame: &[u8],
        payload: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Judgement {
        let text = Query::decode(payload)?.text;
        let Some(judged) = self.judge.text(text, || self.quota.left()) else {
            return Ok(Some(Wait::Verdict));
        };
        let (bytes_in, is_free) = (frame.len() as u64, judged.is_free());
        let (text, analysis) = (judged.text, judged.analysis);
        let whole = || StatementFacts::new(facts::whole_of(&text, &analysis, is_free), bytes_in);
        let statements = match &judged.substitute {
            Some(_) => smallvec![whole()],
            None => facts::of_each((&text, &analysis), judged.longer_by, bytes_in),
        };
        let open_ended = analysis.parse.is_err();
        let reply = match self.admit(statements, whole, judged.verdict, now) {
            Admission::Wait(wait) => return Ok(Some(wait)),
            Admission::Forward(statements) => {
                match judged.substitute {
                    Some(substitute) => {
                        frontend::put_query(out.put(), &substitute.text);
                        self.notices.extend(substitute.notice);
                    }
                    None => out.pass(frame.len()),
                }
                QueryReply {
                    statements,
                    open_ended,
                    ..QueryReply::default()
                }
            }
            Admission::Refuse(refused) => {
                frontend::put_query(out.put(), NO_SQL);
                QueryReply {
                    refused: Some(refused),
                    ..QueryReply::default()
                }
            }
        };
        self.exchange.push(Expected::Query(reply));
        Ok(None)
    }

    /// A Parse runs nothing: it needs no place in the record unless it is refused.
    fn parse(
        &mut self,
        frame: &[u8],
        payload: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Judgement {
        let parse = Parse::decode(payload)?;
        let Some(judged) = self.judge.text(parse.text, || self.quota.left()) else {
            return Ok(Some(Wait::Verdict));
        };
        let text = facts::whole_of(&judged.text, &judged.analysis, judged.is_free());
        let verdict = judged.verdict.and_then(|()| {
            self.judge.parameter_types(&parse.parameter_types)?;
            if parse.text.len() > judge::MAX_RECORDED_STATEMENT_BYTES {
                return Err(refusals::too_large(parse.text.len()));
            }
            if !self.exchange.statements.has_room(parse.text.len()) {
                return Err(refusals::too_many("prepared statements"));
            }
            Ok(())
        });
        let statement = Prepared::new(text, parse.parameter_types);
        let (before, refused) = match verdict {
            Ok(()) => {
                match judged.substitute {
                    Some(substitute) => {
                        frontend::put_parse(out.put(), parse.name, &substitute.text);
                        self.notices.extend(substitute.notice);
                    }
                    None => out.pass(frame.len()),
                }
                let new = Some(Rc::clone(&statement));
                (self.exchange.statements.set(parse.name, new), None)
            }
            Err(refusal) => {
                let facts = facts::of_prepared(&statement, frame.len() as u64);
                match self.refuse(refusal, Some(facts), now) {
                    Admission::Refuse(refused) => {
                        frontend::put_parse(out.put(), parse.name, NO_SQL);
                        // A name that exists keeps its statement, as it does when PostgreSQL rejects a text.
                        let before = self.exchange.statements.get(parse.name).cloned();
                        (before, Some(refused))
                    }
                    Admission::Wait(wait) => return Ok(Some(wait)),
                    Admission::Forward(_) => return Ok(None),
                }
            }
        };
        self.exchange.push(Expected::Parse {
            name: parse.name.into(),
            statement,
            before,
            refused,
        });
        Ok(None)
    }

    fn bind(&mut self, frame: &[u8], payload: &[u8], now: Now, out: &mut Passage<'_>) -> Judgement {
        let bind = Bind::decode(payload)?;
        let statement = match self.exchange.statements.get(bind.statement) {
            Some(statement) => Rc::clone(statement),
            None => facts::unseen("prepared statement", bind.statement),
        };
        let bytes = payload.len() + statement.text.sql().len();
        let refusal = if bytes > judge::MAX_RECORDED_STATEMENT_BYTES {
            Some(refusals::too_large(bytes))
        } else if !self.exchange.portals.has_room(payload.len()) {
            Some(refusals::too_many("portals"))
        } else {
            None
        };
        let (bound, before, refused) = match refusal {
            None => {
                let portal = facts::portal(&bind, statement, payload.len()).shared();
                out.pass(frame.len());
                let new = Some(Rc::clone(&portal));
                let before = self.exchange.portals.set(bind.portal, new);
                (Some(portal), before, None)
            }
            Some(refusal) => {
                let facts = facts::of_prepared(&statement, frame.len() as u64);
                match self.refuse(refusal, Some(facts), now) {
                    Admission::Refuse(refused) => {
                        frontend::put_bind(out.put(), bind.portal, NO_NAME);
                        let before = self.exchange.portals.get(bind.portal).cloned();
                        (None, before, Some(refused))
                    }
                    Admission::Wait(wait) => return Ok(Some(wait)),
                    Admission::Forward(_) => return Ok(None),
                }
            }
        };
        self.exchange.push(Expected::Bind {
            portal: bind.portal.into(),
            bound,
            before,
            refused,
        });
        Ok(None)
    }

    fn execute(
        &mut self,
        frame: &[u8],
        payload: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Judgement {
        let execute = Execute::decode(payload)?;
        let portal = match self.exchange.portals.get(execute.portal) {
            Some(portal) => Rc::clone(portal),
            None => Rc::new(facts::unseen_portal(execute.portal)),
        };
        let facts = || facts::of_portal(&portal, frame.len());
        let reply = match self.admit(smallvec![facts()], facts, Ok(()), now) {
            Admission::Wait(wait) => return Ok(Some(wait)),
            Admission::Forward(mut places) => {
                out.pass(frame.len());
                StatementReply {
                    place: places.pop(),
                    portal: Some(portal),
                    refused: None,
                }
            }
            Admission::Refuse(refused) => {
                frontend::put_execute(out.put(), NO_NAME);
                StatementReply {
                    place: None,
                    portal: None,
                    refused: Some(refused),
                }
            }
        };
        self.exchange.push(Expected::Execute(reply));
        Ok(None)
    }

    fn function_call(
        &mut self,
        frame: &[u8],
        payload: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Judgement {
        let call = FunctionCall::decode(payload)?;
        let facts = || facts::of_call(&call, frame.len() as u64);
        let verdict = self.judge.function_call();
        let reply = match self.admit(smallvec![facts()], facts, verdict, now) {
            Admission::Wait(wait) => return Ok(Some(wait)),
            Admission::Forward(mut places) => {
                out.pass(frame.len());
                StatementReply {
                    place: places.pop(),
                    portal: None,
                    refused: None,
                }
            }
            Admission::Refuse(refused) => {
                frontend::put_function_call(out.put(), NO_FUNCTION);
                StatementReply {
                    place: None,
                    portal: None,
                    refused: Some(refused),
                }
            }
        };
        self.exchange.push(Expected::FunctionCall(reply));
        Ok(None)
    }
}

/// Nothing when the message was dealt with, or what it waits for.
pub(super) type Judgement = Result<Option<Wait>, pglens_wire::MalformedMessage>;
