//! The newest frames in memory, so that a control plane that keeps up is served without reading the disk.

use std::collections::VecDeque;

use bytes::Bytes;
use pglens_rpc::v1::RecordBatch;
use prost::{DecodeError, Message as _};

use super::folder::Place;

/// A frame that was written to the spool.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// Its records, unless they are to be read from the disk.
    pub(crate) sent: Option<Bytes>,
    /// Bytes of all records of the run before its first one, and up to its last one.
    pub(crate) totals: (u64, u64),
    pub(crate) place: Place,
    pub(crate) disk_bytes: u64,
}

/// Where the records of a frame are.
#[derive(Debug)]
pub(crate) enum Kept {
    /// With the sequence numbers of the first and the last.
    InMemory((u64, u64), Bytes),
    OnDisk(Place),
}

/// Records in order that can be sent as one batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    /// `RecordBatch.records`, encoded, in pieces.
    pub(crate) records: Vec<Bytes>,
    pub(crate) bytes: usize,
    /// Sessions wait for them to be durable.
    pub(crate) is_awaited: bool,
}

/// How large a batch may get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimit {
    pub(crate) records: u64,
    pub(crate) bytes: usize,
}

impl Batch {
    /// Adds a frame unless that would go beyond the limit; the first one always fits.
    pub(crate) fn add(
        &mut self,
        (first, last): (u64, u64),
        sent: &Bytes,
        limit: BatchLimit,
    ) -> bool {
        let is_first = self.records.is_empty();
        let records = last.saturating_sub(if is_first { first } else { self.first_sequence }) + 1;
        let bytes = self.bytes + sent.len();
        if !is_first && (records > limit.records || bytes > limit.bytes) {
            return false;
        }
        if is_first {
            self.first_sequence = first;
        }
        self.last_sequence = last;
        self.bytes = bytes;
        self.records.push(sent.clone());
        true
    }

    /// The same without brief records, for control planes of earlier versions. It has up to 1 KiB more for each.
    ///
    /// # Errors
    /// When its records are none.
    pub(crate) fn in_full(self) -> Result<Self, DecodeError> {
        let records = RecordBatch::decode(self.records.concat().as_slice())?;
        let records = records.in_full().encode_to_vec();
        Ok(Self {
            bytes: records.len(),
            records: vec![records.into()],
            ..self
        })
    }
}

/// Frames in order, the oldest in front.
#[derive(Debug)]
pub(crate) struct Window {
    frames: VecDeque<Held>,
    bytes: usize,
    limit_bytes: usize,
}

impl Window {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            limit_bytes,
        }
    }

    /// Takes a frame in; the oldest ones make room for it.
    pub(crate) fn push(&mut self, held: Held) {
        self.bytes += cost(&held);
        self.frames.push_back(held);
        while self.bytes > self.limit_bytes && self.frames.len() > 1 {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Held> {
        let held = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(cost(&held));
        Some(held)
    }

    /// Drops what is committed; each frame is shown to `dropped`.
    pub(crate) fn acknowledge(&mut self, committed: u64, mut dropped: impl FnMut(&Held)) {
        while self
            .frames
            .front()
            .is_some_and(|front| front.last_sequence <= committed)
        {
            if let Some(held) = self.pop() {
                dropped(&held);
            }
        }
    }

    /// Whether it knows everything behind `sequence`.
    pub(crate) fn reaches(&self, sequence: u64) -> bool {
        self.frames
            .front()
            .is_some_and(|front| front.first_sequence <= sequence + 1)
    }

    /// Bytes of all records up to `sequence`, to the frame; `None` when it is not here.
    pub(crate) fn total_at(&self, sequence: u64) -> Option<u64> {
        let index = self.index_behind(sequence);
        match index.checked_sub(1) {
            Some(before) => self.frames.get(before).map(|held| held.totals.1),
            None => {
                let front = self.frames.front()?;
                Some(front.totals.0)
            }
        }
    }

    /// The frame with the record behind `sequence`; `None` when nothing is known of it.
    pub(crate) fn frame_behind(&self, sequence: u64) -> Option<Kept> {
        if !self.reaches(sequence) {
            return None;
        }
        let held = self.frames.get(self.index_behind(sequence))?;
        Some(match &held.sent {
            Some(sent) => Kept::InMemory((held.first_sequence, held.last_sequence), sent.clone()),
            None => Kept::OnDisk(held.place),
        })
    }

    /// A batch that takes nothing from the disk; `None` when something that belongs into it is there.
    pub(crate) fn batch_behind(&self, sequence: u64, limit: BatchLimit) -> Option<Batch> {
        if !self.reaches(sequence) {
            return None;
        }
        let mut batch = Batch::default();
        for held in self.frames.range(self.index_behind(sequence)..) {
            let sequences = (held.first_sequence, held.last_sequence);
            if !batch.add(sequences, held.sent.as_ref()?, limit) {
                break;
            }
        }
        (!batch.records.is_empty()).then_some(batch)
    }

    fn index_behind(&self, sequence: u64) -> usize {
        self.frames
            .partition_point(|held| held.last_sequence <= sequence)
    }
}

/// What a frame costs besides its bytes: its entry and its allocation.
const HELD_OVERHEAD_BYTES: usize = 128;

fn cost(held: &Held) -> usize {
    held.sent.as_ref().map_or(0, Bytes::len) + HELD_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(first: u64, last: u64, total: u64) -> Held {
        Held {
            first_sequence: first,
            last_sequence: last,
            sent: Some(vec![0; 100].into()),
            totals: (total - 100, total),
            place: Place {
                segment: 1,
                offset: total,
            },
            disk_bytes: 150,
        }
    }

    fn window() -> Window {
        let mut window = Window::new(10_000);
        window.push(held(1, 3, 100));
        window.push(held(4, 4, 200));
        window.push(held(5, 9, 300));
        window
    }

    const ALL: BatchLimit = BatchLimit {
        records: 1000,
        bytes: 1_000_000,
    };

    #[test]
    fn batches_are_whole_frames_within_the_limits() {
        let window = window();
        let check = |behind, limit, expected: (u64, u64, usize)| {
            let batch = window.batch_behind(behind, limit).unwrap();
            let got = (
                batch.first_sequence,
                batch.last_sequence,
                batch.records.len(),
            );
            assert_eq!(got, expected, "behind {behind}");
        };
        check(0, ALL, (1, 9, 3));
        check(2, ALL, (1, 9, 3));
        check(3, ALL, (4, 9, 2));
        check(0, BatchLimit { records: 4, ..ALL }, (1, 4, 2));
        check(0, BatchLimit { bytes: 150, ..ALL }, (1, 3, 1));
        check(0, BatchLimit { bytes: 1, ..ALL }, (1, 3, 1));
        assert!(window.batch_behind(9, ALL).is_none());
    }

    #[test]
    fn what_is_committed_goes_frame_by_frame() {
        let mut window = window();
        let mut dropped = 0;
        window.acknowledge(3, |held| dropped += held.disk_bytes);
        window.acknowledge(8, |held| dropped += held.disk_bytes);
        assert_eq!(dropped, 300);
        assert!(window.reaches(4) && window.reaches(7));
        assert!(!window.reaches(3));
        assert_eq!(window.total_at(4), Some(200));
        assert_eq!(window.total_at(9), Some(300));
    }

    #[test]
    fn frames_on_disk_are_named_and_batches_without_them_come_from_memory() {
        let mut window = window();
        let sent = None;
        window.push(Held {
            sent,
            ..held(10, 10, 400)
        });
        let two = BatchLimit { bytes: 250, ..ALL };
        assert_eq!(window.batch_behind(0, two).unwrap().last_sequence, 4);
        assert!(window.batch_behind(0, ALL).is_none());
        assert!(window.batch_behind(9, ALL).is_none());
        let in_memory = window.frame_behind(3);
        assert!(matches!(in_memory, Some(Kept::InMemory((4, 4), _))));
        let on_disk = window.frame_behind(9);
        assert!(matches!(on_disk, Some(Kept::OnDisk(place)) if place.offset == 400));
        assert!(window.frame_behind(10).is_none());
        assert_eq!(window.total_at(9), Some(300));
    }

    #[test]
    fn it_is_bounded() {
        let mut window = Window::new(500);
        for number in 1..100 {
            window.push(held(number, number, number * 100));
        }
        assert!(window.bytes <= 500);
        assert!(!window.reaches(1));
        assert!(window.reaches(98));
    }
}
