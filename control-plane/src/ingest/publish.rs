//! One stream of batches from one run: in order, without gaps, acknowledged when they are durable and when they are stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pglens_core::{ErrorCode, RunId};
use pglens_rpc::convert;
use pglens_rpc::status::status;
use pglens_rpc::v1::publish_request::Message;
use pglens_rpc::v1::{PublishRequest, PublishResponse, RecordBatch};
use pglens_runtime::sleep_until;
use tokio::sync::mpsc::Sender;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};

use super::held::{Held, Step, UnderWay};
use super::journal;
use super::store::Stored;
use super::take::take;
use crate::app::App;
use crate::error::ServiceError;

/// From the start of the stream to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Records of one batch. Each holds some memory of its own beyond its bytes.
const MAX_RECORDS: usize = 50_000;

/// Serves one `Publish` stream of the proxy `proxy_name`: takes batches until it ends, and acknowledges each.
pub async fn run<S>(
    app: Arc<App>,
    proxy_name: String,
    mut inbound: S,
    outbound: Sender<Result<PublishResponse, Status>>,
) where
    S: Stream<Item = Result<PublishRequest, Status>> + Unpin,
{
    let served = match open(&app, &proxy_name, &mut inbound).await {
        Ok((run_id, committed)) => serve(&app, run_id, committed, inbound, &outbound).await,
        Err(status) => Err(status),
    };
    if let Err(status) = served {
        tracing::warn!(proxy.name = proxy_name, code = ?status.code(), reason = status.message(), "record not taken");
        // The proxy may have gone in the meantime.
        let _ = outbound.send(Err(status)).await;
    }
}

/// Reads the hello; returns the run and the last committed sequence of its record.
async fn open<S>(app: &App, proxy_name: &str, inbound: &mut S) -> Result<(RunId, u64), Status>
where
    S: Stream<Item = Result<PublishRequest, Status>> + Unpin,
{
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.next())
        .await
        .map_err(|_| status(ErrorCode::ProtocolViolation, "no hello came in time"))?;
    let Some(Message::Hello(hello)) = first.transpose()?.and_then(|first| first.message) else {
        return Err(status(
            ErrorCode::ProtocolViolation,
            "the first message must be hello",
        ));
    };
    let run_id = convert::run_id(&hello.run_id)?;
    let run = app
        .storage
        .proxy_run_fetch(run_id)
        .await
        .map_err(ServiceError::from)?;
    let run =
        run.ok_or_else(|| status(ErrorCode::Conflict, "the run is not known, attach first"))?;
    if run.proxy_name != proxy_name {
        return Err(status(
            ErrorCode::PermissionDenied,
            "the run belongs to another proxy",
        ));
    }
    Ok((
        run_id,
        u64::try_from(run.committed_sequence).unwrap_or_default(),
    ))
}

async fn serve<S>(
    app: &App,
    run_id: RunId,
    committed: u64,
    inbound: S,
    outbound: &Sender<Result<PublishResponse, Status>>,
) -> Result<(), Status>
where
    S: Stream<Item = Result<PublishRequest, Status>> + Unpin,
{
    let mut intake = Intake {
        app,
        run_id,
        committed,
        held: Held::behind(committed),
        storing: None,
        journaling: None,
        end: None,
    };
    let served = intake.serve(inbound, outbound).await;
    if intake.storing.is_some() {
        // A transaction under way is not broken off, whatever became of the stream.
        finished(&mut intake.storing).await?;
    }
    served
}

/// Work under way; it ends with the last sequence that it was about.
type Work<'a> = BoxFuture<'a, Result<u64, Status>>;

/// What one stream takes in.
struct Intake<'a> {
    app: &'a App,
    run_id: RunId,
    /// The record is stored up to this one.
    committed: u64,
    held: Held,
    storing: Option<Work<'a>>,
    journaling: Option<Work<'a>>,
    /// Nothing more will come, and why.
    end: Option<Result<(), Status>>,
}

impl Intake<'_> {
    async fn serve<S>(
        &mut self,
        mut inbound: S,
        outbound: &Sender<Result<PublishResponse, Status>>,
    ) -> Result<(), Status>
    where
        S: Stream<Item = Result<PublishRequest, Status>> + Unpin,
    {
        let mut owes_answer = true;
        loop {
            if owes_answer && outbound.send(Ok(self.answer())).await.is_err() {
                return Ok(());
            }
            let due = self.go_on();
            if self.is_done() {
                return self.end.take().unwrap_or(Ok(()));
            }
            let takes_more = self.end.is_none() && self.held.has_room();
            owes_answer = true;
            tokio::select! {
                // Nothing is lost when this is dropped: what is not durable is not acknowledged either.
                () = self.app.shutdown.cancelled() => return Ok(()),
                stored = finished(&mut self.storing) => {
                    self.committed = stored?;
                    self.held.made_durable(self.committed);
                }
                durable = finished(&mut self.journaling) => self.held.made_durable(durable?),
                received = inbound.next(), if takes_more => {
                    owes_answer = self.receive(received, &mut inbound);
                }
                () = sleep_until(due) => owes_answer = false,
            }
        }
    }

    fn answer(&self) -> PublishResponse {
        PublishResponse {
            committed_sequence: self.committed,
            durable_sequence: self.held.durable(),
            takes_brief_records: true,
        }
    }

    fn is_done(&self) -> bool {
        let is_idle = self.storing.is_none() && self.journaling.is_none();
        self.end.is_some() && is_idle && self.held.is_empty()
    }

    /// Begins what is to be done; says when to look again.
    fn go_on(&mut self) -> Option<Instant> {
        let (app, run_id) = (self.app, self.run_id);
        loop {
            let under_way = UnderWay {
                stores: self.storing.is_some(),
                journals: self.journaling.is_some(),
            };
            let ends = self.end.is_some();
            match self.held.next_step(under_way, ends, Instant::now()) {
                Step::Wait => return None,
                Step::WaitUntil(due) => return Some(due),
                Step::Journal => {
                    let (first, records) = self.held.undurable();
                    let last = self.held.last();
                    self.journaling = Some(Box::pin(async move {
                        journal::write(app, run_id, first, records).await?;
                        Ok(last)
                    }));
                }
                Step::Store => {
                    let (span, records) = self.held.hand_over();
                    self.storing = Some(Box::pin(store(app, run_id, span, records)));
                }
            }
        }
    }

    /// Takes in what came, and what else is there already. Whether the answer is known: there was nothing new in it.
    fn receive<S>(&mut self, first: Received, inbound: &mut S) -> bool
    where
        S: Stream<Item = Result<PublishRequest, Status>> + Unpin,
    {
        let mut received = first;
        let mut is_answered = false;
        loop {
            match self.add(received) {
                Ok(Added::New) => {}
                Ok(Added::Nothing) => is_answered = true,
                Ok(Added::End) => self.end = Some(Ok(())),
                Err(status) => self.end = Some(Err(status)),
            }
            if self.end.is_some() || !self.held.has_room() {
                return is_answered;
            }
            received = match inbound.next().now_or_never() {
                Some(more) => more,
                None => return is_answered,
            };
        }
    }

    fn add(&mut self, received: Received) -> Result<Added, Status> {
        match received {
            Some(Ok(PublishRequest {
                message: Some(Message::Batch(batch)),
            })) => {
                let is_awaited = batch.is_awaited;
                let Some(records) = new_records(self.held.last(), batch)? else {
                    return Ok(Added::Nothing);
                };
                self.held.add(records, is_awaited, Instant::now());
                Ok(Added::New)
            }
            Some(Ok(_)) => Err(status(ErrorCode::ProtocolViolation, "a batch was expected")),
            // Larger than a message may be: it would come again and again, so it has to be heard of.
            Some(Err(status)) if status.code() == Code::OutOfRange => Err(status),
            Some(Err(_)) | None => Ok(Added::End),
        }
    }
}

type Received = Option<Result<PublishRequest, Status>>;

/// What a message brought.
enum Added {
    New,
    Nothing,
    End,
}

async fn store(
    app: &App,
    run_id: RunId,
    span: (u64, u64),
    records: Vec<Bytes>,
) -> Result<u64, Status> {
    match take(app, run_id, span, records).await? {
        Stored::Committed { .. } => Ok(span.1),
        Stored::CursorMoved => Err(status(
            ErrorCode::Conflict,
            "another stream of this run has stored records, open a new one",
        )),
    }
}

/// The result of what is under way. Cancel safe: it goes on where it was.
async fn finished(work: &mut Option<Work<'_>>) -> Result<u64, Status> {
    match work {
        Some(under_way) => {
            let done = under_way.await;
            *work = None;
            done
        }
        None => std::future::pending().await,
    }
}

/// The records behind `committed`; `None` when there are none.
fn new_records(committed: u64, batch: RecordBatch) -> Result<Option<Vec<Bytes>>, Status> {
    let (first_sequence, last_sequence) = (batch.first_sequence, batch.last_sequence);
    let invalid = |reason: &str| status(ErrorCode::InvalidArgument, reason);
    if batch.records.len() > MAX_RECORDS {
        return Err(status(
            ErrorCode::TooLarge,
            "more records than a batch may have",
        ));
    }
    let count = last_sequence
        .checked_sub(first_sequence)
        .and_then(|count| count.checked_add(1));
    if first_sequence == 0 || count != u64::try_from(batch.records.len()).ok() {
        return Err(invalid(
            "the sequences of the batch do not match its records",
        ));
    }
    if i64::try_from(last_sequence).is_err() {
        return Err(invalid("the sequence is beyond what can be stored"));
    }
    if last_sequence <= committed {
        return Ok(None);
    }
    let Some(known) = (committed + 1).checked_sub(first_sequence) else {
        return Err(status(
            ErrorCode::Conflict,
            format!(
                "the batch begins at {first_sequence}, expected {}",
                committed + 1
            ),
        ));
    };
    if known == 0 {
        return Ok(Some(batch.records));
    }
    // Those that are left may refer to those that go.
    let mut records = batch.in_full().records;
    let known = usize::try_from(known).unwrap_or(usize::MAX);
    drop(records.drain(..known.min(records.len())));
    Ok(Some(records))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u64, last: u64, count: usize) -> RecordBatch {
        let number = |index: usize| first.wrapping_add(index as u64).to_string();
        RecordBatch {
            first_sequence: first,
            last_sequence: last,
            records: (0..count).map(|index| number(index).into()).collect(),
            is_awaited: false,
        }
    }

    #[test]
    fn only_records_behind_the_cursor_are_new() {
        let check = |committed, (first, last), expected: Option<(u64, usize)>| {
            let count = usize::try_from(last - first + 1).unwrap();
            let new = new_records(committed, batch(first, last, count)).unwrap();
            let number_of =
                |records: &[Bytes]| str::from_utf8(&records[0]).unwrap().parse().unwrap();
            let seen = new.map(|records| (number_of(&records), records.len()));
            assert_eq!(seen, expected, "{first}..={last} behind {committed}");
        };
        check(0, (1, 3), Some((1, 3)));
        check(2, (1, 3), Some((3, 1)));
        check(3, (1, 3), None);
        check(9, (1, 3), None);
        check(3, (4, 4), Some((4, 1)));
    }

    #[test]
    fn gaps_and_wrong_counts_are_refused() {
        let check = |committed, first, last, count, expected| {
            let refused = new_records(committed, batch(first, last, count)).unwrap_err();
            assert_eq!(
                refused.code(),
                expected,
                "{first}..={last} behind {committed}"
            );
        };
        check(0, 2, 3, 2, Code::FailedPrecondition);
        check(0, 1, 3, 2, Code::InvalidArgument);
        check(0, 0, 1, 2, Code::InvalidArgument);
        check(0, 3, 1, 0, Code::InvalidArgument);
        check(0, 1, u64::MAX, 1, Code::InvalidArgument);
    }
}
