//! The two clocks: one that only goes forward, for durations; one for people and records.

use std::time::{Instant, SystemTime};

/// One look at both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) unix_us: i64,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self {
            instant: Instant::now(),
            unix_us: unix_us(),
        }
    }

    pub(crate) fn micros_since(self, begun: Self) -> u64 {
        let passed = self.instant.saturating_duration_since(begun.instant);
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Microseconds since 1970.
pub(crate) fn unix_us() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        })
}
