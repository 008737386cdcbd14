//! What ends a session by the clock, and the notices before it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_rpc::v1;

use super::Ending;
use crate::control::LeaseClock;

/// When the client is told that its grant is about to expire.
const EXPIRY_NOTICES_MINUTES: [u64; 3] = [10, 5, 1];
const MINUTE: Duration = Duration::from_secs(60);
/// An expiry further away than this is looked at again then; the clock cannot add more.
const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The deadlines of one session.
#[derive(Debug)]
pub(crate) struct Timers {
    expires_at: Instant,
    lease: Arc<LeaseClock>,
    /// Minutes before expiry for which the notice is still to come.
    notices: Vec<u64>,
    told_quota: bool,
}

impl Timers {
    pub(crate) fn new(now: Instant, expires_in: Duration, lease: Arc<LeaseClock>) -> Self {
        let is_ahead = |minutes: &u64| MINUTE * u32::try_from(*minutes).unwrap_or(0) < expires_in;
        Self {
            expires_at: now + expires_in.min(FAR_AWAY),
            lease,
            notices: EXPIRY_NOTICES_MINUTES
                .into_iter()
                .filter(is_ahead)
                .collect(),
            told_quota: false,
        }
    }

    /// Whether the session may go on.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Ending> {
        if now >= self.expires_at {
            return Err(Ending::expired());
        }
        if now >= self.lease.ends_at() {
            return Err(Ending::lease_ended());
        }
        Ok(())
    }

    /// The notice that is due now, once.
    pub(crate) fn notice(&mut self, now: Instant) -> Option<String> {
        let minutes = *self.notices.first()?;
        if now < self.notice_at(minutes) {
            return None;
        }
        self.notices.remove(0);
        let unit = if minutes == 1 { "minute" } else { "minutes" };
        Some(format!("the grant expires in {minutes} {unit}"))
    }

    fn notice_at(&self, minutes: u64) -> Instant {
        let before = MINUTE * u32::try_from(minutes).unwrap_or(0);
        self.expires_at
            .checked_sub(before)
            .unwrap_or(self.expires_at)
    }

    /// The notice that a slice is the last of its quota, once.
    pub(crate) fn quota_notice(&mut self, slice: &v1::QuotaSlice) -> Option<&'static str> {
        let is_last = slice.queries_spent || slice.bytes_spent;
        if !is_last || self.told_quota {
            return None;
        }
        self.told_quota = true;
        Some("the quota of the grant is nearly spent")
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Instant {
        let notice = self.notices.first().map(|minutes| self.notice_at(*minutes));
        let end = self.expires_at.min(self.lease.ends_at());
        notice.map_or(end, |notice| notice.min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers(now: Instant, expires_in: Duration, lease: Duration) -> Timers {
        let clock = Arc::new(LeaseClock::new(now));
        clock.extend(now, lease);
        Timers::new(now, expires_in, clock)
    }

    #[test]
    fn expiry_and_lease_end_the_session() {
        let now = Instant::now();
        let timers = timers(now, MINUTE * 30, MINUTE * 5);
        assert!(timers.check(now + MINUTE * 4).is_ok());
        assert_eq!(
            timers.check(now + MINUTE * 5).unwrap_err().reason,
            "lease_ended"
        );
        assert_eq!(
            timers.check(now + MINUTE * 30).unwrap_err().reason,
            "expired"
        );
        assert_eq!(timers.next(), now + MINUTE * 5);
    }

    #[test]
    fn notices_come_once_each_and_only_those_ahead() {
        let now = Instant::now();
        let mut timers = timers(now, MINUTE * 7, MINUTE * 100);
        assert_eq!(timers.notice(now), None);
        assert_eq!(timers.next(), now + MINUTE * 2);
        let told = timers.notice(now + MINUTE * 2).unwrap();
        assert_eq!(told, "the grant expires in 5 minutes");
        assert_eq!(timers.notice(now + MINUTE * 2), None);
        let told = timers.notice(now + MINUTE * 6).unwrap();
        assert_eq!(told, "the grant expires in 1 minute");
        assert_eq!(timers.next(), now + MINUTE * 7);
    }

    #[test]
    fn an_endless_grant_does_not_overflow_the_clock() {
        let now = Instant::now();
        let timers = timers(now, Duration::from_millis(u64::MAX), MINUTE);
        assert!(timers.check(now).is_ok());
    }
}
