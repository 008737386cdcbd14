//! The proxy runs that are attached to this replica, and the way to tell them something.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pglens_core::RunId;
use pglens_rpc::v1::ControlMessage;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Messages that wait for one proxy. A proxy that is so far behind is better off attaching again: the first thing it
/// then hears is what it missed.
const QUEUE_MESSAGES: usize = 1024;

/// What goes to a proxy.
pub type Outgoing = Result<ControlMessage, Status>;

/// The queue of one proxy.
#[must_use]
pub fn queue() -> (Sender<Outgoing>, Receiver<Outgoing>) {
    mpsc::channel(QUEUE_MESSAGES)
}

/// Whether a message was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the proxy's queue.
    Queued,
    /// The proxy is not attached here.
    NotHere,
    /// Its queue was full or closed; it was detached.
    Detached,
}

#[derive(Debug)]
struct Attachment {
    number: u64,
    proxy_name: String,
    sender: Sender<Outgoing>,
    detached: CancellationToken,
    /// The proxy's clock less the storage database's, in microseconds; `None`: not measured yet.
    skew_us: Option<i64>,
}

/// All runs attached here.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: HashMap<RunId, Attachment>,
    last_number: u64,
}

/// A run's place in the registry, given up when dropped.
#[derive(Debug)]
pub struct Attached {
    registry: Arc<Registry>,
    run_id: RunId,
    number: u64,
    sender: Sender<Outgoing>,
    detached: CancellationToken,
}

impl Registry {
    /// Takes a run in. The stream it had before, if any, ends.
    pub fn attach(
        self: &Arc<Self>,
        run_id: RunId,
        proxy_name: &str,
        sender: Sender<Outgoing>,
    ) -> Attached {
        let detached = CancellationToken::new();
        let mut inner = self.inner.lock();
        inner.last_number += 1;
        let number = inner.last_number;
        let attachment = Attachment {
            number,
            proxy_name: proxy_name.to_owned(),
            sender: sender.clone(),
            detached: detached.clone(),
            skew_us: None,
        };
        if let Some(earlier) = inner.runs.insert(run_id, attachment) {
            earlier.detached.cancel();
        }
        drop(inner);
        Attached {
            registry: Arc::clone(self),
            run_id,
            number,
            sender,
            detached,
        }
    }

    /// Puts a message into a run's queue, without waiting.
    pub fn send(&self, run_id: RunId, message: ControlMessage) -> Delivery {
        let mut inner = self.inner.lock();
        let Some(attachment) = inner.runs.get(&run_id) else {
            return Delivery::NotHere;
        };
        match attachment.sender.try_send(Ok(message)) {
            Ok(()) => Delivery::Queued,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                if let Some(attachment) = inner.runs.remove(&run_id) {
                    attachment.detached.cancel();
                }
                Delivery::Detached
            }
        }
    }

    /// Notes how far a run's clock is off; `true` the first time in the life of its stream.
    pub fn note_skew(&self, run_id: RunId, skew_us: i64) -> bool {
        let mut inner = self.inner.lock();
        let attachment = inner.runs.get_mut(&run_id);
        attachment.is_some_and(|one| one.skew_us.replace(skew_us).is_none())
    }

    /// How far the clock that is off furthest is, of the proxies attached here.
    #[must_use]
    pub fn largest_skew(&self) -> Duration {
        let inner = self.inner.lock();
        let skews = inner.runs.values().filter_map(|one| one.skew_us);
        Duration::from_micros(skews.map(i64::unsigned_abs).max().unwrap_or(0))
    }

    /// The runs attached here.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        self.inner.lock().runs.keys().copied().collect()
    }

    /// Whether the run is attached here.
    #[must_use]
    pub fn holds(&self, run_id: RunId) -> bool {
        self.inner.lock().runs.contains_key(&run_id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().runs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the run is attached here, and by that proxy.
    #[must_use]
    pub fn is_attached(&self, run_id: RunId, proxy_name: &str) -> bool {
        let inner = self.inner.lock();
        inner
            .runs
            .get(&run_id)
            .is_some_and(|attachment| attachment.proxy_name == proxy_name)
    }
}

impl Attached {
    /// The run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// Queues a message behind those before it. A proxy that has no room for it is detached.
    pub fn send(&self, message: ControlMessage) {
        if self.sender.try_send(Ok(message)).is_err() {
            self.detached.cancel();
        }
    }

    /// Ends the stream with an error, if there is room for it.
    pub fn fail(&self, status: Status) {
        // Without room the stream ends without words.
        let _ = self.sender.try_send(Err(status));
    }

    /// Resolves when the run was detached. Cancel safe.
    pub async fn detached(&self) {
        self.detached.cancelled().await;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut inner = self.registry.inner.lock();
        if inner
            .runs
            .get(&self.run_id)
            .is_some_and(|attachment| attachment.number == self.number)
        {
            inner.runs.remove(&self.run_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn run() -> RunId {
        RunId(Uuid::now_v7())
    }

    #[test]
    fn a_slow_proxy_is_detached() {
        let registry = Arc::new(Registry::default());
        let (sender, receiver) = queue();
        let attached = registry.attach(run(), "p1", sender);
        for _ in 0..QUEUE_MESSAGES {
            assert_eq!(
                registry.send(attached.run_id(), ControlMessage::default()),
                Delivery::Queued
            );
        }
        let run_id = attached.run_id();
        assert_eq!(
            registry.send(run_id, ControlMessage::default()),
            Delivery::Detached
        );
        assert!(attached.detached.is_cancelled());
        assert_eq!(
            registry.send(run_id, ControlMessage::default()),
            Delivery::NotHere
        );
        assert_eq!(receiver.len(), QUEUE_MESSAGES);
    }

    #[test]
    fn attaching_again_ends_the_stream_before_and_only_that() {
        let registry = Arc::new(Registry::default());
        let run_id = run();
        let first = registry.attach(run_id, "p1", queue().0);
        let second = registry.attach(run_id, "p1", queue().0);
        assert!(first.detached.is_cancelled() && !second.detached.is_cancelled());
        drop(first);
        assert!(registry.is_attached(run_id, "p1") && !registry.is_attached(run_id, "p2"));
        drop(second);
        assert!(registry.is_empty());
    }
}
