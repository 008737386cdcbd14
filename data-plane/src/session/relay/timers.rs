//! What ends a session by the clock, and the notices before it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::GrantId;

use super::Ending;
use crate::clock::rfc3339;
use crate::control::LeaseClock;
use crate::control::allowed::Grant;

/// When the client is told that its grant is about to expire.
const EXPIRY_NOTICES_MINUTES: [u64; 3] = [10, 5, 1];
const MINUTE: Duration = Duration::from_secs(60);
/// An expiry further away than this is looked at again then; the clock cannot add more.
const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a session is let in for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) grant_id: GrantId,
    pub(crate) expires_in: Duration,
    pub(crate) expires_at_unix_us: i64,
    /// The hours of the grant end before it does: in so long, and at that time.
    pub(crate) window: Option<(Duration, i64)>,
}

impl From<&Grant> for Terms {
    fn from(grant: &Grant) -> Self {
        Self {
            grant_id: grant.id,
            expires_in: grant.expires_in,
            expires_at_unix_us: grant.expires_at_unix_us,
            window: grant.window,
        }
    }
}

/// Which of the two ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Expiry,
    Window,
}

/// The deadlines of one session.
#[derive(Debug)]
pub(crate) struct Timers {
    grant_id: GrantId,
    end: End,
    ends_at: Instant,
    ends_at_unix_us: i64,
    lease: Arc<LeaseClock>,
    /// Minutes before the end for which the notice is still to come.
    notices: Vec<u64>,
    /// When the first of them comes.
    notice_at: Option<Instant>,
}

impl Timers {
    pub(crate) fn new(now: Instant, terms: Terms, lease: Arc<LeaseClock>) -> Self {
        let expiry = (End::Expiry, terms.expires_in, terms.expires_at_unix_us);
        let (end, ends_in, ends_at_unix_us) = match terms.window {
            Some((ends_in, at)) if ends_in < terms.expires_in => (End::Window, ends_in, at),
            _ => expiry,
        };
        let is_ahead = |minutes: &u64| MINUTE * u32::try_from(*minutes).unwrap_or(0) < ends_in;
        let mut timers = Self {
            grant_id: terms.grant_id,
            end,
            ends_at: now + ends_in.min(FAR_AWAY),
            ends_at_unix_us,
            lease,
            notices: EXPIRY_NOTICES_MINUTES
                .into_iter()
                .filter(is_ahead)
                .collect(),
            notice_at: None,
        };
        timers.expect_notice();
        timers
    }

    fn expect_notice(&mut self) {
        self.notice_at = self.notices.first().map(|minutes| {
            let before = MINUTE * u32::try_from(*minutes).unwrap_or(0);
            self.ends_at.checked_sub(before).unwrap_or(self.ends_at)
        });
    }

    /// Whether the session may go on.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Ending> {
        if now >= self.ends_at {
            let at = rfc3339(self.ends_at_unix_us);
            return Err(match self.end {
                End::Expiry => Ending::expired(self.grant_id, &at),
                End::Window => Ending::window_closed(self.grant_id, &at),
            });
        }
        if now >= self.lease.ends_at() {
            return Err(Ending::lease_ended());
        }
        Ok(())
    }

    /// The notice that is due now, once.
    pub(crate) fn notice(&mut self, now: Instant) -> Option<String> {
        if now < self.notice_at? {
            return None;
        }
        let minutes = self.notices.remove(0);
        self.expect_notice();
        let unit = if minutes == 1 { "minute" } else { "minutes" };
        Some(match self.end {
            End::Expiry => format!("the grant expires in {minutes} {unit}"),
            End::Window => format!("the hours of the grant end in {minutes} {unit}"),
        })
    }

    /// When to look again.
    pub(crate) fn next(&self) -> Instant {
        let end = self.ends_at.min(self.lease.ends_at());
        self.notice_at.map_or(end, |notice| notice.min(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers(now: Instant, expires_in: Duration, lease: Duration) -> Timers {
        timers_with_window(now, expires_in, None, lease)
    }

    fn timers_with_window(
        now: Instant,
        expires_in: Duration,
        window: Option<Duration>,
        lease: Duration,
    ) -> Timers {
        let clock = Arc::new(LeaseClock::new(now));
        clock.extend(now, lease);
        let terms = Terms {
            grant_id: GrantId(7),
            expires_in,
            expires_at_unix_us: 0,
            window: window.map(|ends_in| (ends_in, 0)),
        };
        Timers::new(now, terms, clock)
    }

    #[test]
    fn the_end_of_the_hours_is_an_end_too() {
        let now = Instant::now();
        let day = MINUTE * 60 * 24;
        let mut timers = timers_with_window(now, day, Some(MINUTE * 6), day * 2);
        let told = timers.notice(now + MINUTE).unwrap();
        assert_eq!(told, "the hours of the grant end in 5 minutes");
        let ending = timers.check(now + MINUTE * 6).unwrap_err();
        assert_eq!(ending.reason, "window_closed");
        let detail = ending.error.unwrap().detail;
        assert_eq!(
            detail,
            "The hours of grant 7 ended at 1970-01-01T00:00:00Z."
        );
        let timers = timers_with_window(now, MINUTE, Some(day), day);
        assert_eq!(timers.check(now + MINUTE).unwrap_err().reason, "expired");
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
        // The lease counts in microseconds.
        let early = (now + MINUTE * 5).duration_since(timers.next());
        assert!(early <= Duration::from_micros(1), "{early:?}");
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
