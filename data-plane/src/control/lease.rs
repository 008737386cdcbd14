//! How long sessions may go on without word from a control plane. One clock for all sessions of the proxy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::{process_instant, process_us};

/// The moment at which sessions end unless a control plane is heard before.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    /// In microseconds on the process's clock.
    ends_at_us: AtomicU64,
}

impl LeaseClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            ends_at_us: AtomicU64::new(process_us(now)),
        }
    }

    /// A control plane was heard at `now` and lets sessions go on for `lease`. Never shortens.
    pub(crate) fn extend(&self, now: Instant, lease: Duration) {
        let ends_at_us = process_us(now + lease);
        self.ends_at_us.fetch_max(ends_at_us, Ordering::Relaxed);
    }

    /// A microsecond early at most.
    pub(crate) fn ends_at(&self) -> Instant {
        process_instant(self.ends_at_us.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    #[test]
    fn a_lease_is_extended_and_never_shortened() {
        let now = Now::read().instant;
        let lease = LeaseClock::new(now);
        lease.extend(now, Duration::from_secs(300));
        lease.extend(now, Duration::from_secs(5));
        let early = (now + Duration::from_secs(300)).duration_since(lease.ends_at());
        assert!(early <= Duration::from_micros(1), "{early:?}");
    }
}
