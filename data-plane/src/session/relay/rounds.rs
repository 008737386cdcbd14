//! Sessions of a thread that became ready together are served in two rounds: what they read is decided on in the first,
//! and goes out in the second.
//!
//! The statements of all of them then have their place on the disk with one write, and a processor that goes from one
//! session to the next finds the same code in its caches. Mostly a session leaves what it has and is done
//! (`second_round`). Where it has to see to it itself, under `strict` for example, it asks to be polled again: its turn comes
//! behind those that are ready by then, since a thread's queue is first in, first out.

/// A longer run is written at once, from where it was read: bulk data is not copied.
const SMALL_BYTES: usize = 4096;

/// Where a session is in its two rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    gives_way: bool,
    may_give_way: bool,
}

impl Rounds {
    /// The session has its turn. If it gave way in the one before, it does not again, nor while something
    /// `is_unfinished`.
    pub(super) fn begin(&mut self, is_unfinished: bool) {
        self.may_give_way = !std::mem::take(&mut self.gives_way) && !is_unfinished;
    }

    /// The second round goes on without the session: its next turn is a new one.
    pub(super) fn left(&mut self) {
        self.gives_way = false;
    }

    /// Whether a run of `bytes` bytes is kept until the second round.
    pub(super) fn give_way(&mut self, bytes: usize) -> bool {
        let gives_way = self.may_give_way && bytes <= SMALL_BYTES;
        self.gives_way |= gives_way;
        gives_way
    }

    /// Whether the turn is over for now.
    pub(super) fn gives_way(&self) -> bool {
        self.gives_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::{Arc, Mutex};
    use std::task::Poll;

    use tokio::sync::Barrier;

    #[tokio::test]
    async fn sessions_that_are_ready_together_all_read_before_one_writes() {
        let (begun, log) = (Arc::new(Barrier::new(3)), Arc::new(Mutex::new(Vec::new())));
        let sessions: Vec<_> = (0..3)
            .map(|_| {
                let (begun, log) = (Arc::clone(&begun), Arc::clone(&log));
                tokio::spawn(async move {
                    begun.wait().await;
                    let mut rounds = Rounds::default();
                    poll_fn(|cx| {
                        rounds.begin(false);
                        let gives_way = rounds.give_way(100);
                        log.lock()
                            .unwrap()
                            .push(if gives_way { "reads" } else { "writes" });
                        if !rounds.gives_way() {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    })
                    .await;
                })
            })
            .collect();
        for session in sessions {
            session.await.unwrap();
        }
        let expected = ["reads", "reads", "reads", "writes", "writes", "writes"];
        assert_eq!(*log.lock().unwrap(), expected);
    }

    #[test]
    fn long_runs_are_written_at_once() {
        let mut rounds = Rounds::default();
        rounds.begin(false);
        assert!(!rounds.give_way(SMALL_BYTES + 1) && !rounds.gives_way());
    }
}
