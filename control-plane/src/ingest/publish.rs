//! One stream of batches from one run: in order, without gaps, each acknowledged when it is committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pglens_core::{ErrorCode, RunId};
use pglens_rpc::convert;
use pglens_rpc::status::status;
use pglens_rpc::v1::publish_request::Message;
use pglens_rpc::v1::{PublishRequest, PublishResponse, RecordBatch};
use tokio::sync::mpsc::Sender;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};

use super::seal::{Size, read, seal};
use super::store::{Stored, store};
use crate::app::App;
use crate::error::ServiceError;

/// From the start of the stream to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Records of one batch. Each holds some memory of its own beyond its bytes.
const MAX_RECORDS: usize = 50_000;
/// Batches that are stored in one transaction when they are there already: what one transaction costs is then shared,
/// and beyond a few there is little left to share. Each is a message of at most 8 MiB.
const MAX_GATHERED_BATCHES: usize = 4;
const MAX_GATHERED_RECORDS: usize = 12_000;

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
    mut committed: u64,
    mut inbound: S,
    outbound: &Sender<Result<PublishResponse, Status>>,
) -> Result<(), Status>
where
    S: Stream<Item = Result<PublishRequest, Status>> + Unpin,
{
    let mut goes_on = true;
    while goes_on {
        let answer = PublishResponse {
            committed_sequence: committed,
        };
        if outbound.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
        // Nothing is lost when this is dropped: a batch that was not taken is not acknowledged either.
        let received = tokio::select! {
            () = app.shutdown.cancelled() => return Ok(()),
            received = inbound.next() => received,
        };
        let mut gathered = Gathered::behind(committed);
        goes_on = gathered.add(received)?;
        // While storage was busy with the batch before, others came in: they share one transaction.
        while goes_on && gathered.has_room() {
            let Some(received) = inbound.next().now_or_never() else {
                break;
            };
            goes_on = match gathered.add(received) {
                Ok(goes_on) => goes_on,
                Err(status) => {
                    store_gathered(app, run_id, &mut committed, gathered).await?;
                    return Err(status);
                }
            };
        }
        store_gathered(app, run_id, &mut committed, gathered).await?;
    }
    Ok(())
}

/// New records of one batch or of several that follow one another.
struct Gathered {
    /// The record behind which they begin.
    committed: u64,
    /// The last one of them.
    last: u64,
    records: Vec<Bytes>,
    batches: usize,
}

impl Gathered {
    fn behind(committed: u64) -> Self {
        Self {
            committed,
            last: committed,
            records: Vec::new(),
            batches: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.batches < MAX_GATHERED_BATCHES && self.records.len() < MAX_GATHERED_RECORDS
    }

    /// Adds what came in; `false` when the stream is over.
    fn add(&mut self, received: Option<Result<PublishRequest, Status>>) -> Result<bool, Status> {
        match received {
            Some(Ok(PublishRequest {
                message: Some(Message::Batch(batch)),
            })) => {
                let last = batch.last_sequence;
                if let Some(records) = new_records(self.last, batch)? {
                    self.last = last;
                    match self.records.is_empty() {
                        true => self.records = records,
                        false => self.records.extend(records),
                    }
                }
                self.batches += 1;
                Ok(true)
            }
            Some(Ok(_)) => Err(status(ErrorCode::ProtocolViolation, "a batch was expected")),
            // Larger than a message may be: it would come again and again, so it has to be heard of.
            Some(Err(status)) if status.code() == Code::OutOfRange => Err(status),
            Some(Err(_)) | None => Ok(false),
        }
    }
}

/// Stores what was gathered; `committed` is then the sequence up to which the record is committed.
async fn store_gathered(
    app: &App,
    run_id: RunId,
    committed: &mut u64,
    gathered: Gathered,
) -> Result<(), Status> {
    let Gathered { last, records, .. } = gathered;
    if records.is_empty() {
        return Ok(());
    }
    let (record_count, size) = (records.len(), Size::of(&records));
    let merged = read(gathered.committed + 1, records, size)
        .await
        .map_err(ServiceError::from)?;
    let scopes = app
        .sessions
        .scopes(&app.storage, run_id, merged.sessions())
        .await
        .map_err(ServiceError::from)?;
    let sealed = seal(
        &app.data_keys,
        app.session_defaults.retention.statements_days,
        scopes,
        merged,
        size,
    )
    .await
    .map_err(ServiceError::from)?;
    match store(&app.storage, run_id, gathered.committed, last, &sealed)
        .await
        .map_err(ServiceError::from)?
    {
        Stored::Committed { refused } => {
            app.metrics.batch_stored(record_count, refused);
            if refused > 0 {
                tracing::error!(run.id = %run_id, refused, "records refused for what they hold, see the audit log");
            }
            app.live.stored(&sealed);
            *committed = last;
            Ok(())
        }
        Stored::CursorMoved => Err(status(
            ErrorCode::Conflict,
            "another stream of this run has stored records, open a new one",
        )),
    }
}

/// The records behind `committed`; `None` when there are none.
fn new_records(committed: u64, batch: RecordBatch) -> Result<Option<Vec<Bytes>>, Status> {
    let RecordBatch {
        first_sequence,
        last_sequence,
        mut records,
    } = batch;
    let invalid = |reason: &str| status(ErrorCode::InvalidArgument, reason);
    if records.len() > MAX_RECORDS {
        return Err(status(
            ErrorCode::TooLarge,
            "more records than a batch may have",
        ));
    }
    let count = last_sequence
        .checked_sub(first_sequence)
        .and_then(|count| count.checked_add(1));
    if first_sequence == 0 || count != u64::try_from(records.len()).ok() {
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
    let known = usize::try_from(known)
        .unwrap_or(usize::MAX)
        .min(records.len());
    drop(records.drain(..known));
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
