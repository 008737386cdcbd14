//! The two clocks: one that only goes forward, for durations; one for people and records.

use std::cell::Cell;
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
        let process_us = process_us(instant);
        Self {
            instant,
            process_us,
            unix_us: WALL.with(|wall| wall.unix_us(process_us)),
        }
    }

    pub(crate) fn micros_since(self, begun: Self) -> u64 {
        self.process_us.saturating_sub(begun.process_us)
    }
}

thread_local! {
    static WALL: Wall = Wall::default();
}

/// How far the clock for people is ahead of the other one, and when that was asked: ten times a second, since to look at
/// one clock costs half of two.
#[derive(Debug, Default)]
struct Wall(Cell<Option<(i64, u64)>>);

impl Wall {
    const ASKED_FOR_US: u64 = 100_000;

    fn unix_us(&self, process_us: u64) -> i64 {
        let process = i64::try_from(process_us).unwrap_or(i64::MAX);
        if let Some((ahead, asked_at)) = self.0.get()
            && process_us.abs_diff(asked_at) < Self::ASKED_FOR_US
        {
            return process.saturating_add(ahead);
        }
        let unix_us = unix_us();
        let ahead = unix_us.saturating_sub(process);
        self.0.set(Some((ahead, process_us)));
        unix_us
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
    let seconds = since.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(u64::from(since.subsec_micros()) + 1)
}

/// The moment that [`process_us`] counted, a microsecond early at most.
pub(crate) fn process_instant(us: u64) -> Instant {
    let since = Duration::from_micros(us.saturating_sub(1));
    PROCESS_BEGAN.checked_add(since).unwrap_or(*PROCESS_BEGAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_for_people_is_asked_again_when_it_may_have_been_set() {
        let wall = Wall::default();
        let began = Now::read();
        let first = wall.unix_us(began.process_us);
        assert_eq!(wall.unix_us(began.process_us + 99_999), first + 99_999);
        let before = unix_us();
        let asked = wall.unix_us(began.process_us + Wall::ASKED_FOR_US);
        let says = before..=unix_us();
        assert!(
            says.contains(&asked),
            "not what the other clock makes of it"
        );
        assert_eq!(wall.unix_us(began.process_us + Wall::ASKED_FOR_US), asked);
    }
}
