//! What is known of the records: how far they are made, written and committed, and what they take.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use slab::Slab;
use uuid::Uuid;

use super::WakeAt;
use crate::audit::window::{Held, Window};
use crate::audit::writer::{Pending, Written};

/// Small frames share pieces of memory of this size. They go in the order in which they came, so a piece lives hardly
/// longer than what is in it.
const PIECE_BYTES: usize = 32 * 1024;

/// The committed sequence that the control plane names does not fit this run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the control plane has committed up to {committed}, this run keeps records from {first} up to {newest}"
)]
pub(crate) struct CursorMismatch {
    committed: u64,
    first: u64,
    newest: u64,
}

/// How far a control plane has taken the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Kept for good, though whoever serves this run next may want it again.
    pub(crate) durable: u64,
    /// Stored, and not wanted again.
    pub(crate) committed: u64,
}

impl Acknowledged {
    /// All up to `sequence` is stored.
    pub(crate) fn stored(sequence: u64) -> Self {
        Self {
            durable: sequence,
            committed: sequence,
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) pending: Pending,
    /// What was pending before, emptied.
    spare: Option<Pending>,
    /// Frames that were made of what was pending, and those of them that are written.
    frames: (u64, u64),
    /// Sequence number of the newest record ever pushed, the newest in a frame, the newest that a control plane has made
    /// durable, and the newest that is stored and need not be kept here.
    pub(super) newest: u64,
    pub(super) spooled: u64,
    pub(super) durable: u64,
    pub(super) committed: u64,
    /// Bytes of all records in frames.
    pub(super) spooled_total: u64,
    pub(super) window: Window,
    /// What is left of the last piece for frames in memory.
    piece: BytesMut,
    pub(super) segments: VecDeque<SegmentUse>,
    /// Committed, to be removed.
    pub(super) dropped: Vec<SegmentUse>,
    /// Statements that may run and whose record has not begun.
    pub(super) announced: Slab<Announced>,
    pub(super) used_bytes: u64,
    pub(super) reserved_bytes: usize,
    pub(super) is_unlocked: bool,
    pub(super) room_wanted: bool,
    pub(super) wake: Option<WakeAt>,
    /// Sequence number of the newest record that a session waits for to be durable.
    pub(super) awaited: u64,
    /// Sessions that wait for records which are not on their way, about.
    pub(super) awaiting: u64,
    pub(super) is_publishing: bool,
    /// Whoever writes what no session waits for will look at what is pending soon.
    pub(super) is_looked_after: bool,
}

/// A statement that may run though its record has not begun.
#[derive(Debug)]
pub(super) struct Announced {
    pub(super) query_id: Uuid,
    /// The one that says so.
    pub(super) frame: u64,
}

/// What the spool says of a statement that may run; settled once.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub(crate) query_id: Uuid,
    /// What [`super::Outbox::flush_through`] wants to know.
    pub(crate) frame: u64,
    key: usize,
}

#[derive(Debug)]
pub(super) struct SegmentUse {
    pub(super) number: u32,
    pub(super) last_frame: u64,
    pub(super) last_sequence: u64,
    pub(super) bytes: u64,
    pub(super) committed_bytes: u64,
}

impl State {
    pub(super) fn new(memory_bytes: usize) -> Self {
        Self {
            pending: Pending::default(),
            spare: None,
            frames: (0, 0),
            newest: 0,
            spooled: 0,
            durable: 0,
            committed: 0,
            spooled_total: 0,
            window: Window::new(memory_bytes),
            piece: BytesMut::new(),
            segments: VecDeque::new(),
            dropped: Vec::new(),
            announced: Slab::new(),
            used_bytes: 0,
            reserved_bytes: 0,
            is_unlocked: false,
            room_wanted: false,
            wake: None,
            awaited: 0,
            awaiting: 0,
            is_publishing: false,
            is_looked_after: false,
        }
    }

    /// Bytes of all records up to `sequence`; 0 when that is too long ago to be known.
    pub(super) fn total_at(&self, sequence: u64) -> u64 {
        if sequence >= self.spooled {
            return self.spooled_total;
        }
        self.window.total_at(sequence).unwrap_or_default()
    }

    pub(super) fn used(&self) -> usize {
        usize::try_from(self.used_bytes).unwrap_or(usize::MAX) + self.pending.bytes()
    }

    pub(super) fn take_pending(&mut self) -> Option<Pending> {
        if self.pending.is_empty() {
            return None;
        }
        self.frames.0 += 1;
        let next = self.spare.take().unwrap_or_default();
        let mut pending = std::mem::replace(&mut self.pending, next);
        pending.first_sequence = self.newest + 1 - u64::from(pending.records);
        // What is in the writer's hands still takes its place.
        self.used_bytes += pending.bytes() as u64;
        Some(pending)
    }

    /// The number of the frame that what is pending will be written in.
    pub(super) fn next_frame(&self) -> u64 {
        self.frames.0 + 1
    }

    pub(super) fn announce(&mut self, query_id: Uuid) -> Announcement {
        let frame = self.next_frame();
        Announcement {
            query_id,
            frame,
            key: self.announced.insert(Announced { query_id, frame }),
        }
    }

    pub(super) fn settle(&mut self, announced: &Announcement) {
        self.announced.try_remove(announced.key);
    }

    pub(super) fn written_frame(&self) -> u64 {
        self.frames.1
    }

    pub(super) fn add(&mut self, pending: Pending, written: Written) {
        self.frames.1 += 1;
        self.used_bytes =
            self.used_bytes.saturating_sub(pending.bytes() as u64) + written.disk_bytes;
        let last_sequence = pending.first_sequence + u64::from(pending.records) - 1;
        if self.segments.back().map(|last| last.number) != Some(written.place.segment) {
            self.segments.push_back(SegmentUse {
                number: written.place.segment,
                last_frame: self.frames.1,
                last_sequence,
                bytes: 0,
                committed_bytes: 0,
            });
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += written.disk_bytes;
            segment.last_frame = self.frames.1;
            segment.last_sequence = last_sequence;
        }
        self.spooled = last_sequence;
        if pending.records > 0 {
            let before = self.spooled_total;
            self.spooled_total += pending.sent.len() as u64;
            let sent = (!pending.has_large).then(|| self.copied(pending.sent.as_slice()));
            self.window.push(Held {
                first_sequence: pending.first_sequence,
                last_sequence,
                sent,
                totals: (before, self.spooled_total),
                place: written.place,
                disk_bytes: written.disk_bytes,
            });
        }
        self.spare = pending.emptied();
    }

    fn copied(&mut self, sent: &[u8]) -> Bytes {
        if sent.len() > PIECE_BYTES / 4 {
            return Bytes::copy_from_slice(sent);
        }
        if self.piece.capacity() < sent.len() {
            self.piece = BytesMut::with_capacity(PIECE_BYTES);
        }
        self.piece.extend_from_slice(sent);
        self.piece.split().freeze()
    }

    pub(super) fn wakes(&mut self) -> bool {
        let is_due = self.wake.is_some_and(|wake| {
            self.spooled >= wake.sequence || self.spooled_total >= wake.total_bytes
        });
        if is_due {
            self.wake = None;
        }
        is_due
    }

    pub(super) fn acknowledge(&mut self, acknowledged: Acknowledged) -> Result<(), CursorMismatch> {
        let Acknowledged { durable, committed } = acknowledged;
        if durable.max(committed) > self.spooled || committed < self.committed {
            return Err(CursorMismatch {
                committed: durable.max(committed),
                first: self.committed + 1,
                newest: self.spooled,
            });
        }
        self.committed = committed;
        self.durable = self.durable.max(durable).max(committed);
        let (segments, used) = (&mut self.segments, &mut self.used_bytes);
        self.window.acknowledge(committed, |held| {
            if let Some(last) = segments.back_mut()
                && last.number == held.place.segment
            {
                last.committed_bytes += held.disk_bytes;
                *used = used.saturating_sub(held.disk_bytes);
            }
        });
        while segments.len() > 1
            && segments
                .front()
                .is_some_and(|front| front.last_sequence <= committed)
        {
            if let Some(front) = segments.pop_front() {
                *used = used.saturating_sub(front.bytes - front.committed_bytes);
                self.dropped.push(front);
            }
        }
        Ok(())
    }
}
