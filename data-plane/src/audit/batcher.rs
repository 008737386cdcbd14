//! When a batch of records is sent: enough of them, enough bytes, or old enough. The clock is an argument.

use std::time::{Duration, Instant};

/// The three closings of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) max_records: u64,
    pub(crate) max_bytes: usize,
    pub(crate) max_age: Duration,
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
}

impl Batcher {
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            waiting_since: None,
        }
    }

    /// Decides about `records` that wait with `bytes`. After `Send` the wait of the rest begins anew.
    pub(crate) fn decide(&mut self, records: u64, bytes: usize, now: Instant) -> Decision {
        if records == 0 {
            self.waiting_since = None;
            return Decision::Idle;
        }
        let due = *self.waiting_since.get_or_insert(now) + self.limits.max_age;
        if records >= self.limits.max_records || bytes >= self.limits.max_bytes || now >= due {
            self.waiting_since = None;
            return Decision::Send;
        }
        Decision::Wait(due)
    }

    /// Closes the batch at once.
    pub(crate) fn send_now(&mut self) -> Decision {
        self.waiting_since = None;
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
