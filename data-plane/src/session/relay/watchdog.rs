//! The lock behind `statement_timeout_ms` of a grant: whatever the session's setting says, a statement that runs longer
//! is cancelled, and one that does not heed it ends with its session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Ending;
use crate::control::activity::{Activity, RunningCancel};
use crate::upstream::CancelKey;

/// The target's own timeout comes first, with its own words.
const MARGIN: Duration = Duration::from_millis(300);
/// A statement that was cancelled and goes on is cancelled again.
const AGAIN: Duration = Duration::from_secs(1);
/// So often; functions can catch a cancel, but not the end of their session.
const MOST_CANCELS: u32 = 5;

/// Watches the statements of one session.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limit: Option<Duration>,
    cancel_key: Arc<CancelKey>,
    activity: Arc<Activity>,
    /// The statement that was cancelled last, and how often.
    cancelled: Option<(u64, u32)>,
}

/// A statement of the session, and since when it runs.
pub(crate) type Running = Option<(u64, Instant)>;

impl Watchdog {
    pub(crate) fn new(
        limit: Option<Duration>,
        cancel_key: Arc<CancelKey>,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            limit,
            cancel_key,
            activity,
            cancelled: None,
        }
    }

    /// When to look at the running statement.
    pub(crate) fn due(&self, running: Running) -> Option<Instant> {
        let ((number, since), limit) = running.zip(self.limit)?;
        let cancels = self.cancels_of(number);
        Some(since + limit + MARGIN + AGAIN * cancels)
    }

    fn cancels_of(&self, number: u64) -> u32 {
        match self.cancelled {
            Some((last, cancels)) if last == number => cancels,
            _ => 0,
        }
    }

    /// Cancels a statement that runs too long; `true` when it did so now.
    ///
    /// # Errors
    /// The end of the session, when the statement does not heed it.
    pub(crate) fn check(&mut self, running: Running, now: Instant) -> Result<bool, Ending> {
        let (Some((number, _)), Some(due), Some(limit)) = (running, self.due(running), self.limit)
        else {
            return Ok(false);
        };
        if now < due {
            return Ok(false);
        }
        let cancels = self.cancels_of(number);
        if cancels >= MOST_CANCELS {
            return Err(Ending::statement_timeout(limit));
        }
        self.cancelled = Some((number, cancels + 1));
        // A failure is logged there, and the next check tries again.
        tokio::spawn(RunningCancel::begin(&self.activity, &self.cancel_key).send());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_statement_is_cancelled_when_its_time_is_over_and_again_and_then_ended() {
        let limit = Duration::from_secs(2);
        let key = Arc::new(CancelKey::for_tests(1));
        let mut watchdog = Watchdog::new(Some(limit), key, Arc::default());
        let began = Instant::now();
        let running = Some((3, began));
        assert_eq!(watchdog.due(None), None);
        assert!(!watchdog.check(running, began + limit).unwrap());
        let mut now = began + limit + MARGIN;
        for _ in 0..MOST_CANCELS {
            assert!(watchdog.check(running, now).unwrap());
            assert!(!watchdog.check(running, now).unwrap());
            now += AGAIN;
        }
        assert_eq!(
            watchdog.check(running, now).unwrap_err().reason,
            "statement_timeout"
        );
        assert!(
            !watchdog.check(Some((4, now)), now).unwrap(),
            "the next one has its own time"
        );
    }

    #[test]
    fn without_a_limit_nothing_is_due() {
        let key = Arc::new(CancelKey::for_tests(1));
        let watchdog = Watchdog::new(None, key, Arc::default());
        assert_eq!(watchdog.due(Some((1, Instant::now()))), None);
    }
}
