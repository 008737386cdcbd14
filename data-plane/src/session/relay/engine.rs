//! The session as a state machine: bytes of either side in, bytes for the other side out, records on the way.
//!
//! It owns no socket, timer or task. `from_client` and `from_target` hold the two directions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_wire::backend::TransactionStatus;
use pglens_wire::frame::FrameScanner;

use super::described::LastDescription;
use super::ending::Ending;
use super::exchange::{Exchange, Places, Refused};
use super::facts::Statements;
use super::large_bind::LargeBind;
use super::watchdog::Running;
use crate::audit::{Outbox, Recorder, StatementFacts};
use crate::clock::Now;
use crate::control::activity::Activity;
use crate::policy::quota::Taken;
use crate::policy::study::{Answer, Question};
use crate::policy::substitute::SHOW_GRANT;
use crate::policy::{Judge, Quota, judge, refusals};

/// How long a statement waits for room in the record or for a slice of the quota before it is refused. A person
/// notices, and a short break of the control plane passes.
const STATEMENT_WAIT: Duration = Duration::from_secs(5);

/// What a direction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Replies of the target.
    Replies,
    /// Room in the outbox.
    Room,
    /// A slice of the quota.
    Quota,
    /// A cancel request on its way to the target.
    Cancel,
    /// A text that is judged elsewhere.
    Verdict,
}

/// Why a direction left the rest of a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of the message that follows, if it must be whole before it can be judged.
    pub(crate) needs: usize,
    /// What must happen before it can go on.
    pub(crate) wait: Option<Wait>,
}

impl Progress {
    pub(crate) fn waiting(wait: Wait) -> Self {
        Self {
            needs: 0,
            wait: Some(wait),
        }
    }
}

/// What becomes of one frame at the start of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// So many bytes are done with.
    Taken(usize),
    /// More bytes are needed: the whole message has so many.
    NeedMore(usize),
    Wait(Wait),
}

/// What becomes of the rest of a message that was taken before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Forward,
    /// A row or COPY message: forwarded, and recorded.
    Record,
    /// Values of a large Bind: forwarded, and their beginning kept.
    Bind,
    Drop,
}

/// COPY FROM STDIN as far as the client is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyIn {
    No,
    /// The target takes data; each row of it is a line, unless the format is binary.
    Active {
        is_text: bool,
    },
    /// A message waits that ends it.
    GivenUp,
}

/// One session between a client and a target.
pub(crate) struct Engine {
    pub(super) judge: Judge,
    pub(super) exchange: Exchange,
    pub(super) recorder: Recorder,
    pub(super) quota: Quota,
    pub(super) activity: Arc<Activity>,
    pub(super) client: FrameScanner,
    pub(super) client_rest: Rest,
    pub(super) large_bind: Option<Box<LargeBind>>,
    pub(super) target: FrameScanner,
    pub(super) target_rest: Rest,
    pub(super) copy_in: CopyIn,
    /// Clients that ask the same again get the same description.
    pub(super) described: LastDescription,
    pub(super) status: TransactionStatus,
    /// The target was asked to flush its replies, because too many are outstanding.
    pub(super) flushed: bool,
    pub(super) target_has_told: bool,
    /// The client has said goodbye, and what it sent before is still to be answered.
    pub(super) is_terminating: bool,
    client_wait: Option<(Wait, Instant)>,
    target_wait: Option<(Wait, Instant)>,
    /// Since when statements are held because their record cannot be written.
    held_since: Option<Instant>,
    /// Statements begun so far, and when the last one was.
    pub(super) begun: (u64, Option<Instant>),
    /// The statement that the proxy cancels for its time.
    pub(super) out_of_time: Option<u64>,
    pub(super) notices: Vec<String>,
}

/// Whether a message may go on, and as what.
pub(crate) enum Admission {
    Forward(Places),
    Refuse(Box<Refused>),
    Wait(Wait),
}

impl Engine {
    pub(crate) fn new(
        judge: Judge,
        recorder: Recorder,
        quota: Quota,
        activity: Arc<Activity>,
        status: TransactionStatus,
    ) -> Self {
        Self {
            judge,
            exchange: Exchange::new(),
            recorder,
            quota,
            activity,
            client: FrameScanner::new(),
            client_rest: Rest::Drop,
            large_bind: None,
            target: FrameScanner::new(),
            target_rest: Rest::Drop,
            copy_in: CopyIn::No,
            described: LastDescription::default(),
            status,
            flushed: false,
            target_has_told: false,
            is_terminating: false,
            client_wait: None,
            target_wait: None,
            held_since: None,
            begun: (0, None),
            out_of_time: None,
            notices: Vec::new(),
        }
    }

    /// Whether nothing is on its way and no statement runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.exchange.is_empty()
    }

    /// Whether the target has nothing more to say of what it was sent. Where that cannot be known, it says so by hanging up
    /// when it is told goodbye.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_idle() && !self.exchange.has_swallowed_syncs()
    }

    /// Whether a message of ours may be put in front of the target's next one.
    pub(crate) fn is_between_target_messages(&self) -> bool {
        self.target.is_at_boundary()
    }

    /// Bytes of the target's message in progress that have not come yet.
    pub(crate) fn target_remaining(&self) -> usize {
        self.target.remaining()
    }

    pub(crate) fn quota(&mut self) -> &mut Quota {
        &mut self.quota
    }

    /// The running statement's number, and since when it runs.
    pub(crate) fn running(&self) -> Running {
        let (number, since) = self.begun;
        let since = since.filter(|_| self.recorder.is_running())?;
        Some((number, since))
    }

    /// The running statement is being cancelled because its time is over.
    pub(crate) fn is_out_of_time(&mut self) {
        self.out_of_time = Some(self.begun.0);
    }

    /// Something the client is to be told, once.
    pub(crate) fn notice(&mut self) -> Option<String> {
        self.notices.pop()
    }

    /// When the engine must be asked again even if no bytes come.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let waits = [self.client_wait, self.target_wait];
        let waits = waits.into_iter().flatten();
        let waits = waits.map(|(_, since)| since + STATEMENT_WAIT);
        waits.chain(self.quota.next_look()).min()
    }

    /// Whether nothing that the client sends counts any more.
    pub(crate) fn is_terminating(&self) -> bool {
        self.is_terminating
    }

    /// The end of the target's stream.
    pub(crate) fn target_closed(&self) -> Ending {
        if self.is_terminating {
            return Ending::client_terminated();
        }
        Ending::target_closed(self.target_has_told)
    }

    /// A text that takes a while to judge, once: its message goes on when the answer is here.
    pub(crate) fn question(&mut self) -> Option<Question> {
        self.judge.question()
    }

    pub(crate) fn answered(&mut self, answer: Answer) {
        self.judge.answered(answer);
    }

    /// Decides whether statements may go on: the verdict of the guards, the quota, and a place in the record. `whole`
    /// is what is recorded when they are refused, together.
    pub(super) fn admit(
        &mut self,
        statements: Statements,
        whole: impl FnOnce() -> StatementFacts,
        verdict: Result<(), pglens_policy::Refusal>,
        now: Now,
    ) -> Admission {
        let largest = statements.iter().map(StatementFacts::record_bytes).max();
        let verdict = verdict.and_then(|()| match largest {
            Some(bytes) if bytes > judge::MAX_RECORDED_STATEMENT_BYTES => {
                Err(refusals::too_large(bytes))
            }
            _ => Ok(()),
        });
        let is_several = statements.len() > 1 && self.recorder.is_strict();
        let verdict = match is_several {
            true => verdict.and(Err(refusals::several_under_strict())),
            false => verdict,
        };
        if let Err(refusal) = verdict {
            return self.refuse(refusal, Some(whole()), now);
        }
        if !self.recorder.may_admit() {
            if self.client_waits(Wait::Room, now) {
                return Admission::Wait(Wait::Room);
            }
            return self.refuse(refusals::no_room(), None, now);
        }
        let paid = statements
            .iter()
            .filter(|one| one.said.text().kind != SHOW_GRANT);
        let count = paid.count() as u64;
        match self.quota.take_queries(count, now.instant) {
            Taken::Yes => {}
            Taken::Spent => {
                let refusal = refusals::queries_spent(self.judge.grant());
                return self.refuse(refusal, Some(whole()), now);
            }
            Taken::Withheld => {
                return self.refuse(refusals::queries_withheld(), Some(whole()), now);
            }
            Taken::NotYet if self.client_waits(Wait::Quota, now) => {
                return Admission::Wait(Wait::Quota);
            }
            Taken::NotYet => {
                self.quota.forget_need();
                return self.refuse(refusals::queries_unavailable(), Some(whole()), now);
            }
        }
        if let Some(places) = self.promise(statements) {
            self.client_wait = None;
            return Admission::Forward(places);
        }
        self.quota.give_back_queries(count);
        if self.client_waits(Wait::Room, now) {
            return Admission::Wait(Wait::Room);
        }
        self.refuse(refusals::no_room(), None, now)
    }

    /// Places for all of them, the last one first, or none.
    fn promise(&self, statements: Statements) -> Option<Places> {
        let mut places = Places::new();
        for facts in statements.into_iter().rev() {
            places.push(self.recorder.promise(facts)?);
        }
        Some(places)
    }

    /// Refuses a message; its record needs a place too, unless that is what is missing.
    pub(super) fn refuse(
        &mut self,
        refusal: pglens_policy::Refusal,
        facts: Option<StatementFacts>,
        now: Now,
    ) -> Admission {
        let place = match facts.map(|facts| self.recorder.promise(facts.shortened())) {
            Some(None) if self.client_waits(Wait::Room, now) => {
                return Admission::Wait(Wait::Room);
            }
            place => place.flatten(),
        };
        self.client_wait = None;
        let rule = refusal.rule;
        Admission::Refuse(Box::new(Refused {
            error: refusal.into(),
            rule,
            place,
        }))
    }

    /// Whether the client's direction may go on waiting.
    pub(super) fn client_waits(&mut self, wait: Wait, now: Now) -> bool {
        still_waits(&mut self.client_wait, wait, now)
    }

    pub(super) fn client_goes_on(&mut self) {
        self.client_wait = None;
    }

    /// Whether the target's direction may go on waiting.
    pub(super) fn target_waits(&mut self, wait: Wait, now: Now) -> bool {
        still_waits(&mut self.target_wait, wait, now)
    }

    pub(super) fn target_goes_on(&mut self) {
        self.target_wait = None;
    }

    /// Writes what was recorded until now, in one go. Only `true` lets the target have what was admitted.
    ///
    /// # Errors
    /// The end of the session, when that has not been possible for as long as a statement may wait.
    pub(crate) fn record(&mut self, now: Now) -> Result<bool, Ending> {
        if self.recorder.flush() && self.recorder.is_durable() {
            self.held_since = None;
            return Ok(true);
        }
        let since = *self.held_since.get_or_insert(now.instant);
        if now.instant.saturating_duration_since(since) < STATEMENT_WAIT {
            return Ok(false);
        }
        Err(Ending::record_broken())
    }

    /// Whether what was let through may go out without the session, once [`Engine::unwritten`] is.
    pub(crate) fn may_leave(&self) -> bool {
        !self.is_terminating && self.recorder.may_leave()
    }

    /// The frame that must be written before the target gets anything.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        self.recorder.unwritten()
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        self.recorder.outbox()
    }

    /// Writes what was recorded until now. `false`: nothing more may reach the target.
    pub(crate) fn is_recorded(&mut self) -> bool {
        self.recorder.flush() && self.recorder.is_durable()
    }
}

fn still_waits(state: &mut Option<(Wait, Instant)>, wait: Wait, now: Now) -> bool {
    match state {
        Some((before, since)) if *before == wait => {
            now.instant.saturating_duration_since(*since) < STATEMENT_WAIT
        }
        _ => {
            *state = Some((wait, now.instant));
            true
        }
    }
}
