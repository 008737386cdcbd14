//! Room in the outbox: who has how much of it promised.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::Announcement;
use super::{Outbox, RECORD_OVERHEAD_BYTES};

impl Outbox {
    /// Takes `bytes` for the records of one statement, if there are so many. At most half of the capacity is promised, so
    /// that rows of running statements always find room again once records are acknowledged; otherwise promises could wait
    /// for rows that wait for promises.
    fn reserve(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        let reserved = state.reserved_bytes + bytes;
        let is_usable = state.is_unlocked && self.is_sound();
        if !is_usable
            || reserved > self.capacity_bytes / 2
            || state.used() + reserved > self.capacity_bytes
        {
            state.room_wanted = true;
            return false;
        }
        state.reserved_bytes = reserved;
        true
    }

    /// Whether `bytes` of rows would find room now. Up to `promised` they have a place already.
    pub(crate) fn has_room(&self, bytes: usize, promised: usize) -> bool {
        if bytes <= promised && self.is_sound() {
            return true;
        }
        let mut state = self.state.lock();
        let needed = state.used() + state.reserved_bytes + bytes + RECORD_OVERHEAD_BYTES;
        let has_place = bytes <= promised || needed <= self.capacity_bytes;
        let has_room = self.is_sound() && has_place;
        state.room_wanted |= !has_room;
        has_room
    }

    /// Whether the spool could be written when that was last tried.
    pub(super) fn is_sound(&self) -> bool {
        !self.has_fault.load(Ordering::SeqCst)
    }

    fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.reserved_bytes = state.reserved_bytes.saturating_sub(bytes);
        let room_wanted = std::mem::take(&mut state.room_wanted);
        drop(state);
        if room_wanted {
            self.tell_room();
        }
    }

    pub(super) fn tell_room(&self) {
        self.room.send_modify(|count| *count += 1);
    }
}

/// A session's hold on the outbox, which its places share: they come and go on one thread, and those who count them there
/// need not agree with other threads.
#[derive(Debug, Clone)]
pub(crate) struct OutboxHold(Rc<Held>);

#[derive(Debug)]
struct Held {
    outbox: Arc<Outbox>,
}

impl OutboxHold {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self(Rc::new(Held { outbox }))
    }

    /// Promises place for the records of one statement, if there is some.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let bytes = bytes + 2 * RECORD_OVERHEAD_BYTES;
        self.reserve(bytes).then(|| Reservation {
            outbox: self.clone(),
            bytes,
            announced: None,
        })
    }
}

impl Deref for OutboxHold {
    type Target = Arc<Outbox>;

    fn deref(&self) -> &Arc<Outbox> {
        &self.0.outbox
    }
}

/// A promised place in the outbox; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    outbox: OutboxHold,
    bytes: usize,
    /// What the spool says of the statement, if it may run before its record begins.
    announced: Option<Announcement>,
}

impl Reservation {
    pub(crate) fn is_announced(&self) -> bool {
        self.announced.is_some()
    }

    /// The spool says that the statement may run; unless its record begins, it says in the end that it did not.
    pub(crate) fn announce(&mut self, announced: Announcement) {
        self.announced = Some(announced);
    }

    /// What was announced: the record of the statement begins.
    pub(crate) fn begin(&mut self) -> Option<Announcement> {
        self.announced.take()
    }

    /// What is given back, by the caller now, who may hold the lock. The record of the statement has begun.
    pub(super) fn into_bytes(mut self) -> usize {
        debug_assert!(self.announced.is_none(), "its record has begun");
        self.announced = None;
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(announced) = &self.announced {
            self.outbox.settle(announced);
        }
        if self.bytes > 0 {
            self.outbox.release(self.bytes);
        }
    }
}
