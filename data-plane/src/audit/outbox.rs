//! The ordered, bounded store of records that are not yet acknowledged.
//!
//! Each record gets the next sequence number of this run, from 1, and is kept until the control plane says that it is
//! committed. A statement is forwarded only when its record has a place here. In this version the store is memory; a
//! spool on disk takes its place behind the same type.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use pglens_rpc::v1;
use tokio::sync::watch;

/// What a record costs besides its own bytes: the queue entry and the allocations in it.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// Records of this run in order, with the place that is promised to statements on their way.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    capacity_bytes: usize,
    /// Counts the times that room came back; whoever waits for room watches it.
    room: watch::Sender<u64>,
    /// The sequence number of the newest record; the publisher watches it.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    records: VecDeque<Stored>,
    /// Sequence number of the first record that is kept.
    first_sequence: u64,
    used_bytes: usize,
    reserved_bytes: usize,
}

#[derive(Debug)]
struct Stored {
    record: v1::Record,
    bytes: usize,
}

/// How much waits to be acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// Records in order that can be sent as one batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    pub(crate) records: Vec<v1::Record>,
}

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

impl Outbox {
    pub(crate) fn new(capacity_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                records: VecDeque::new(),
                first_sequence: 1,
                used_bytes: 0,
                reserved_bytes: 0,
            }),
            capacity_bytes,
            room: watch::Sender::new(0),
            newest: watch::Sender::new(0),
        })
    }

    /// Promises place for the records of one statement, if there is some.
    ///
    /// At most half of the capacity is promised, so that rows of running statements always find room again once
    /// records are acknowledged; otherwise promises could wait for rows that wait for promises.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let bytes = bytes + 2 * RECORD_OVERHEAD_BYTES;
        let mut state = self.state.lock();
        let reserved = state.reserved_bytes + bytes;
        if reserved > self.capacity_bytes / 2 || state.used_bytes + reserved > self.capacity_bytes {
            return None;
        }
        state.reserved_bytes = reserved;
        drop(state);
        Some(Reservation {
            outbox: Arc::clone(self),
            bytes,
        })
    }

    /// Whether `bytes` of rows would find room now.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let state = self.state.lock();
        state.used_bytes + state.reserved_bytes + bytes + RECORD_OVERHEAD_BYTES
            <= self.capacity_bytes
    }

    /// Appends a record whether there is room or not. What bounds the excess is that only records with a promised
    /// place, or for which [`Outbox::has_room`] was asked, or that end a session come here.
    pub(crate) fn push(&self, event: v1::record::Event) {
        let record = v1::Record { event: Some(event) };
        let bytes = cost(&record);
        let mut state = self.state.lock();
        state.used_bytes += bytes;
        state.records.push_back(Stored { record, bytes });
        let newest = state.newest();
        drop(state);
        self.newest.send_replace(newest);
    }

    /// Fires whenever room came back.
    pub(crate) fn watch_room(&self) -> watch::Receiver<u64> {
        self.room.subscribe()
    }

    /// Shows the sequence number of the newest record.
    pub(crate) fn watch_newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    pub(crate) fn depth(&self) -> Depth {
        let state = self.state.lock();
        Depth {
            records: state.records.len(),
            bytes: state.used_bytes,
        }
    }

    /// Bytes of the records behind `sequence`, counted up to `limit`.
    pub(crate) fn bytes_behind(&self, sequence: u64, limit: usize) -> usize {
        let state = self.state.lock();
        let mut bytes = 0;
        for stored in state.records.iter().skip(state.offset_behind(sequence)) {
            bytes += stored.bytes;
            if bytes >= limit {
                break;
            }
        }
        bytes
    }

    /// A copy of the records behind `sequence`, up to the limits but at least one.
    pub(crate) fn batch_behind(
        &self,
        sequence: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Option<Batch> {
        let state = self.state.lock();
        let offset = state.offset_behind(sequence);
        let mut records = Vec::new();
        let mut bytes = 0;
        for stored in state.records.iter().skip(offset).take(max_records) {
            bytes += stored.bytes;
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(stored.record.clone());
        }
        let first_sequence = state.first_sequence + offset as u64;
        let count = records.len() as u64;
        (count > 0).then(|| Batch {
            first_sequence,
            last_sequence: first_sequence + count - 1,
            records,
        })
    }

    /// Drops everything up to `committed`.
    ///
    /// # Errors
    /// When that is not a sequence number this run can have got acknowledged.
    pub(crate) fn acknowledge(&self, committed: u64) -> Result<(), CursorMismatch> {
        let mut state = self.state.lock();
        let newest = state.newest();
        if committed > newest || committed + 1 < state.first_sequence {
            return Err(CursorMismatch {
                committed,
                first: state.first_sequence,
                newest,
            });
        }
        while state.first_sequence <= committed {
            let Some(stored) = state.records.pop_front() else {
                break;
            };
            state.first_sequence += 1;
            state.used_bytes = state.used_bytes.saturating_sub(stored.bytes);
        }
        drop(state);
        self.room.send_modify(|count| *count += 1);
        Ok(())
    }

    fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.reserved_bytes = state.reserved_bytes.saturating_sub(bytes);
        drop(state);
        self.room.send_modify(|count| *count += 1);
    }
}

impl State {
    /// Sequence number of the newest record ever pushed.
    fn newest(&self) -> u64 {
        self.first_sequence + self.records.len() as u64 - 1
    }

    fn offset_behind(&self, sequence: u64) -> usize {
        usize::try_from((sequence + 1).saturating_sub(self.first_sequence)).unwrap_or(usize::MAX)
    }
}

fn cost(record: &v1::Record) -> usize {
    prost::Message::encoded_len(record) + RECORD_OVERHEAD_BYTES
}

/// A promised place in the outbox; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    outbox: Arc<Outbox>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.outbox.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: usize) -> v1::record::Event {
        v1::record::Event::RowsCaptured(v1::RowsCaptured {
            data: vec![0; data].into(),
            ..Default::default()
        })
    }

    #[test]
    fn records_are_kept_until_they_are_acknowledged() {
        let outbox = Outbox::new(10_000);
        for _ in 0..5 {
            outbox.push(event(10));
        }
        let batch = outbox.batch_behind(0, 3, usize::MAX).unwrap();
        assert_eq!((batch.first_sequence, batch.last_sequence), (1, 3));
        outbox.acknowledge(2).unwrap();
        let batch = outbox.batch_behind(2, 10, usize::MAX).unwrap();
        assert_eq!((batch.first_sequence, batch.last_sequence), (3, 5));
        assert_eq!(outbox.depth().records, 3);
        outbox.acknowledge(5).unwrap();
        assert_eq!(outbox.depth(), Depth::default());
        assert!(outbox.batch_behind(5, 10, usize::MAX).is_none());
        assert!(
            outbox.acknowledge(6).is_err(),
            "nothing beyond the newest can be committed"
        );
        assert!(
            outbox.acknowledge(1).is_err(),
            "what was dropped cannot be sent again"
        );
    }

    #[test]
    fn batches_are_cut_by_bytes_but_never_empty() {
        let outbox = Outbox::new(1_000_000);
        outbox.push(event(1000));
        outbox.push(event(1000));
        let batch = outbox.batch_behind(0, 10, 10).unwrap();
        assert_eq!(batch.records.len(), 1);
        assert!(outbox.bytes_behind(0, usize::MAX) > 2000);
        assert!(outbox.bytes_behind(1, usize::MAX) < 2000);
    }

    #[test]
    fn promises_take_half_and_come_back() {
        let outbox = Outbox::new(10_000);
        let promised = outbox.try_reserve(4000).unwrap();
        assert!(
            outbox.try_reserve(4000).is_none(),
            "half is for the rows of running statements"
        );
        assert!(outbox.has_room(5000));
        assert!(!outbox.has_room(6000));
        let mut room = outbox.watch_room();
        drop(promised);
        assert!(room.has_changed().unwrap());
        room.mark_unchanged();
        assert!(outbox.try_reserve(4000).is_some());
    }

    #[test]
    fn a_full_outbox_promises_nothing_until_it_is_acknowledged() {
        let outbox = Outbox::new(4000);
        outbox.push(event(3000));
        assert!(outbox.try_reserve(1000).is_none());
        outbox.acknowledge(1).unwrap();
        assert!(outbox.try_reserve(1000).is_some());
    }
}
