//! The two clocks: one that only goes forward, for durations; one for people and records.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// Where this process begins to count.
static PROCESS_BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One look at both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// The same as [`process_us`] counts it.
    pub(crate) process_us: u64,
    pub(crate) unix_us: i64,
}

impl Now {
    pub(crate) fn read() -> Self {
        let instant = Instant::now();
        Self {
            instant,
            process_us: process_us(instant),
            unix_us: unix_us(),
        }
    }

    pub(crate) fn micros_since(self, begun: Self) -> u64 {
        self.process_us.saturating_sub(begun.process_us)
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

/// A time as people read it, to the second; from the year 1970 on, as far as a year has four digits.
pub(crate) fn rfc3339(unix_us: i64) -> String {
    const LAST_SECOND_OF_9999: i64 = 253_402_300_799;
    let seconds = (unix_us / 1_000_000).clamp(0, LAST_SECOND_OF_9999);
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds.unsigned_abs());
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Microseconds on a clock of this process that only goes forward; never 0.
pub(crate) fn process_us(instant: Instant) -> u64 {
    let since = instant.saturating_duration_since(*PROCESS_BEGAN);
    u64::try_from(since.as_micros()).map_or(u64::MAX, |us| us.saturating_add(1))
}

/// The moment that [`process_us`] counted, a microsecond early at most.
pub(crate) fn process_instant(us: u64) -> Instant {
    let since = Duration::from_micros(us.saturating_sub(1));
    PROCESS_BEGAN.checked_add(since).unwrap_or(*PROCESS_BEGAN)
}
