//! How long sessions may go on without word from a control plane. One clock for all sessions of the proxy.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The moment at which sessions end unless a control plane is heard before.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    ends_at: Mutex<Instant>,
}

impl LeaseClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            ends_at: Mutex::new(now),
        }
    }

    /// A control plane was heard at `now` and lets sessions go on for `lease`. Never shortens.
    pub(crate) fn extend(&self, now: Instant, lease: Duration) {
        let mut ends_at = self.ends_at.lock();
        *ends_at = (*ends_at).max(now + lease);
    }

    pub(crate) fn ends_at(&self) -> Instant {
        *self.ends_at.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_extended_and_never_shortened() {
        let now = Instant::now();
        let lease = LeaseClock::new(now);
        lease.extend(now, Duration::from_secs(300));
        lease.extend(now, Duration::from_secs(5));
        assert_eq!(lease.ends_at(), now + Duration::from_secs(300));
    }
}
