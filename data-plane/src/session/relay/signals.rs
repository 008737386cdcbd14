//! What a relay hears besides its two sockets.

use std::task::Poll;

use tokio_util::sync::CancellationToken;

use super::{Ending, Relay};
use crate::control::SessionMessages;
use crate::policy::quota::SharedQuota;

/// Who speaks to it.
pub(crate) struct Signals {
    pub(crate) messages: SessionMessages,
    /// The proxy is shutting down: sessions end when they are idle.
    pub(crate) drain: CancellationToken,
    /// The time for that is over.
    pub(crate) abort: CancellationToken,
}

/// What a signal means.
pub(super) enum Event {
    Termination,
    Quota,
    Drain,
    Abort,
}

impl Relay {
    pub(super) fn hear_signals(&mut self) -> Result<(), Ending> {
        while let Poll::Ready((mut signals, event)) = self.signals.poll() {
            match event {
                Event::Abort => return Err(Ending::aborted()),
                Event::Drain => self.is_draining = true,
                Event::Termination => {
                    let termination = signals.messages.termination.borrow_and_update().clone();
                    if let Some(termination) = termination {
                        return Err(Ending::terminated(termination));
                    }
                }
                // The turn takes what came.
                Event::Quota => {}
            }
            self.signals.renew(next_event(signals, self.is_draining));
        }
        Ok(())
    }
}

/// The next signal. Cancel safe.
pub(super) async fn next_event(mut signals: Signals, is_draining: bool) -> (Signals, Event) {
    let event = tokio::select! {
        biased;
        () = signals.abort.cancelled() => Event::Abort,
        _changed = signals.messages.termination.changed() => Event::Termination,
        () = signals.drain.cancelled(), if !is_draining => Event::Drain,
        () = quota_changed(signals.messages.quota.as_deref()) => Event::Quota,
    };
    (signals, event)
}

/// Resolves when the control plane has answered a request for quota. Cancel safe.
async fn quota_changed(quota: Option<&SharedQuota>) {
    match quota {
        Some(quota) => quota.changed().await,
        None => std::future::pending().await,
    }
}
