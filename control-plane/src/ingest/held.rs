//! Records that came in and are not on their way into storage yet, and what is to be done about them. The clock is an argument.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// Records of several batches that are there already are stored in one transaction: what one costs is then shared. Beyond
/// some thousand there is little left to share.
const MAX_RECORDS: usize = 12_000;
/// The same in batches that are not durable, each a message of at most 8 MiB: no more is taken in ahead of storage.
const MAX_BATCHES: usize = 4;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What is waited for and larger than this is stored at once: beside its own cost that of a transaction is small.
const MAX_JOURNALED_BYTES: usize = 64 * 1024;
/// How long durable records wait for others to be stored with.
const MAX_AGE: Duration = Duration::from_millis(100);

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until more comes in or what is under way is done.
    Wait,
    /// Nothing, until then at the latest.
    WaitUntil(Instant),
    /// Make durable what is not.
    Journal,
    /// Store all of it.
    Store,
}

/// What is under way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UnderWay {
    /// A transaction that stores records.
    pub(super) stores: bool,
    /// A statement that makes records durable.
    pub(super) journals: bool,
}

/// Records that follow one another and what is stored or on its way there.
#[derive(Debug)]
pub(super) struct Held {
    /// The record behind which they begin.
    behind: u64,
    records: Vec<Bytes>,
    bytes: usize,
    /// Records up to this one are durable, whether they are held or not.
    durable: u64,
    /// Bytes of those that are not, and the batches they came in.
    undurable_bytes: usize,
    undurable_batches: usize,
    /// Somebody waits for the records up to this one.
    awaited: u64,
    /// When the first one came.
    since: Option<Instant>,
}

impl Held {
    /// Nothing yet, where the stored record ends with `committed`.
    pub(super) fn behind(committed: u64) -> Self {
        Self {
            behind: committed,
            records: Vec::new(),
            bytes: 0,
            durable: committed,
            undurable_bytes: 0,
            undurable_batches: 0,
            awaited: committed,
            since: None,
        }
    }

    /// The last record that came in.
    pub(super) fn last(&self) -> u64 {
        self.behind + self.records.len() as u64
    }

    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.records.len() < MAX_RECORDS
            && self.bytes < MAX_BYTES
            && self.undurable_batches < MAX_BATCHES
    }

    /// Takes records in that follow the last one.
    pub(super) fn add(&mut self, records: Vec<Bytes>, is_awaited: bool, now: Instant) {
        let bytes: usize = records.iter().map(Bytes::len).sum();
        self.bytes += bytes;
        self.undurable_bytes += bytes;
        self.undurable_batches += 1;
        self.since.get_or_insert(now);
        match self.records.is_empty() {
            true => self.records = records,
            false => self.records.extend(records),
        }
        if is_awaited {
            self.awaited = self.last();
        }
    }

    /// What to do, where `ends` says that nothing more will come.
    pub(super) fn next_step(&self, under_way: UnderWay, ends: bool, now: Instant) -> Step {
        if self.is_empty() || under_way.journals {
            return Step::Wait;
        }
        let is_durable = self.last() <= self.durable;
        let is_small = self.undurable_bytes <= MAX_JOURNALED_BYTES;
        // The journal has no gaps: what is being stored and is not in it must be there first.
        let follows_durable = self.durable >= self.behind;
        if self.awaited > self.durable && is_small && follows_durable {
            return Step::Journal;
        }
        let due = self.since.unwrap_or(now) + MAX_AGE;
        match under_way.stores {
            true => Step::Wait,
            false if is_durable && self.has_room() && !ends && now < due => Step::WaitUntil(due),
            false => Step::Store,
        }
    }

    /// The records that are not durable, and the position of the first one. They are taken to be all that is held.
    pub(super) fn undurable(&self) -> (u64, Vec<Bytes>) {
        let known = usize::try_from(self.durable.saturating_sub(self.behind)).unwrap_or(usize::MAX);
        let records = self.records.get(known..).unwrap_or_default();
        (self.durable + 1, records.to_vec())
    }

    /// Records up to `sequence` are durable, all of them known.
    pub(super) fn made_durable(&mut self, sequence: u64) {
        if sequence > self.durable {
            self.durable = sequence;
            let (_, left) = self.undurable();
            self.undurable_bytes = left.iter().map(Bytes::len).sum();
            if left.is_empty() {
                self.undurable_batches = 0;
            }
        }
    }

    /// All records, on their way into storage: the one behind which they begin, the last one, and they.
    pub(super) fn hand_over(&mut self) -> ((u64, u64), Vec<Bytes>) {
        let span = (self.behind, self.last());
        self.behind = span.1;
        (self.bytes, self.undurable_bytes, self.undurable_batches) = (0, 0, 0);
        self.since = None;
        (span, std::mem::take(&mut self.records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: UnderWay = UnderWay {
        stores: false,
        journals: false,
    };
    const STORES: UnderWay = UnderWay {
        stores: true,
        journals: false,
    };

    fn records(count: usize) -> Vec<Bytes> {
        vec![Bytes::from_static(&[7; 100]); count]
    }

    #[test]
    fn what_nobody_waits_for_is_stored_when_storage_is_free() {
        let (mut held, now) = (Held::behind(10), Instant::now());
        assert_eq!(held.next_step(IDLE, false, now), Step::Wait);
        held.add(records(3), false, now);
        assert_eq!(held.next_step(STORES, false, now), Step::Wait);
        assert_eq!(held.next_step(IDLE, false, now), Step::Store);
        let (span, handed) = held.hand_over();
        assert_eq!((span, handed.len()), ((10, 13), 3));
        assert_eq!(held.next_step(IDLE, true, now), Step::Wait);
    }

    #[test]
    fn what_is_waited_for_is_journaled_and_stored_later() {
        let (mut held, now) = (Held::behind(10), Instant::now());
        held.add(records(3), true, now);
        assert_eq!(held.next_step(IDLE, false, now), Step::Journal);
        let journals = UnderWay {
            journals: true,
            ..IDLE
        };
        assert_eq!(held.next_step(journals, true, now), Step::Wait);
        assert_eq!(held.undurable().0, 11);
        held.made_durable(13);
        let due = now + MAX_AGE;
        assert_eq!(held.next_step(IDLE, false, now), Step::WaitUntil(due));
        assert_eq!(held.next_step(IDLE, true, now), Step::Store, "all came");
        assert_eq!(held.next_step(IDLE, false, due), Step::Store);
        assert_eq!(held.next_step(STORES, false, due), Step::Wait);
        held.add(records(2), true, now);
        let (first, undurable) = held.undurable();
        assert_eq!((first, undurable.len()), (14, 2));
        assert_eq!(held.next_step(IDLE, false, due), Step::Journal);
        held.hand_over();
        assert_eq!(held.durable(), 13);
    }

    #[test]
    fn the_journal_follows_what_is_durable() {
        let (mut held, now) = (Held::behind(10), Instant::now());
        held.add(records(3), false, now);
        held.hand_over();
        held.add(records(1), true, now);
        assert_eq!(held.next_step(STORES, false, now), Step::Wait, "a gap");
        held.made_durable(13);
        assert_eq!(held.next_step(STORES, false, now), Step::Journal);
    }

    #[test]
    fn much_is_stored_at_once() {
        let (mut held, now) = (Held::behind(0), Instant::now());
        held.add(records(MAX_JOURNALED_BYTES / 100 + 1), true, now);
        assert_eq!(held.next_step(IDLE, false, now), Step::Store);
        assert!(held.has_room());
        held.made_durable(held.last());
        held.add(records(MAX_RECORDS), true, now);
        assert!(!held.has_room());
        held.hand_over();
        for _ in 0..MAX_BATCHES {
            assert!(held.has_room());
            held.add(records(1), false, now);
        }
        assert!(!held.has_room());
        held.made_durable(held.last());
        assert!(held.has_room());
    }
}
