//! What this proxy knows of the storage database's clock, the one clock that all proxies share: not the time, but
//! between which bounds it surely is.
//!
//! A heartbeat leaves at one moment and its answer arrives at a later one; in between, storage read its clock. How long
//! the two ways took does not matter for the bounds, only for how far apart they are.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock::process_us;

/// How much clocks may run apart: ten times what an ordinary quartz does.
const DRIFT_PER_MILLION: u64 = 500;

/// The bounds, shared by all sessions.
#[derive(Debug, Default)]
pub(crate) struct StorageClock {
    known: Mutex<Option<Known>>,
}

/// Storage's time less this process's, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    least: i64,
    most: i64,
    at: Instant,
}

impl Known {
    fn widened(self, now: Instant) -> Self {
        let apart = now
            .saturating_duration_since(self.at)
            .max(self.at.saturating_duration_since(now));
        let drift = signed(micros(apart) / (1_000_000 / DRIFT_PER_MILLION) + 1);
        Self {
            least: self.least - drift,
            most: self.most + drift,
            at: now,
        }
    }
}

impl StorageClock {
    /// Storage's clock showed `storage_us` at some moment between `sent` and `received`.
    pub(crate) fn observe(&self, sent: Instant, received: Instant, storage_us: i64) {
        let seen = Known {
            least: storage_us - signed(process_us(received)),
            most: storage_us - signed(process_us(sent)),
            at: received,
        };
        let mut known = self.known.lock();
        *known = match known.map(|before| before.widened(received)) {
            // Both are true, so what both say is.
            Some(before) if before.least <= seen.most && seen.least <= before.most => Some(Known {
                least: before.least.max(seen.least),
                most: before.most.min(seen.most),
                at: received,
            }),
            // The first time, or another database's clock.
            _ => Some(seen),
        };
    }

    /// The earliest time that storage's clock can have shown at `instant`; `None` before the first answer.
    pub(crate) fn earliest_us(&self, instant: Instant) -> Option<i64> {
        let known = self.known.lock().map(|known| known.widened(instant))?;
        Some(known.least + signed(process_us(instant)))
    }

    /// The latest.
    pub(crate) fn latest_us(&self, instant: Instant) -> Option<i64> {
        let known = self.known.lock().map(|known| known.widened(instant))?;
        Some(known.most + signed(process_us(instant)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn bounds(clock: &StorageClock, at: Instant) -> (i64, i64) {
        (clock.earliest_us(at).unwrap(), clock.latest_us(at).unwrap())
    }

    #[test]
    fn every_answer_narrows_the_bounds_and_time_widens_them() {
        let clock = StorageClock::default();
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(clock.earliest_us(now), None);
        // The way there took 8 ms, back 2 ms.
        clock.observe(now, now + 10 * MS, 5_008_000);
        let (earliest, latest) = bounds(&clock, now + 10 * MS);
        assert!(earliest <= 5_010_000 && latest >= 5_010_000);
        assert!(latest - earliest < 10_100);
        // The other way round: only the truth is left.
        let later = now + 100 * MS;
        clock.observe(later, later + 10 * MS, 5_102_000);
        let (earliest, latest) = bounds(&clock, later + 10 * MS);
        assert!(earliest <= 5_110_000 && latest >= 5_110_000);
        assert!(latest - earliest < 4_300, "{}", latest - earliest);
        let (earliest, latest) = bounds(&clock, later + Duration::from_secs(1000));
        assert!(latest - earliest > 1_000_000);
    }

    #[test]
    fn another_clock_replaces_the_one_before() {
        let clock = StorageClock::default();
        let now = Instant::now() + Duration::from_secs(1);
        clock.observe(now, now + MS, 1_000_000);
        clock.observe(now + 2 * MS, now + 3 * MS, 90_000_000);
        let (earliest, latest) = bounds(&clock, now + 3 * MS);
        assert!(earliest <= 90_001_000 && latest >= 90_000_000 && latest - earliest < 1_100);
    }
}
