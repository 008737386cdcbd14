//! What a session shows of itself to cancel requests: whether it runs a statement, and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use pglens_runtime::Chain;

use crate::clock::{Now, process_instant};
use crate::metrics::CancelOutcome;
use crate::upstream::CancelKey;

/// Cancel requests of one session on their way to its target; more are dropped and counted. More than one, since who does
/// not see the first arrive presses the key again.
const MAX_CANCELS: u32 = 4;

/// Shared by the session and those who want to cancel its statement.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// When the target was given what it does now, in microseconds on the process's clock; 0 while it does nothing.
    began_us: AtomicU64,
    /// Cancel requests that are being handed to the target now; no new statement starts meanwhile.
    cancels: AtomicU32,
}

impl Activity {
    /// A statement is on its way to the target.
    pub(crate) fn begin(&self, now: Now) {
        // One that waits behind another begins when the target turns to it.
        let (idle, began) = match self.began_us.load(Ordering::Relaxed) {
            0 => (0, now.process_us),
            _busy => return,
        };
        let order = (Ordering::SeqCst, Ordering::Relaxed);
        let _was_busy = self
            .began_us
            .compare_exchange(idle, began, order.0, order.1);
    }

    /// The target has turned to the next statement.
    pub(crate) fn turn(&self, now: Now) {
        self.began_us.store(now.process_us, Ordering::SeqCst);
    }

    /// The target has answered everything.
    pub(crate) fn rest(&self) {
        self.began_us.store(0, Ordering::SeqCst);
    }

    /// Whether a cancel request is on its way to the target, which must not hit a later statement.
    pub(crate) fn is_being_cancelled(&self) -> bool {
        self.cancels.load(Ordering::SeqCst) > 0
    }

    /// Begins a cancel of what runs now, if it is what was meant by the time at which it began.
    pub(super) fn begin_cancel(
        activity: &Arc<Self>,
        target: &Arc<CancelKey>,
        is_meant: impl Fn(Instant) -> bool,
    ) -> CancelTarget {
        // First the one, then the other, and the session does it the other way round: one of the two sees the other.
        let running = RunningCancel::begin(activity, target);
        match activity.began_us.load(Ordering::SeqCst) {
            _ if activity.cancels.load(Ordering::SeqCst) > MAX_CANCELS => CancelTarget::TooMany,
            0 => CancelTarget::Idle,
            began_us if is_meant(process_instant(began_us)) => CancelTarget::Running(running),
            _ => CancelTarget::TooLate,
        }
    }
}

/// What a cancel request turned out to be for.
#[derive(Debug)]
pub(crate) enum CancelTarget {
    Running(RunningCancel),
    /// The session runs nothing.
    Idle,
    /// What it runs began after the cancel was asked for.
    TooLate,
    UnknownKey,
    /// Enough are on their way.
    TooMany,
}

impl CancelTarget {
    /// Hands the cancel to the target, if there is something to cancel, and waits until that is done.
    pub(crate) async fn send(self) -> CancelOutcome {
        match self {
            Self::Running(running) => running.send().await,
            Self::Idle => CancelOutcome::Idle,
            Self::TooLate => CancelOutcome::TooLate,
            Self::UnknownKey => CancelOutcome::UnknownKey,
            Self::TooMany => CancelOutcome::Dropped,
        }
    }
}

/// A cancel request on its way to the target. While it lives, the session starts no new statement.
#[derive(Debug)]
pub(crate) struct RunningCancel {
    activity: Arc<Activity>,
    target: Arc<CancelKey>,
}

impl RunningCancel {
    /// Begins one: until it is dropped, no new statement starts.
    pub(crate) fn begin(activity: &Arc<Activity>, target: &Arc<CancelKey>) -> Self {
        activity.cancels.fetch_add(1, Ordering::SeqCst);
        Self {
            activity: Arc::clone(activity),
            target: Arc::clone(target),
        }
    }

    /// Hands it to the target, and waits until that is done.
    pub(crate) async fn send(self) -> CancelOutcome {
        match self.target.cancel().await {
            Ok(()) => CancelOutcome::Delivered,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "cancel request not delivered");
                CancelOutcome::TargetFailed
            }
        }
    }
}

impl Drop for RunningCancel {
    fn drop(&mut self) {
        self.activity.cancels.fetch_sub(1, Ordering::SeqCst);
    }
}
