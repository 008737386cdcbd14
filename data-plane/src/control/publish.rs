//! Sends records to a control plane, in order, again from the committed sequence after every break.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::RunId;
use pglens_core::limits::MAX_BATCH_BYTES;
use pglens_rpc::v1;
use pglens_rpc::v1::events_client::EventsClient;
use pglens_rpc::v1::publish_request::Message;
use pglens_runtime::{Backoff, Chain};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::ControlPlanes;
use super::channel::ControlPlane;
use crate::audit::Outbox;
use crate::audit::batcher::{BatchLimits, Batcher, Decision};
use crate::audit::outbox::CursorMismatch;

const LIMITS: BatchLimits = BatchLimits {
    // COPY into storage gains little beyond this many rows.
    max_records: 1000,
    max_bytes: MAX_BATCH_BYTES,
    // What a record may lag behind its statement when the proxy has little to do.
    max_age: Duration::from_millis(10),
};
/// Batches under way without an answer; storage works on one while the next travels.
const MAX_UNACKNOWLEDGED_BATCHES: usize = 4;
/// One transaction of storage, with room for a bad moment.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// What the publish loop works with.
pub(crate) struct Publisher {
    pub(crate) run_id: RunId,
    pub(crate) planes: Arc<ControlPlanes>,
    pub(crate) outbox: Arc<Outbox>,
    /// True once a control plane knows this run: before, none would take its records.
    pub(crate) known: watch::Receiver<bool>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("control plane {url} refused or broke the stream")]
    Status {
        url: String,
        #[source]
        status: Box<tonic::Status>,
    },
    #[error("control plane {url} closed the stream")]
    Closed { url: String },
    #[error("control plane {url} did not acknowledge within {after:?}")]
    TimedOut { url: String, after: Duration },
    #[error("control plane {url} and this run do not agree")]
    Cursor {
        url: String,
        #[source]
        mismatch: CursorMismatch,
    },
}

impl Publisher {
    /// Publishes until `shutdown` is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => return,
            known = self.known.wait_for(|known| *known) => {
                if known.is_err() {
                    return;
                }
            }
        }
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        loop {
            for (_index, plane) in self.planes.in_order() {
                let ended = tokio::select! {
                    () = shutdown.cancelled() => return,
                    ended = self.publish(plane, &mut backoff) => ended,
                };
                tracing::warn!(error = %Chain(&ended), "records wait for a control plane");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn publish(&self, plane: ControlPlane, backoff: &mut Backoff) -> PublishError {
        let url = plane.url.clone();
        let mut stream = match self.open(plane).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        backoff.reset();
        let mut newest = self.outbox.watch_newest();
        let mut batcher = Batcher::new(LIMITS);
        loop {
            let due = match self.send_due(&mut stream, &mut newest, &mut batcher).await {
                Ok(due) => due,
                Err(error) => return error,
            };
            let (is_full, answer_due) = (stream.is_full(), stream.answer_due());
            tokio::select! {
                answer = stream.answers.message() => {
                    if let Err(error) = self.take(&mut stream, answer) {
                        return error;
                    }
                }
                changed = newest.changed(), if !is_full => {
                    if changed.is_err() {
                        return PublishError::Closed { url };
                    }
                }
                () = sleep_until(due) => {}
                () = sleep_until(answer_due) => {
                    return PublishError::TimedOut { url, after: ACKNOWLEDGE_TIMEOUT };
                }
            }
        }
    }

    /// Begins a stream and learns from which record to go on.
    async fn open(&self, plane: ControlPlane) -> Result<PublishStream, PublishError> {
        let url = plane.url;
        let (requests, receiver) = mpsc::channel(MAX_UNACKNOWLEDGED_BATCHES + 1);
        let hello = v1::PublishHello {
            run_id: self.run_id.to_wire(),
        };
        let hello = v1::PublishRequest {
            message: Some(Message::Hello(hello)),
        };
        if requests.send(hello).await.is_err() {
            return Err(PublishError::Closed { url });
        }
        let opening = async {
            let mut client = EventsClient::new(plane.records);
            let stream = client.publish(ReceiverStream::new(receiver)).await?;
            let mut answers = stream.into_inner();
            let first = answers.message().await?;
            Ok::<_, tonic::Status>((answers, first))
        };
        let (answers, first) = match tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Err(PublishError::status(url, status)),
            Err(_elapsed) => {
                let after = ACKNOWLEDGE_TIMEOUT;
                return Err(PublishError::TimedOut { url, after });
            }
        };
        let Some(first) = first else {
            return Err(PublishError::Closed { url });
        };
        let committed = first.committed_sequence;
        if let Err(mismatch) = self.outbox.acknowledge(committed) {
            return Err(PublishError::Cursor { url, mismatch });
        }
        Ok(PublishStream {
            url,
            requests,
            answers,
            sent: committed,
            unacknowledged: VecDeque::new(),
        })
    }

    /// Sends what is due and says when the batch that is being gathered closes by age.
    async fn send_due(
        &self,
        stream: &mut PublishStream,
        newest: &mut watch::Receiver<u64>,
        batcher: &mut Batcher,
    ) -> Result<Option<tokio::time::Instant>, PublishError> {
        while !stream.is_full() {
            let waiting = newest.borrow_and_update().saturating_sub(stream.sent);
            let bytes = self.outbox.bytes_behind(stream.sent, LIMITS.max_bytes);
            match batcher.decide(waiting, bytes, Instant::now()) {
                Decision::Idle => return Ok(None),
                Decision::Wait(due) => return Ok(Some(due.into())),
                Decision::Send => {}
            }
            let max_records = usize::try_from(LIMITS.max_records).unwrap_or(usize::MAX);
            let batch = self
                .outbox
                .batch_behind(stream.sent, max_records, LIMITS.max_bytes);
            let Some(batch) = batch else {
                return Ok(None);
            };
            stream.sent = batch.last_sequence;
            stream
                .unacknowledged
                .push_back((batch.last_sequence, tokio::time::Instant::now()));
            let batch = v1::RecordBatch {
                first_sequence: batch.first_sequence,
                last_sequence: batch.last_sequence,
                records: batch.records,
            };
            let request = v1::PublishRequest {
                message: Some(Message::Batch(batch)),
            };
            if stream.requests.send(request).await.is_err() {
                let url = stream.url.clone();
                return Err(PublishError::Closed { url });
            }
        }
        Ok(None)
    }

    fn take(
        &self,
        stream: &mut PublishStream,
        answer: Result<Option<v1::PublishResponse>, tonic::Status>,
    ) -> Result<(), PublishError> {
        let url = || stream.url.clone();
        let committed = match answer {
            Ok(Some(response)) => response.committed_sequence,
            Ok(None) => return Err(PublishError::Closed { url: url() }),
            Err(status) => return Err(PublishError::status(url(), status)),
        };
        self.outbox
            .acknowledge(committed)
            .map_err(|mismatch| PublishError::Cursor {
                url: url(),
                mismatch,
            })?;
        stream.unacknowledged.retain(|(last, _)| *last > committed);
        Ok(())
    }
}

struct PublishStream {
    url: String,
    requests: mpsc::Sender<v1::PublishRequest>,
    answers: Streaming<v1::PublishResponse>,
    /// Sequence number of the last record sent.
    sent: u64,
    /// Last sequence number of each batch without an answer, and when it was sent.
    unacknowledged: VecDeque<(u64, tokio::time::Instant)>,
}

impl PublishStream {
    fn is_full(&self) -> bool {
        self.unacknowledged.len() >= MAX_UNACKNOWLEDGED_BATCHES
    }

    fn answer_due(&self) -> Option<tokio::time::Instant> {
        let (_, sent_at) = self.unacknowledged.front()?;
        Some(*sent_at + ACKNOWLEDGE_TIMEOUT)
    }
}

impl PublishError {
    fn status(url: String, status: tonic::Status) -> Self {
        Self::Status {
            url,
            status: Box::new(status),
        }
    }
}

/// Waits until `due`, for ever without one. Cancel safe.
async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
