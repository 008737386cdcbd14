//! A Bind whose values are too many to be held: they pass as they come, and the record has the beginning of them and a
//! digest of each that was cut. It runs nothing by itself, so nothing of it has to be judged before it passes.

use std::cell::OnceCell;
use std::rc::Rc;

use pglens_wire::MalformedMessage;
use pglens_wire::frame::{HEADER_BYTES, Header};
use pglens_wire::frontend::{BindHead, BindPiece, BindValues, Formats, format_at, tag};

use super::engine::{Admission, Engine, Rest, Step, Wait};
use super::exchange::Expected;
use super::facts;
use super::output::Passage;
use super::prepared::{Portal, Prepared};
use crate::audit::{Parameter, Parameters};
use crate::clock::Now;
use crate::policy::{judge, refusals};

/// Messages from this size on are treated so. Half of what can be recorded, so that smaller ones always can.
pub(super) const LARGE_BIND_BYTES: usize = judge::MAX_RECORDED_STATEMENT_BYTES / 2;
/// So much is read before the first value passes: names, and the formats of as many values as a Bind can have.
const HEAD_BYTES: usize = 256 * 1024;
/// What the record has of a parameter besides its value, its digest included.
const PARAMETER_BYTES: usize = 64;
/// What the record of a statement has besides its text and its parameters.
const OTHER_BYTES: usize = 4 * 1024;
/// Behind the values: the formats of at most 65,535 columns.
const MAX_BEHIND_BYTES: usize = 256 * 1024;

/// A Bind on its way.
pub(super) struct LargeBind {
    portal: Box<[u8]>,
    statement: Rc<Prepared>,
    formats: Vec<u16>,
    payload_bytes: usize,
    place: BindValues,
    parameters: Vec<Kept>,
    /// Bytes of values that are kept, and that may still be.
    kept_bytes: usize,
    may_keep: usize,
    /// Of the value in progress: its bytes, and a digest once it is known that not all are kept.
    current: (usize, Option<blake3::Hasher>),
    behind: Vec<u8>,
    /// The target will say what is wrong with it.
    is_malformed: bool,
}

/// What is kept of a parameter.
struct Kept {
    type_oid: u32,
    format: u16,
    value: Option<Vec<u8>>,
    whole: Option<(u64, [u8; 32])>,
}

impl Engine {
    pub(super) fn large_bind(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Step {
        let needed = header.total_bytes().min(HEAD_BYTES);
        if chunk.len() < needed {
            return Step::NeedMore(needed);
        }
        if self.exchange.is_full() {
            return self.wait_for_replies(out);
        }
        self.copy_is_over();
        if self.activity.is_being_cancelled() && self.client_waits(Wait::Cancel, now) {
            return Step::Wait(Wait::Cancel);
        }
        let head = match BindHead::decode(header.payload(chunk)) {
            Ok(head) => head,
            Err(error) => {
                self.replace_malformed(tag::BIND, &error, out);
                return self.take_client(header, chunk, Rest::Drop, out);
            }
        };
        let statement = match self.exchange.statements.get(head.statement) {
            Some(statement) => Rc::clone(statement),
            None => facts::unseen("prepared statement", head.statement),
        };
        let others = statement.text.sql().len() + OTHER_BYTES;
        let others = others + usize::from(head.parameter_count) * PARAMETER_BYTES;
        let may_keep = judge::MAX_RECORDED_STATEMENT_BYTES.saturating_sub(others);
        if !self.exchange.portals.has_room(may_keep) {
            return self.refuse_bind(&head, &statement, header, (chunk, now), out);
        }
        self.large_bind = Some(Box::new(LargeBind {
            portal: head.portal.into(),
            statement,
            place: BindValues::new(head.parameter_count),
            formats: head.parameter_formats.iter().collect(),
            payload_bytes: header.payload_bytes(),
            parameters: Vec::new(),
            kept_bytes: 0,
            may_keep,
            current: (0, None),
            behind: Vec::new(),
            is_malformed: false,
        }));
        self.activity.begin(now);
        self.client_rest = Rest::Bind;
        let taken = self.client.take_frame(header, chunk.len());
        out.pass(taken);
        let values = chunk.get(HEADER_BYTES + head.bytes..taken);
        self.large_bind_values(values.unwrap_or_default());
        Step::Taken(taken)
    }

    fn refuse_bind(
        &mut self,
        head: &BindHead<'_>,
        statement: &Rc<Prepared>,
        header: Header,
        (chunk, now): (&[u8], Now),
        out: &mut Passage<'_>,
    ) -> Step {
        let bytes = header.total_bytes() as u64;
        let facts = facts::of_prepared(statement, bytes);
        match self.refuse(refusals::too_many("portals"), Some(facts), now) {
            Admission::Wait(wait) => Step::Wait(wait),
            Admission::Forward(_) => Step::Wait(Wait::Room),
            Admission::Refuse(refused) => {
                self.substitute(tag::BIND, head.portal, refused, out);
                self.activity.begin(now);
                self.take_client(header, chunk, Rest::Drop, out)
            }
        }
    }

    /// Takes bytes behind the head, which pass in any case. With the last of them the portal is there.
    pub(super) fn large_bind_values(&mut self, bytes: &[u8]) {
        let Some(bind) = &mut self.large_bind else {
            return;
        };
        if !bind.is_malformed {
            bind.is_malformed = bind.take(bytes).is_err();
        }
        if self.client.is_at_boundary()
            && let Some(bind) = self.large_bind.take()
        {
            let (name, portal) = bind.into_portal();
            let portal = Rc::new(portal);
            let before = self.exchange.portals.set(&name, Some(Rc::clone(&portal)));
            self.exchange.push(Expected::Bind {
                portal: name,
                bound: Some(portal),
                before,
                refused: None,
            });
        }
    }
}

impl LargeBind {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), MalformedMessage> {
        while let Some(piece) = self.place.next(&mut bytes)? {
            match piece {
                BindPiece::Value(length) => self.begin_value(length),
                BindPiece::Bytes(bytes) => self.value_bytes(bytes),
                BindPiece::Behind(bytes) => {
                    let room = MAX_BEHIND_BYTES.saturating_sub(self.behind.len());
                    let kept = bytes.get(..room).unwrap_or(bytes);
                    self.behind.extend_from_slice(kept);
                }
            }
        }
        Ok(())
    }

    fn begin_value(&mut self, length: Option<usize>) {
        self.end_value();
        let index = self.parameters.len();
        let is_cut = length.is_some_and(|length| length > self.may_keep);
        self.current = (0, is_cut.then(blake3::Hasher::new));
        self.parameters.push(Kept {
            type_oid: self.statement.parameter_type(index),
            format: format_at(&self.formats, index),
            value: length.map(|_| Vec::new()),
            whole: None,
        });
    }

    fn value_bytes(&mut self, bytes: &[u8]) {
        let (total, digest) = &mut self.current;
        *total += bytes.len();
        if let Some(digest) = digest {
            digest.update(bytes);
        }
        let kept = bytes.get(..self.may_keep).unwrap_or(bytes);
        if let Some(value) = self
            .parameters
            .last_mut()
            .and_then(|one| one.value.as_mut())
        {
            value.extend_from_slice(kept);
            self.may_keep -= kept.len();
            self.kept_bytes += kept.len();
        }
    }

    fn end_value(&mut self) {
        let (total, digest) = std::mem::take(&mut self.current);
        if let (Some(digest), Some(parameter)) = (digest, self.parameters.last_mut()) {
            parameter.whole = Some((total as u64, *digest.finalize().as_bytes()));
        }
    }

    fn into_portal(mut self: Box<Self>) -> (Box<[u8]>, Portal) {
        self.end_value();
        let formats = Formats::decode(&self.behind).unwrap_or_default();
        let parameters = self.parameters.iter().map(|kept| Parameter {
            type_oid: kept.type_oid,
            format: kept.format,
            value: kept.value.as_deref(),
            whole: kept.whole,
        });
        let portal = Portal {
            parameters: Parameters::new(parameters),
            statement: self.statement,
            parameter_bytes: self.payload_bytes,
            kept_bytes: self.kept_bytes,
            result_formats: formats.iter().collect(),
            columns: OnceCell::new(),
        };
        (self.portal, portal)
    }
}
