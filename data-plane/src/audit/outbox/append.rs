//! How records and notes come into the outbox.

use super::room::Reservation;
use super::state::{Announcement, State};
use super::{MAX_PENDING_BYTES, Outbox, RECORD_OVERHEAD_BYTES};
use crate::audit::encode::{Encode, Started};

/// A record of this size, rows of a large result, does not gather with what is pending: what holds them would grow to hold
/// both. Nor is it kept in memory: it is read from the disk, from the kernel's memory that is, when it is sent.
const LARGE_RECORD_BYTES: usize = 64 * 1024;

/// Where a record went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pushed {
    pub(crate) sequence: u64,
    /// What [`Outbox::flush_through`] wants to know.
    pub(crate) frame: u64,
}

/// Appends records one behind the other, none of others between them.
pub(crate) struct Appending<'a>(&'a mut State);

impl Appending<'_> {
    /// Appends a record.
    pub(crate) fn push(&mut self, event: &impl Encode) -> Pushed {
        let state = &mut *self.0;
        state.pending.sent.push(event);
        state.pending.records += 1;
        state.newest += 1;
        Pushed {
            sequence: state.newest,
            frame: state.next_frame(),
        }
    }

    /// Appends the start of a statement that was announced, which settles it.
    pub(crate) fn push_announced(
        &mut self,
        announced: &Announcement,
        started: &Started<'_>,
    ) -> Pushed {
        self.0.settle(announced);
        self.push(started)
    }

    /// Gives back the place of a statement whose last record this was.
    pub(crate) fn release(&mut self, place: Reservation) {
        let state = &mut *self.0;
        state.reserved_bytes = state.reserved_bytes.saturating_sub(place.into_bytes());
    }
}

impl Outbox {
    /// Appends small records whether there is room or not. What bounds the excess is that only records with a promised
    /// place, or for which [`Outbox::has_room`] was asked, or that end a session come here.
    pub(crate) fn append<R>(&self, records: impl FnOnce(&mut Appending<'_>) -> R) -> R {
        self.append_large(None, records)
    }

    /// Appends a record of any size, likewise.
    pub(crate) fn push(&self, event: &impl Encode) -> Pushed {
        let large = Some(event.large_bytes()).filter(|bytes| *bytes >= LARGE_RECORD_BYTES);
        if large.is_some() {
            self.flush();
        }
        self.append_large(large, |appending| appending.push(event))
    }

    fn append_large<R>(
        &self,
        large: Option<usize>,
        records: impl FnOnce(&mut Appending<'_>) -> R,
    ) -> R {
        let mut state = self.state.lock();
        if let Some(bytes) = large {
            state.pending.expect_large(bytes + RECORD_OVERHEAD_BYTES);
        }
        let reserved = state.reserved_bytes;
        let pushed = records(&mut Appending(&mut state));
        let came_back = state.reserved_bytes < reserved;
        let tells_room = came_back && std::mem::take(&mut state.room_wanted);
        let is_large = state.pending.bytes() >= MAX_PENDING_BYTES && self.is_sound();
        let wakes_writer = !std::mem::replace(&mut state.is_looked_after, true);
        drop(state);
        if is_large {
            self.flush();
        }
        if wakes_writer {
            self.unwritten.notify_one();
        }
        if tells_room {
            self.tell_room();
        }
        pushed
    }

    /// Notes a statement that may run as soon as its bytes are forwarded, though its record begins later.
    pub(crate) fn announce(&self, started: &Started<'_>) -> Announcement {
        let mut state = self.state.lock();
        state.pending.notes.announce(started);
        state.announce(started.query_id)
    }

    /// An announced statement does not run.
    pub(crate) fn settle(&self, announced: &Announcement) {
        let mut state = self.state.lock();
        state.settle(announced);
        state.pending.notes.settle(announced.query_id);
    }
}
