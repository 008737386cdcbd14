//! What the target still has to answer, in the order in which it will.
//!
//! PostgreSQL answers messages in order, so the reply at hand belongs to the oldest message that is not answered
//! completely. After an error in the extended protocol it discards everything up to the next Sync, and so does the
//! queue. PostgreSQL manual, sections "Extended Query" and "Pipelining".

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;

use smallvec::SmallVec;

use super::prepared::{Names, Portal, Prepared};
use super::queues;
use crate::audit::Columns;
use crate::audit::recorder::{Outcome, Promised};
use crate::policy::substitute::SHOW_GRANT;
use crate::session::report::ClientError;

/// Most messages whose replies are outstanding; a client that sends more waits until some have come.
const MAX_EXPECTED: usize = 1024;

/// Places of the statements of one message, hardly ever more than one.
pub(crate) type Places = SmallVec<[Promised; 1]>;

/// A message for which the target was given a substitute that it must reject.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: ClientError,
    pub(crate) rule: &'static str,
    /// Place for the record; absent when there was none to be had.
    pub(crate) place: Option<Promised>,
}

impl Refused {
    pub(crate) fn outcome<'a>(error: &'a ClientError, rule: &'static str) -> Outcome<'a> {
        Outcome {
            sqlstate: Cow::Borrowed(&error.sqlstate),
            error_message: Cow::Borrowed(&error.message),
            refusal: Some(rule),
            ..Outcome::default()
        }
    }
}

/// A simple query: one record for each statement that ran.
#[derive(Debug, Default)]
pub(crate) struct QueryReply {
    /// Those the target has not turned to yet, the next one last.
    pub(crate) statements: Places,
    /// The text was not understood: how many statements there are is not known, and one record stands for all.
    pub(crate) open_ended: bool,
    /// What the target said last, if `open_ended`.
    pub(crate) outcome: Option<Box<Outcome<'static>>>,
    pub(crate) refused: Option<Box<Refused>>,
}

impl QueryReply {
    /// Statements that were paid for and that the target has not turned to.
    pub(crate) fn unused_statements(&self) -> u64 {
        let paid = self.statements.iter();
        paid.filter(|place| place.kind() != SHOW_GRANT).count() as u64
    }
}

/// An Execute or function call.
#[derive(Debug)]
pub(crate) struct StatementReply {
    /// Until the record of it has begun.
    pub(crate) place: Option<Promised>,
    /// What is executed; its columns may be described only after the Execute was sent.
    pub(crate) portal: Option<Rc<Portal>>,
    pub(crate) refused: Option<Box<Refused>>,
}

impl StatementReply {
    /// The columns of the result, as far as they are known by now.
    pub(crate) fn columns(&self) -> Columns {
        let portal = self.portal.as_ref();
        portal.map_or_else(Columns::default, |portal| portal.columns())
    }
}

/// A message that waits for its reply.
#[derive(Debug)]
pub(crate) enum Expected {
    Query(QueryReply),
    Parse {
        name: Box<[u8]>,
        statement: Rc<Prepared>,
        before: Option<Rc<Prepared>>,
        refused: Option<Box<Refused>>,
    },
    Bind {
        portal: Box<[u8]>,
        bound: Option<Rc<Portal>>,
        before: Option<Rc<Portal>>,
        refused: Option<Box<Refused>>,
    },
    DescribeStatement(Option<Rc<Prepared>>),
    DescribePortal(Option<Rc<Portal>>),
    Execute(StatementReply),
    CloseStatement {
        name: Box<[u8]>,
        before: Option<Rc<Prepared>>,
    },
    ClosePortal {
        portal: Box<[u8]>,
        before: Option<Rc<Portal>>,
    },
    FunctionCall(StatementReply),
    Sync,
}

impl Expected {
    /// Whether an error in it makes the target discard everything up to the next Sync.
    pub(crate) fn is_extended(&self) -> bool {
        !matches!(self, Self::Query(_) | Self::FunctionCall(_) | Self::Sync)
    }

    pub(crate) fn refused(&mut self) -> Option<&mut Option<Box<Refused>>> {
        match self {
            Self::Query(QueryReply { refused, .. })
            | Self::Parse { refused, .. }
            | Self::Bind { refused, .. }
            | Self::Execute(StatementReply { refused, .. })
            | Self::FunctionCall(StatementReply { refused, .. }) => Some(refused),
            _ => None,
        }
    }

    /// Whether the message does nothing but make `portal` ready to run.
    fn prepares(&self, portal: &Rc<Portal>) -> bool {
        match self {
            Self::Parse {
                statement,
                refused: None,
                ..
            } => Rc::ptr_eq(statement, &portal.statement),
            Self::Bind {
                bound: Some(bound),
                refused: None,
                ..
            } => Rc::ptr_eq(bound, portal),
            Self::DescribeStatement(Some(statement)) => Rc::ptr_eq(statement, &portal.statement),
            Self::DescribePortal(Some(described)) => Rc::ptr_eq(described, portal),
            _ => false,
        }
    }

    /// Adds the places of its statements to `places`, the next one last.
    fn take_places(&mut self, places: &mut Places) {
        match self {
            Self::Query(query) => places.append(&mut query.statements),
            Self::Execute(reply) | Self::FunctionCall(reply) => places.extend(reply.place.take()),
            _ => {}
        }
    }

    /// Statements that were paid for and have not run.
    fn unused_statements(&self) -> u64 {
        match self {
            Self::Query(query) => query.unused_statements(),
            Self::Execute(reply) | Self::FunctionCall(reply) => {
                let is_paid = |place: &Promised| place.kind() != SHOW_GRANT;
                u64::from(reply.place.as_ref().is_some_and(is_paid))
            }
            _ => 0,
        }
    }
}

/// The queue of messages without an answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    queue: VecDeque<Expected>,
    pub(crate) statements: Names<Prepared>,
    pub(crate) portals: Names<Portal>,
    /// The target discards everything until Sync, and no Sync is on its way to it.
    skipping: bool,
    /// Syncs that COPY FROM STDIN has swallowed, as far as can be known from here.
    swallowed_syncs: u32,
    /// Those of them that no data has followed.
    syncs_behind_data: u32,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            statements: super::prepared::statements(),
            portals: super::prepared::portals(),
            skipping: false,
            swallowed_syncs: 0,
            syncs_behind_data: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_EXPECTED
    }

    pub(crate) fn is_skipping(&self) -> bool {
        self.skipping
    }

    pub(crate) fn push(&mut self, expected: Expected) {
        if self.queue.capacity() == 0 {
            self.queue = queues::take();
        }
        self.queue.push_back(expected);
    }

    pub(crate) fn push_sync(&mut self) {
        self.skipping = false;
        self.push(Expected::Sync);
    }

    pub(crate) fn newest(&mut self) -> Option<&mut Expected> {
        self.queue.back_mut()
    }

    pub(crate) fn head(&mut self) -> Option<&mut Expected> {
        self.queue.front_mut()
    }

    /// The statement the target is at: the head, or an Execute behind nothing but its own Parse, Bind and Describe.
    ///
    /// PostgreSQL sends the answers to these together with the first rows, so to wait for them would be to miss the
    /// beginning of nearly every statement.
    pub(crate) fn statement_at_work(&mut self) -> Option<&mut Expected> {
        let index = self.at_work().unwrap_or(0);
        self.queue.get_mut(index)
    }

    /// Where the first Execute stands, if what is before it makes its portal ready.
    fn at_work(&self) -> Option<usize> {
        for (index, expected) in self.queue.iter().enumerate() {
            if let Expected::Execute(StatementReply { portal, .. }) = expected {
                let portal = portal.as_ref()?;
                let mut before = self.queue.iter().take(index);
                let is_next = before.all(|expected| expected.prepares(portal));
                return is_next.then_some(index);
            }
        }
        None
    }

    /// The head is answered.
    pub(crate) fn pop(&mut self) {
        if let Some(Expected::Bind { bound, before, .. }) = self.queue.pop_front() {
            drop(bound);
            if let Some(before) = before {
                Portal::give_back(before);
            }
        }
        if self.queue.is_empty() {
            queues::give_back(std::mem::take(&mut self.queue));
        }
    }

    /// The transaction is over, and all portals with it.
    pub(crate) fn forget_portals(&mut self) {
        if let Some(unnamed) = self.portals.set(b"", None) {
            Portal::give_back(unnamed);
        }
        self.portals.clear();
    }

    /// Whether a message is waiting that could still turn out to be a COPY.
    pub(crate) fn may_become_copy(&self) -> bool {
        self.queue
            .iter()
            .any(|expected| matches!(expected, Expected::Query(_) | Expected::Execute(_)))
    }

    /// Whether the target would turn at once to what runs next, the portal of that name or something that needs none (see
    /// [`Exchange::statement_at_work`]).
    pub(crate) fn turns_at_once_to(&self, portal: Option<&[u8]>) -> bool {
        match portal.and_then(|name| self.portals.get(name)) {
            Some(portal) => self.queue.iter().all(|before| before.prepares(portal)),
            None => self.queue.is_empty(),
        }
    }

    /// COPY FROM STDIN began, the head: it swallows the Syncs that were sent before its data (PostgreSQL's `CopyGetData`).
    /// Behind any other message it has failed, or the connection ends with it.
    pub(crate) fn swallow_syncs(&mut self) {
        self.syncs_behind_data = 0;
        while matches!(self.queue.get(1), Some(Expected::Sync)) {
            self.queue.remove(1);
            self.swallow_sync();
        }
    }

    pub(crate) fn swallow_sync(&mut self) {
        self.swallowed_syncs = self.swallowed_syncs.saturating_add(1);
        self.syncs_behind_data = self.syncs_behind_data.saturating_add(1);
    }

    /// Data, or their end, goes to COPY FROM STDIN.
    pub(crate) fn copy_goes_on(&mut self) {
        self.syncs_behind_data = 0;
    }

    /// COPY FROM STDIN, the head, has failed, or the target would hang up: it did not read the Syncs behind its data, and they
    /// are answered. Messages that were sent before its data began may stand behind it already, and they come later.
    pub(crate) fn expect_syncs_behind_data(&mut self) {
        for _ in 0..std::mem::take(&mut self.syncs_behind_data) {
            if self.is_full() {
                break;
            }
            self.swallowed_syncs = self.swallowed_syncs.saturating_sub(1);
            self.queue.insert(1.min(self.queue.len()), Expected::Sync);
        }
    }

    /// Whether the target may say that it is ready though nothing waits for that.
    pub(crate) fn has_swallowed_syncs(&self) -> bool {
        self.swallowed_syncs > 0
    }

    /// COPY FROM STDIN ended well: what it swallowed is gone for good.
    pub(crate) fn forget_swallowed_syncs(&mut self) {
        (self.swallowed_syncs, self.syncs_behind_data) = (0, 0);
    }

    /// A `ReadyForQuery` came that nothing waits for: COPY failed before it swallowed a Sync.
    pub(crate) fn take_swallowed_sync(&mut self) -> bool {
        if self.swallowed_syncs == 0 {
            return false;
        }
        self.swallowed_syncs -= 1;
        self.skipping = false;
        true
    }

    /// The head, a message of the extended protocol, failed: the target discards what follows up to the next Sync.
    /// Returns the number of statements that were paid for and will not run, and those that may run after all: if the head
    /// `is_copy`, a Sync that it seemed to swallow may be the next one.
    pub(crate) fn fail_head(&mut self, is_copy: bool) -> (u64, Places) {
        let sync = self
            .queue
            .iter()
            .position(|expected| matches!(expected, Expected::Sync));
        self.skipping = sync.is_none();
        let discarded: Vec<_> = self
            .queue
            .drain(..sync.unwrap_or(self.queue.len()))
            .collect();
        let may_run = is_copy && self.has_swallowed_syncs();
        let (mut unused, mut uncertain) = (0, Places::new());
        for (index, mut expected) in discarded.into_iter().enumerate().rev() {
            if may_run {
                expected.take_places(&mut uncertain);
            }
            unused += expected.unused_statements();
            self.take_back(expected, index == 0);
        }
        (unused, uncertain)
    }

    /// Takes back what a message that failed, or was discarded, has changed.
    fn take_back(&mut self, expected: Expected, has_failed: bool) {
        match expected {
            Expected::Parse { name, before, .. } => {
                // The unnamed statement is gone as soon as the target looks at another one.
                let before = before.filter(|_| !(has_failed && name.is_empty()));
                self.statements.set(&name, before);
            }
            Expected::CloseStatement { name, before } => {
                self.statements.set(&name, before);
            }
            Expected::Bind { portal, before, .. } | Expected::ClosePortal { portal, before } => {
                self.portals.set(&portal, before);
            }
            _ => {}
        }
    }

    /// Empties the queue when the session ends.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Expected> {
        self.queue.drain(..)
    }
}
