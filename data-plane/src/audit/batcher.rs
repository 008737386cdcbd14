//! When a batch of records is sent: enough of them, enough bytes, old enough, or waited for. The clock is an argument.

use std::time::{Duration, Instant};

/// How long a commit that somebody waits for is put off, so that others can share it. A commit takes longer, and those
/// who come too late wait for two.
const SHARING: Duration = Duration::from_millis(1);

/// The closings of a batch that nobody waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) max_records: u64,
    pub(crate) max_bytes: usize,
    /// Of one with fewer than [`BatchLimits::many_records`].
    pub(crate) max_age: Duration,
    /// Where so many come in that time, they gather for twice as long.
    pub(crate) many_records: u64,
}

/// What to do about the records that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing waits.
    Idle,
    /// Ask again then, or when there is more.
    Wait(Instant),
    Send,
}

/// Remembers since when records wait.
#[derive(Debug)]
pub(crate) struct Batcher {
    limits: BatchLimits,
    waiting_since: Option<Instant>,
    /// Since when somebody waits for the commit of a record.
    awaited_since: Option<Instant>,
    /// How many waited for the last commit that was waited for, and how many more came while it was made.
    shared_by: u64,
    came_late: u64,
}

impl Batcher {
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            waiting_since: None,
            awaited_since: None,
            shared_by: 0,
            came_late: 0,
        }
    }

    /// Decides about `records` that wait with `bytes`. After `Send` the wait of the rest begins anew.
    pub(crate) fn decide(&mut self, records: u64, bytes: usize, now: Instant) -> Decision {
        if records == 0 {
            self.waiting_since = None;
            return Decision::Idle;
        }
        let since = *self.waiting_since.get_or_insert(now);
        let due = match records < self.limits.many_records {
            true => since + self.limits.max_age,
            false => since + 2 * self.limits.max_age,
        };
        if records >= self.limits.max_records || bytes >= self.limits.max_bytes || now >= due {
            self.waiting_since = None;
            return Decision::Send;
        }
        Decision::Wait(due)
    }

    /// So many sessions wait for the commit behind one that is being made.
    pub(crate) fn come_late(&mut self, sessions: u64) {
        self.came_late = self.came_late.max(sessions);
    }

    /// Decides when `sessions` wait for a commit and none is being made that somebody waits for. A lone one goes at once;
    /// where there were several, those who were told of the last commit are given a moment to come again: otherwise one
    /// half would always wait for the commit of the other.
    pub(crate) fn decide_awaited(&mut self, sessions: u64, now: Instant) -> Decision {
        let due = *self.awaited_since.get_or_insert(now) + SHARING;
        if sessions < self.shared_by + self.came_late && now < due {
            return Decision::Wait(due);
        }
        (self.shared_by, self.came_late) = (sessions, 0);
        (self.awaited_since, self.waiting_since) = (None, None);
        Decision::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batcher() -> Batcher {
        Batcher::new(BatchLimits {
            max_records: 10,
            max_bytes: 1000,
            max_age: Duration::from_millis(20),
            many_records: 5,
        })
    }

    #[test]
    fn count_and_bytes_close_a_batch_at_once() {
        let now = Instant::now();
        assert_eq!(batcher().decide(10, 1, now), Decision::Send);
        assert_eq!(batcher().decide(1, 1000, now), Decision::Send);
        assert_eq!(batcher().decide(0, 0, now), Decision::Idle);
    }

    #[test]
    fn who_shared_a_commit_is_waited_for_a_moment() {
        let (mut batcher, now) = (batcher(), Instant::now());
        assert_eq!(batcher.decide_awaited(1, now), Decision::Send);
        assert_eq!(batcher.decide_awaited(1, now), Decision::Send);
        assert_eq!(batcher.decide_awaited(3, now), Decision::Send);
        let due = now + SHARING;
        assert_eq!(batcher.decide_awaited(1, now), Decision::Wait(due));
        assert_eq!(batcher.decide_awaited(3, now), Decision::Send);
        assert_eq!(batcher.decide_awaited(2, now), Decision::Wait(due));
        assert_eq!(batcher.decide_awaited(2, due), Decision::Send);
        assert_eq!(batcher.decide_awaited(2, due), Decision::Send);
        batcher.come_late(1);
        assert_eq!(
            batcher.decide_awaited(2, due),
            Decision::Wait(due + SHARING)
        );
        assert_eq!(batcher.decide_awaited(3, due), Decision::Send);
    }

    #[test]
    fn many_gather_for_longer() {
        let (mut batcher, now) = (batcher(), Instant::now());
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        assert_eq!(batcher.decide(1, 1, now), Decision::Wait(at(20)));
        assert_eq!(batcher.decide(5, 5, at(20)), Decision::Wait(at(40)));
        assert_eq!(batcher.decide(9, 9, at(40)), Decision::Send);
    }

    #[test]
    fn age_counts_from_the_first_record() {
        let (mut batcher, now) = (batcher(), Instant::now());
        let due = now + Duration::from_millis(20);
        assert_eq!(batcher.decide(1, 1, now), Decision::Wait(due));
        let later = now + Duration::from_millis(19);
        assert_eq!(batcher.decide(2, 2, later), Decision::Wait(due));
        assert_eq!(batcher.decide(2, 2, due), Decision::Send);
        let next = due + Duration::from_millis(20);
        assert_eq!(batcher.decide(1, 1, due), Decision::Wait(next));
    }
}
