//! Client to target: what is judged is judged whole, what is refused is replaced, the rest passes as it came.

use std::sync::Arc;

use pglens_policy::{Analysis, StatementKind};
use pglens_rpc::v1;
use pglens_wire::frame::{HEADER_BYTES, Header, Look};
use pglens_wire::frontend::{
    self, Bind, Execute, FunctionCall, Named, Parse, Query, Subject, format_at, tag,
};

use super::ending::Ending;
use super::engine::{Admission, CopyIn, Engine, Progress, Rest, Step, Wait};
use super::exchange::{Expected, QueryReply, StatementReply};
use super::prepared::{Portal, Prepared};
use crate::audit::StatementFacts;
use crate::audit::recorder::ChunkRoom;
use crate::clock::Now;
use crate::policy::judge;
use crate::policy::quota::Taken;

/// Largest message that is read whole to be judged. Twice what can be recorded leaves room for names and lists.
const MAX_JUDGED_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// A text that no version of PostgreSQL parses. The target's log shows it.
const NO_SQL: &str = "PgLens refused this statement";
/// A name nobody gives to a statement or portal.
const NO_NAME: &[u8] = b"PgLens: no such name";
/// No function has this object id.
const NO_FUNCTION: u32 = 0;

impl Engine {
    /// Takes as much of `chunk` as can go on now and appends what the target gets to `out`.
    ///
    /// # Errors
    /// The end of the session.
    pub(crate) fn client_bytes(
        &mut self,
        chunk: &[u8],
        now: Now,
        out: &mut Vec<u8>,
    ) -> Result<Progress, Ending> {
        let mut consumed = 0;
        loop {
            let rest = chunk.get(consumed..).unwrap_or_default();
            let look = self.client.look(rest).map_err(Ending::client_frame)?;
            let step = match look {
                Look::Rest(0) | Look::Incomplete => Step::NeedMore(HEADER_BYTES),
                Look::Rest(count) => self.client_rest(rest.get(..count).unwrap_or_default(), out),
                Look::Frame(header) => self.client_frame(header, rest, now, out)?,
            };
            let (needs, wait) = match step {
                Step::Taken(count) => {
                    consumed += count;
                    continue;
                }
                Step::NeedMore(needs) => (needs, None),
                Step::Wait(wait) => (0, Some(wait)),
            };
            return Ok(Progress {
                consumed,
                needs,
                wait,
            });
        }
    }

    fn client_rest(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Step {
        match self.client_rest {
            Rest::Drop => {}
            Rest::Forward => out.extend_from_slice(bytes),
            Rest::Record => {
                self.recorder.bytes_to_target(bytes);
                out.extend_from_slice(bytes);
            }
        }
        Step::Taken(self.client.take_rest(bytes.len()))
    }

    /// Takes a message as far as it has come; the rest will be treated alike.
    fn take_client(&mut self, header: Header, chunk: &[u8], rest: Rest, out: &mut Vec<u8>) -> Step {
        self.client_rest = rest;
        let taken = self.client.take_frame(header, chunk.len());
        let bytes = chunk.get(..taken).unwrap_or_default();
        match rest {
            Rest::Drop => {}
            Rest::Forward => out.extend_from_slice(bytes),
            Rest::Record => {
                self.recorder.bytes_to_target(bytes);
                out.extend_from_slice(bytes);
            }
        }
        Step::Taken(taken)
    }

    fn client_frame(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Vec<u8>,
    ) -> Result<Step, Ending> {
        let known = b"BCDEFHPQSXdcf";
        if !known.contains(&header.tag()) {
            return Err(Ending::client_message_type(header.tag()));
        }
        if header.tag() == tag::TERMINATE {
            self.take_client(header, chunk, Rest::Forward, out);
            return Err(Ending::client_terminated());
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

    fn sync(&mut self, header: Header, chunk: &[u8], out: &mut Vec<u8>) -> Step {
        if self.exchange.is_full() {
            return self.wait_for_replies(out);
        }
        match self.copy_in {
            CopyIn::Active => self.exchange.swallow_sync(),
            CopyIn::No => self.exchange.push_sync(),
        }
        self.take_client(header, chunk, Rest::Forward, out)
    }

    /// Stops the client until replies have come. The target may be sitting on some that fill no packet.
    fn wait_for_replies(&mut self, out: &mut Vec<u8>) -> Step {
        if !self.flushed {
            self.flushed = true;
            frontend::put_flush(out);
        }
        Step::Wait(Wait::Replies)
    }

    fn copy_data(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Vec<u8>,
    ) -> Result<Step, Ending> {
        if self.copy_in == CopyIn::No {
            return Ok(self.stray_copy(header, chunk, out));
        }
        let total = header.total_bytes();
        if self.recorder.room_for_row(0, total) == ChunkRoom::OutboxFull {
            return Ok(Step::Wait(Wait::Room));
        }
        match self.quota.take_bytes(total as u64, now.instant) {
            Taken::Yes => self.client_goes_on(),
            Taken::Spent => return Err(Ending::bytes_spent()),
            Taken::NotYet if self.client_waits(Wait::Quota, now) => {
                return Ok(Step::Wait(Wait::Quota));
            }
            Taken::NotYet => return Err(Ending::bytes_unavailable()),
        }
        self.recorder.begin_row(total, now);
        Ok(self.take_client(header, chunk, Rest::Record, out))
    }

    fn copy_end(&mut self, header: Header, chunk: &[u8], out: &mut Vec<u8>) -> Step {
        if self.copy_in == CopyIn::No {
            return self.stray_copy(header, chunk, out);
        }
        self.copy_in = CopyIn::No;
        self.take_client(header, chunk, Rest::Forward, out)
    }

    /// COPY data while no COPY is known to run: either it is about to, or it has failed and the target ignores the rest.
    fn stray_copy(&mut self, header: Header, chunk: &[u8], out: &mut Vec<u8>) -> Step {
        if self.exchange.may_become_copy() {
            return self.wait_for_replies(out);
        }
        self.take_client(header, chunk, Rest::Drop, out)
    }

    fn judged(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Vec<u8>,
    ) -> Result<Step, Ending> {
        let total = header.total_bytes();
        if total > MAX_JUDGED_MESSAGE_BYTES {
            return Err(Ending::client_message_too_large(
                total,
                MAX_JUDGED_MESSAGE_BYTES,
            ));
        }
        let Some(frame) = chunk.get(..total) else {
            return Ok(Step::NeedMore(total));
        };
        if self.exchange.is_full() {
            return Ok(self.wait_for_replies(out));
        }
        if self.activity.is_being_cancelled() && self.client_waits(Wait::Cancel, now) {
            return Ok(Step::Wait(Wait::Cancel));
        }
        let payload = header.payload(frame);
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
        match wait.map_err(|error| Ending::client_protocol(&error))? {
            Some(wait) => Ok(Step::Wait(wait)),
            None => {
                self.activity.set_busy(true);
                self.activate(now);
                Ok(Step::Taken(self.client.take_frame(header, total)))
            }
        }
    }

    fn query(&mut self, frame: &[u8], payload: &[u8], now: Now, out: &mut Vec<u8>) -> Judgement {
        let judged = self.judge.text(Query::decode(payload)?.text);
        let bytes_in = frame.len() as u64;
        let (text, analysis) = (judged.text, judged.analysis);
        let statements = statements_of(&text, &analysis, bytes_in);
        let whole = whole(&text, &analysis, bytes_in);
        let open_ended = analysis.parse.is_err();
        let reply = match self.admit(statements, whole, judged.verdict, now) {
            Admission::Wait(wait) => return Ok(Some(wait)),
            Admission::Forward(statements) => {
                out.extend_from_slice(frame);
                QueryReply {
                    statements: statements.into(),
                    open_ended,
                    ..QueryReply::default()
                }
            }
            Admission::Refuse(refused) => {
                frontend::put_query(out, NO_SQL);
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
    fn parse(&mut self, frame: &[u8], payload: &[u8], now: Now, out: &mut Vec<u8>) -> Judgement {
        let parse = Parse::decode(payload)?;
        let judged = self.judge.text(parse.text);
        let verdict = judged.verdict.and_then(|()| {
            if parse.text.len() > judge::MAX_RECORDED_STATEMENT_BYTES {
                return Err(judge::too_large(parse.text.len()));
            }
            if !self.exchange.statements.has_room(parse.text.len()) {
                return Err(judge::too_many("prepared statements"));
            }
            Ok(())
        });
        let (before, refused) = match verdict {
            Ok(()) => {
                let prepared = Prepared::new(judged.text, judged.analysis, parse.parameter_types);
                out.extend_from_slice(frame);
                let before = self.exchange.statements.set(parse.name, Some(prepared));
                (before, None)
            }
            Err(refusal) => {
                let facts = whole(&judged.text, &judged.analysis, frame.len() as u64);
                match self.refuse(refusal, Some(facts), now) {
                    Admission::Refuse(refused) => {
                        frontend::put_parse(out, parse.name, NO_SQL);
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
            before,
            refused,
        });
        Ok(None)
    }

    fn bind(&mut self, frame: &[u8], payload: &[u8], now: Now, out: &mut Vec<u8>) -> Judgement {
        let bind = Bind::decode(payload)?;
        let statement = match self.exchange.statements.get(bind.statement) {
            Some(statement) => Arc::clone(statement),
            None => unseen("prepared statement", bind.statement),
        };
        let bytes = payload.len() + statement.text.len();
        let refusal = if bytes > judge::MAX_RECORDED_STATEMENT_BYTES {
            Some(judge::too_large(bytes))
        } else if !self.exchange.portals.has_room(payload.len()) {
            Some(judge::too_many("portals"))
        } else {
            None
        };
        let (before, refused) = match refusal {
            None => {
                let portal = Arc::new(portal(&bind, statement, payload.len()));
                out.extend_from_slice(frame);
                let before = self.exchange.portals.set(bind.portal, Some(portal));
                (before, None)
            }
            Some(refusal) => {
                let facts = whole(&statement.text, &statement.analysis, frame.len() as u64);
                match self.refuse(refusal, Some(facts), now) {
                    Admission::Refuse(refused) => {
                        frontend::put_bind(out, bind.portal, NO_NAME);
                        let before = self.exchange.portals.get(bind.portal).cloned();
                        (before, Some(refused))
                    }
                    Admission::Wait(wait) => return Ok(Some(wait)),
                    Admission::Forward(_) => return Ok(None),
                }
            }
        };
        self.exchange.push(Expected::Bind {
            portal: bind.portal.into(),
            before,
            refused,
        });
        Ok(None)
    }

    fn execute(&mut self, frame: &[u8], payload: &[u8], now: Now, out: &mut Vec<u8>) -> Judgement {
        let execute = Execute::decode(payload)?;
        let portal = match self.exchange.portals.get(execute.portal) {
            Some(portal) => Arc::clone(portal),
            None => Arc::new(unseen_portal(execute.portal)),
        };
        let statement = &portal.statement;
        let bytes_in = (frame.len() + portal.parameter_bytes) as u64;
        let facts = StatementFacts {
            parameters: Arc::clone(&portal.parameters),
            ..whole(&statement.text, &statement.analysis, bytes_in)
        };
        let reply = match self.admit(vec![facts.clone()], facts, Ok(()), now) {
            Admission::Wait(wait) => return Ok(Some(wait)),
            Admission::Forward(mut places) => {
                out.extend_from_slice(frame);
                StatementReply {
                    place: places.pop(),
                    columns: portal.columns(),
                    refused: None,
                }
            }
            Admission::Refuse(refused) => {
                frontend::put_execute(out, NO_NAME);
                StatementReply {
                    place: None,
                    columns: Arc::from([]),
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
        out: &mut Vec<u8>,
    ) -> Judgement {
        let call = FunctionCall::decode(payload)?;
        let facts = function_call_facts(&call, frame.len() as u64);
        let verdict = self.judge.function_call();
        let reply = match self.admit(vec![facts.clone()], facts, verdict, now) {
            Admission::Wait(wait) => return Ok(Some(wait)),
            Admission::Forward(mut places) => {
                out.extend_from_slice(frame);
                StatementReply {
                    place: places.pop(),
                    columns: Arc::from([]),
                    refused: None,
                }
            }
            Admission::Refuse(refused) => {
                frontend::put_function_call(out, NO_FUNCTION);
                StatementReply {
                    place: None,
                    columns: Arc::from([]),
                    refused: Some(refused),
                }
            }
        };
        self.exchange.push(Expected::FunctionCall(reply));
        Ok(None)
    }

    fn describe(&mut self, frame: &[u8], payload: &[u8], out: &mut Vec<u8>) -> Judgement {
        let describe = Named::decode(payload)?;
        out.extend_from_slice(frame);
        let exchange = &mut self.exchange;
        let expected = match describe.subject {
            Subject::Statement => {
                Expected::DescribeStatement(exchange.statements.get(describe.name).cloned())
            }
            Subject::Portal => {
                Expected::DescribePortal(exchange.portals.get(describe.name).cloned())
            }
        };
        exchange.push(expected);
        Ok(None)
    }

    fn close(&mut self, frame: &[u8], payload: &[u8], out: &mut Vec<u8>) -> Judgement {
        let close = Named::decode(payload)?;
        out.extend_from_slice(frame);
        let expected = match close.subject {
            Subject::Statement => Expected::CloseStatement {
                before: self.exchange.statements.set(close.name, None),
                name: close.name.into(),
            },
            Subject::Portal => Expected::ClosePortal {
                before: self.exchange.portals.set(close.name, None),
                portal: close.name.into(),
            },
        };
        self.exchange.push(expected);
        Ok(None)
    }
}

/// Nothing when the message was dealt with, or what it waits for.
type Judgement = Result<Option<Wait>, pglens_wire::MalformedMessage>;

/// One entry for each statement of a simple query; the message's bytes are counted with the first.
fn statements_of(text: &Arc<str>, analysis: &Analysis, bytes_in: u64) -> Vec<StatementFacts> {
    if analysis.statements.is_empty() {
        return vec![whole(text, analysis, bytes_in)];
    }
    let mut statements: Vec<_> = analysis
        .statements
        .iter()
        .map(|statement| StatementFacts {
            text: Arc::clone(text),
            range: statement.range.clone(),
            kind: statement.kind.as_str(),
            fingerprint: statement.fingerprint,
            parameters: Arc::from([]),
            bytes_in: 0,
        })
        .collect();
    if let Some(first) = statements.first_mut() {
        first.bytes_in = bytes_in;
    }
    statements
}

/// The whole text as one entry.
fn whole(text: &Arc<str>, analysis: &Analysis, bytes_in: u64) -> StatementFacts {
    let only = match analysis.statements.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    StatementFacts {
        text: Arc::clone(text),
        range: 0..text.len(),
        kind: match only {
            Some(only) => only.kind.as_str(),
            None if analysis.parse.is_err() => StatementKind::UNKNOWN.as_str(),
            None if analysis.statements.is_empty() => "EMPTY",
            None => "MULTIPLE",
        },
        fingerprint: only.and_then(|only| only.fingerprint),
        parameters: Arc::from([]),
        bytes_in,
    }
}

/// A statement whose text never passed here as a message: it was prepared, or its cursor declared, by SQL that was
/// recorded when it ran.
fn unseen(what: &str, name: &[u8]) -> Arc<Prepared> {
    let text = format!("{what} \"{}\"", String::from_utf8_lossy(name));
    let analysis = Analysis {
        statements: Vec::new(),
        parse: Err(pglens_policy::ParseFailure::Unavailable),
    };
    Prepared::new(text.into(), Arc::new(analysis), Vec::new())
}

fn unseen_portal(name: &[u8]) -> Portal {
    Portal {
        statement: unseen("portal", name),
        parameters: Arc::from([]),
        parameter_bytes: 0,
        result_formats: Vec::new(),
        columns: std::sync::OnceLock::new(),
    }
}

fn portal(bind: &Bind<'_>, statement: Arc<Prepared>, parameter_bytes: usize) -> Portal {
    let parameters = bind
        .parameters
        .iter()
        .enumerate()
        .map(|(index, value)| v1::Parameter {
            type_oid: statement.parameter_type(index),
            format: u32::from(format_at(&bind.parameter_formats, index)),
            value: value.map(<[u8]>::to_vec),
        });
    Portal {
        parameters: parameters.collect(),
        statement,
        parameter_bytes,
        result_formats: bind.result_formats.clone(),
        columns: std::sync::OnceLock::new(),
    }
}

fn function_call_facts(call: &FunctionCall<'_>, bytes_in: u64) -> StatementFacts {
    let text: Arc<str> = format!("function {}", call.function).into();
    let arguments = call
        .arguments
        .iter()
        .enumerate()
        .map(|(index, value)| v1::Parameter {
            type_oid: 0,
            format: u32::from(format_at(&call.argument_formats, index)),
            value: value.map(<[u8]>::to_vec),
        });
    StatementFacts {
        range: 0..text.len(),
        text,
        kind: "FUNCTION CALL",
        fingerprint: None,
        parameters: arguments.collect(),
        bytes_in,
    }
}
