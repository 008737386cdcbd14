//! The second round of a thread: what sessions let through in the first goes out when all that were ready have had their
//! turn.
//!
//! A session leaves its bytes here and is done: it is not polled again for them. They are written just before the thread
//! waits for its sockets, behind one write to the spool for all. What a socket does not take at once, and what may not go
//! out yet, its session takes back.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use super::{Ending, Relay};
use crate::audit::Outbox;
use crate::clock::Now;
use crate::net::send_all::{Run, Sender};

/// Turns of sessions that what was left waits for at most, where there is always one that is ready.
const MAX_TURNS: usize = 32;

thread_local! {
    static ROUND: RefCell<Round> = RefCell::default();
}

/// What waits for most rounds needs no memory of its own: two sockets for each turn.
type Few<T> = SmallVec<[T; 2 * MAX_TURNS]>;

#[derive(Debug, Default)]
struct Round {
    /// On a thread that calls [`end`]: otherwise nothing may be left.
    sender: Option<Sender>,
    outbox: Option<Arc<Outbox>>,
    places: Vec<Place>,
    /// Places that have no seat.
    free: Vec<usize>,
    waiting: Vec<usize>,
    turns: usize,
}

/// What waits for a socket, and after that how much of it was written.
#[derive(Debug)]
struct Place {
    bytes: Vec<u8>,
    written: Cell<usize>,
    socket: RawFd,
    /// The frame that must be on the disk before.
    frame: Option<u64>,
    session: Waker,
}

impl Place {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            written: Cell::new(0),
            socket: -1,
            frame: None,
            session: Waker::noop().clone(),
        }
    }

    fn may_go(&self, outbox: Option<&Outbox>) -> bool {
        let is_written = |frame| outbox.is_some_and(|outbox| outbox.flush_through(frame));
        self.frame.is_none_or(is_written)
    }
}

impl Round {
    /// Writes what waits. Returns the sessions that have to see to theirs.
    fn end(&mut self) -> Vec<Waker> {
        self.turns = 0;
        self.send();
        self.waiting
            .drain(..)
            .filter_map(|index| self.places.get(index))
            .filter(|place| place.written.get() < place.bytes.len())
            .map(|place| place.session.clone())
            .collect()
    }

    /// Sends what waits and may go out.
    fn send(&mut self) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        let (places, outbox) = (&self.places, self.outbox.as_deref());
        let (mut going, mut runs) = (Few::<&Place>::new(), Few::<Run<'_>>::new());
        let waiting = self.waiting.iter().filter_map(|index| places.get(*index));
        for place in waiting.filter(|place| place.may_go(outbox)) {
            going.push(place);
            runs.push(Run::new(place.socket, &place.bytes));
        }
        sender.send(&mut runs);
        for (place, run) in going.iter().zip(&runs) {
            place.written.set(run.sent());
        }
    }
}

/// Lets sessions of this thread leave what they have. It must call [`end`] before it waits for its sockets.
pub(crate) fn enable() {
    ROUND.with_borrow_mut(|round| round.sender = Some(Sender::new()));
}

/// Writes what was left on this thread.
pub(crate) fn end() {
    let unfinished = ROUND.with_borrow_mut(Round::end);
    unfinished.iter().for_each(Waker::wake_by_ref);
}

/// A session has its turn.
fn begin_turn() {
    let is_due = ROUND.with_borrow_mut(|round| {
        round.turns += usize::from(!round.waiting.is_empty());
        round.turns > MAX_TURNS
    });
    if is_due {
        end();
    }
}

/// Where a session leaves what is to be written to one of its sockets. It is dropped before the socket is closed: its
/// number may be another one's then.
#[derive(Debug)]
pub(super) struct Seat {
    /// `None` on a thread that does not call [`end`].
    place: Option<usize>,
    is_left: bool,
}

impl Seat {
    pub(super) fn take(outbox: &Arc<Outbox>) -> Self {
        let place = ROUND.with_borrow_mut(|round| {
            round.outbox.get_or_insert_with(|| Arc::clone(outbox));
            round.sender.is_some().then(|| {
                round.free.pop().unwrap_or_else(|| {
                    round.places.push(Place::new());
                    round.places.len() - 1
                })
            })
        });
        Self {
            place,
            is_left: false,
        }
    }

    /// Leaves `bytes` for `socket`, to be written once `frame` is. `false`: that is not possible here.
    pub(super) fn leave(
        &mut self,
        bytes: &mut Vec<u8>,
        socket: RawFd,
        frame: Option<u64>,
        session: &Waker,
    ) -> bool {
        let Some(index) = self.place else {
            return false;
        };
        self.is_left = ROUND.with_borrow_mut(|round| {
            let Some(place) = round.places.get_mut(index) else {
                return false;
            };
            std::mem::swap(&mut place.bytes, bytes);
            place.written.set(0);
            (place.socket, place.frame) = (socket, frame);
            place.session.clone_from(session);
            round.waiting.push(index);
            true
        });
        self.is_left
    }

    /// Takes back what was left, and tells how much of it was written.
    pub(super) fn take_back(&mut self, bytes: &mut Vec<u8>) -> Option<usize> {
        let index = self.place.filter(|_| std::mem::take(&mut self.is_left))?;
        let taken = ROUND.try_with(|round| {
            let round = &mut *round.borrow_mut();
            let place = round.places.get_mut(index)?;
            std::mem::swap(&mut place.bytes, bytes);
            let written = place.written.get();
            if written < bytes.len() {
                round.waiting.retain(|waiting| *waiting != index);
            }
            Some(written)
        });
        // The thread may be at its end.
        taken.ok().flatten()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.take_back(&mut Vec::new());
        if let Some(index) = self.place {
            let _at_its_end = ROUND.try_with(|round| round.borrow_mut().free.push(index));
        }
    }
}

impl Relay {
    /// Takes back what was left in an earlier turn. `true`: some of it is still to be written.
    pub(super) fn take_back(&mut self) -> bool {
        begin_turn();
        let rest = self.engine.target_remaining();
        self.client.take_back(rest);
        self.target.take_back(0);
        self.client.is_unfinished() || self.target.is_unfinished()
    }

    /// Leaves what was let through in this turn. `true`: there is nothing else to be done until the task is woken.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, now: Now) -> Result<bool, Ending> {
        let rest = self.engine.target_remaining();
        let is_left = self.engine.may_leave()
            && self.client.leave(cx, None, rest)
            && self.target.leave(cx, self.engine.unwritten(), 0);
        if !is_left {
            return Ok(false);
        }
        self.rounds.left();
        let is_quiet = self.client.is_quiet(cx) && self.target.is_quiet(cx);
        let waits =
            is_quiet && self.poll_room(cx).is_pending() && self.poll_study(cx)?.is_pending();
        Ok(waits && self.poll_alarm(cx, now.instant) == Poll::Pending)
    }
}

#[cfg(test)]
mod tests;
