//! How long what is on its way may wait for room in the record.
//!
//! A statement that has not begun is refused after a few seconds. Rows and COPY data of one that runs are held back
//! instead, since room mostly comes back. When it does not, somebody who waits is owed an answer, and the target its
//! locks.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Ending, Relay};

/// Longer than a fail-over of the storage database takes, much shorter than the lease.
const ROOM_LIMIT: Duration = Duration::from_secs(60);

/// Since when a session has not got on for want of room.
#[derive(Debug, Default)]
pub(super) struct RoomWatch {
    since: Option<Instant>,
}

impl RoomWatch {
    /// Looks whether a direction waits, and whether either got on in this turn.
    ///
    /// # Errors
    /// The end of the session, when one has waited for too long.
    pub(super) fn check(&mut self, waits: bool, got_on: bool, now: Instant) -> Result<(), Ending> {
        match self.since {
            Some(since) if waits && !got_on => {
                if now.saturating_duration_since(since) >= ROOM_LIMIT {
                    return Err(Ending::record_broken());
                }
            }
            _ => self.since = waits.then_some(now),
        }
        Ok(())
    }

    /// When to look again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + ROOM_LIMIT)
    }
}

impl Relay {
    /// Ready when there may be room in the record for a direction that waits for it.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.client.waits_for_room() && !self.target.waits_for_room() && !self.is_held {
            self.room_wait = None;
            return Poll::Pending;
        }
        let wait = self.room_wait.get_or_insert_with(|| {
            let mut room = self.room.clone();
            // Seen before the engine asked: what changed since then is news.
            self.room.mark_unchanged();
            Box::pin(async move {
                // An error means that the record has ended; the statement's own deadline decides then.
                if room.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        });
        let polled = wait.as_mut().poll(cx);
        if polled.is_ready() {
            self.room_wait = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waiting_without_any_progress_ends_the_session() {
        let (mut watch, begin) = (RoomWatch::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        watch.check(false, false, at(0)).unwrap();
        assert_eq!(watch.due(), None);
        watch.check(true, false, at(10)).unwrap();
        watch.check(true, false, at(69)).unwrap();
        assert_eq!(watch.due(), Some(at(70)));
        watch.check(true, true, at(69)).unwrap();
        watch.check(true, false, at(128)).unwrap();
        watch.check(false, false, at(128)).unwrap();
        watch.check(true, false, at(129)).unwrap();
        let ending = watch.check(true, false, at(189)).unwrap_err();
        assert_eq!(ending.reason, "record_broken");
    }
}
