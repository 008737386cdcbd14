//! Sends records to a control plane, in order, again from the committed sequence after every break.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::RunId;
use pglens_rpc::v1;
use pglens_runtime::{Backoff, Chain, sleep_until};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::ControlPlanes;
use super::channel::ControlPlane;
use super::record_codec::{self, Outgoing};
use crate::audit::Outbox;
use crate::audit::batcher::{BatchLimits, Batcher, Decision};
use crate::audit::outbox::{Acknowledged, CursorMismatch, Next, Waiting, WakeAt};
use crate::audit::reader::Position;
use crate::audit::window::{Batch, BatchLimit};

const LIMITS: BatchLimits = BatchLimits {
    // Every batch is a transaction, and what one costs besides its rows is then shared by some thousand statements.
    max_records: 20_000,
    // Less than the largest batch that a control plane takes; what is small is in memory anyway.
    max_bytes: 1024 * 1024,
    // What a record may lag behind its statement when the proxy has little to do.
    max_age: Duration::from_millis(100),
    many_records: 2000,
};
const BATCH: BatchLimit = BatchLimit {
    records: LIMITS.max_records,
    bytes: LIMITS.max_bytes,
};
/// A batch that is read from the disk: it takes memory beside what is kept there anyway.
const DISK_BATCH: BatchLimit = BatchLimit {
    bytes: 512 * 1024,
    ..BATCH
};
/// The same with rows of large results, of which there may be any number.
const LARGE_BATCH: BatchLimit = BatchLimit {
    bytes: 256 * 1024,
    ..BATCH
};
/// Records of a batch for a control plane that takes no brief ones: each may be 1 KiB larger there.
const MAX_RECORDS_IN_FULL: u64 = 1000;
/// Batches under way that are not durable; storage works on one while the next travels.
const MAX_UNACKNOWLEDGED_BATCHES: usize = 4;
/// The same of those with rows of large results.
const MAX_UNACKNOWLEDGED_LARGE_BATCHES: usize = 2;
/// The same with those that are durable: a control plane stores them within moments.
const MAX_UNSTORED_BATCHES: usize = 1000;
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

/// What the publisher sleeps for.
struct Sleep {
    wake: WakeAt,
    until: Option<tokio::time::Instant>,
}

impl Sleep {
    /// Until there is anything.
    fn idle(sent: u64) -> Self {
        let wake = WakeAt {
            sequence: sent + 1,
            total_bytes: u64::MAX,
        };
        Self { wake, until: None }
    }

    /// Until the batch closes, by its size or by its age.
    fn gathering(sent: u64, waiting: &Waiting, due: Instant) -> Self {
        let wake = WakeAt {
            sequence: sent + LIMITS.max_records,
            total_bytes: waiting.total_before + LIMITS.max_bytes as u64,
        };
        let until = Some(due.into());
        Self { wake, until }
    }
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
    #[error("the spool cannot be read")]
    Spool(#[source] std::io::Error),
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
                self.outbox.set_publishing(false);
                tracing::warn!(error = %Chain(&ended), "records wait for a control plane");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn publish(&self, plane: ControlPlane, backoff: &mut Backoff) -> PublishError {
        let mut stream = match self.open(plane).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        // A control plane that opens a stream need not be able to store anything.
        if self.outbox.depth().records == 0 {
            backoff.reset();
        }
        self.outbox.set_publishing(true);
        let mut batcher = Batcher::new(LIMITS);
        loop {
            let sleep = match self.send_due(&mut stream, &mut batcher).await {
                Ok(sleep) => sleep,
                Err(error) => return error,
            };
            let (is_full, answer_due) = (stream.is_full(), stream.answer_due());
            tokio::select! {
                answer = stream.answers.message() => {
                    match self.take(&mut stream, answer) {
                        Ok(()) => backoff.reset(),
                        Err(error) => return error,
                    }
                }
                () = self.outbox.written(sleep.wake), if !is_full => {}
                () = sleep_until(sleep.until) => {}
                () = sleep_until(answer_due) => {
                    return PublishError::TimedOut { url: stream.url, after: ACKNOWLEDGE_TIMEOUT };
                }
            }
        }
    }

    /// Begins a stream and learns from which record to go on.
    async fn open(&self, plane: ControlPlane) -> Result<PublishStream, PublishError> {
        let url = plane.url;
        let (requests, receiver) = mpsc::channel(MAX_UNACKNOWLEDGED_BATCHES + 1);
        if requests.send(Outgoing::Hello(self.run_id)).await.is_err() {
            return Err(PublishError::Closed { url });
        }
        let opening = async {
            let mut answers = record_codec::publish(plane.records, receiver).await?;
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
        let takes_brief_records = first.takes_brief_records;
        let acknowledged = acknowledged(first);
        if let Err(mismatch) = self.outbox.acknowledge(acknowledged) {
            return Err(PublishError::Cursor { url, mismatch });
        }
        Ok(PublishStream {
            url,
            requests,
            answers,
            takes_brief_records,
            sent: acknowledged.committed,
            durable: acknowledged.committed,
            position: Position::default(),
            unacknowledged: VecDeque::new(),
        })
    }

    /// Sends what is due and says what to sleep for.
    async fn send_due(
        &self,
        stream: &mut PublishStream,
        batcher: &mut Batcher,
    ) -> Result<Sleep, PublishError> {
        let mut waiting = self.outbox.waiting_behind(stream.sent);
        while !stream.is_full() {
            // While one that is waited for is on its way, the next gathers: those who wait share a commit.
            let now = Instant::now();
            let decision = match (waiting.awaiting, stream.has_awaited()) {
                (sessions @ 1.., false) => batcher.decide_awaited(sessions, now),
                (sessions, _) => {
                    batcher.come_late(sessions);
                    batcher.decide(waiting.records, waiting.bytes, now)
                }
            };
            match decision {
                Decision::Idle => return Ok(Sleep::idle(stream.sent)),
                Decision::Wait(due) => return Ok(Sleep::gathering(stream.sent, &waiting, due)),
                Decision::Send => {}
            }
            let next = self.outbox.next_behind(stream.sent, stream.limit(BATCH));
            let has_large = matches!(next, Next::HasLarge);
            let batch = match next {
                Next::Nothing => None,
                Next::Batch(batch) => Some(batch),
                Next::HasLarge => self.read(stream, LARGE_BATCH).await?,
                Next::OnDisk => self.read(stream, DISK_BATCH).await?,
            };
            let Some(mut batch) = batch else {
                return Ok(Sleep::idle(stream.sent));
            };
            if !stream.takes_brief_records {
                let in_full = batch.in_full().map_err(std::io::Error::other);
                batch = in_full.map_err(PublishError::Spool)?;
            }
            self.outbox.on_its_way();
            batch.is_awaited = waiting.awaiting > 0;
            stream.sent = batch.last_sequence;
            stream.unacknowledged.push_back(Unacknowledged {
                last_sequence: batch.last_sequence,
                sent_at: tokio::time::Instant::now(),
                is_awaited: batch.is_awaited,
                has_large,
            });
            if stream.requests.send(Outgoing::Batch(batch)).await.is_err() {
                let url = stream.url.clone();
                return Err(PublishError::Closed { url });
            }
            waiting = self.outbox.waiting_behind(stream.sent);
        }
        Ok(Sleep::idle(stream.sent))
    }

    /// Reads a batch that is not in memory, or not all of it. `None`: it has been committed meanwhile.
    async fn read(
        &self,
        stream: &mut PublishStream,
        limit: BatchLimit,
    ) -> Result<Option<Batch>, PublishError> {
        let outbox = Arc::clone(&self.outbox);
        let limit = stream.limit(limit);
        let (mut position, sent) = (std::mem::take(&mut stream.position), stream.sent);
        let read = tokio::task::spawn_blocking(move || {
            let batch = outbox.read_behind(&mut position, sent, limit);
            batch.map(|batch| (position, batch))
        });
        let read = read.await.map_err(std::io::Error::other);
        let (position, batch) = read.flatten().map_err(PublishError::Spool)?;
        stream.position = position;
        Ok((!batch.records.is_empty()).then_some(batch))
    }

    fn take(
        &self,
        stream: &mut PublishStream,
        answer: Result<Option<v1::PublishResponse>, tonic::Status>,
    ) -> Result<(), PublishError> {
        let url = || stream.url.clone();
        let acknowledged = match answer {
            Ok(Some(response)) => acknowledged(response),
            Ok(None) => return Err(PublishError::Closed { url: url() }),
            Err(status) => return Err(PublishError::status(url(), status)),
        };
        self.outbox
            .acknowledge(acknowledged)
            .map_err(|mismatch| PublishError::Cursor {
                url: url(),
                mismatch,
            })?;
        stream
            .unacknowledged
            .retain(|sent| sent.last_sequence > acknowledged.committed);
        stream.durable = acknowledged.durable;
        Ok(())
    }
}

fn acknowledged(response: v1::PublishResponse) -> Acknowledged {
    let committed = response.committed_sequence;
    Acknowledged {
        // Control planes of earlier versions do not tell.
        durable: response.durable_sequence.max(committed),
        committed,
    }
}

struct PublishStream {
    url: String,
    requests: mpsc::Sender<Outgoing>,
    answers: Streaming<v1::PublishResponse>,
    takes_brief_records: bool,
    /// Sequence number of the last record sent.
    sent: u64,
    /// All up to this one is durable.
    durable: u64,
    /// Where the spool is read, when it has to be.
    position: Position,
    unacknowledged: VecDeque<Unacknowledged>,
}

/// A batch that is not stored.
struct Unacknowledged {
    last_sequence: u64,
    sent_at: tokio::time::Instant,
    /// Sessions wait for it to be durable.
    is_awaited: bool,
    has_large: bool,
}

impl PublishStream {
    fn limit(&self, limit: BatchLimit) -> BatchLimit {
        match self.takes_brief_records {
            true => limit,
            false => BatchLimit {
                records: MAX_RECORDS_IN_FULL,
                ..limit
            },
        }
    }

    fn is_full(&self) -> bool {
        let large = self.undurable().filter(|sent| sent.has_large).count();
        self.undurable().count() >= MAX_UNACKNOWLEDGED_BATCHES
            || large >= MAX_UNACKNOWLEDGED_LARGE_BATCHES
            || self.unacknowledged.len() >= MAX_UNSTORED_BATCHES
    }

    fn has_awaited(&self) -> bool {
        self.undurable().any(|sent| sent.is_awaited)
    }

    fn undurable(&self) -> impl Iterator<Item = &Unacknowledged> {
        let newest_first = self.unacknowledged.iter().rev();
        newest_first.take_while(|sent| sent.last_sequence > self.durable)
    }

    fn answer_due(&self) -> Option<tokio::time::Instant> {
        Some(self.unacknowledged.front()?.sent_at + ACKNOWLEDGE_TIMEOUT)
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
