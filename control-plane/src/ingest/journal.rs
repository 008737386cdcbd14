//! Makes records durable that somebody waits for, before they are stored with others.
//!
//! Under the audit level `strict` a statement runs when its start is durable. Storing it at once would be a transaction
//! over many tables for every handful of statements, and a second one for their ends. So what is waited for goes as it
//! came, sealed, into one row of a journal, and is stored with what follows it. Until then the proxy keeps it as well,
//! and sends it again to whoever serves it next. Only when proxy and spool are lost is it read from here.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use pglens_core::RunId;
use pglens_rpc::v1::RecordBatch;
use prost::Message;

use super::store::Stored;
use super::take::take;
use crate::app::App;
use crate::crypto::data_key::DataKeyError;
use crate::crypto::sealed_value::Place;
use crate::error::ServiceError;
use crate::storage::record_journal::JournalEntry;

/// What became of a run's journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Records that were stored from it.
    pub records: u64,
    /// The first record that cannot be read; none of those behind it were stored.
    pub unreadable_from: Option<u64>,
}

/// Makes `records` durable, the first of which has the position `first` in the record of its run. They must follow what is
/// durable already.
///
/// # Errors
/// When storage is not available, or the day's key cannot be had.
pub async fn write(
    app: &App,
    run_id: RunId,
    first: u64,
    records: Vec<Bytes>,
) -> Result<(), ServiceError> {
    let last_sequence = (first + records.len() as u64).saturating_sub(1);
    let batch = RecordBatch {
        first_sequence: first,
        last_sequence,
        records,
        is_awaited: false,
    };
    // Read by itself, from any record on, and perhaps by a control plane of an earlier version.
    let batch = batch.in_full();
    let key_day = Utc::now().date_naive();
    let place = place(run_id, first);
    let key = app.data_keys.for_sealing(key_day, place.purpose()).await?;
    let entry = JournalEntry {
        first_sequence: first,
        last_sequence,
        key_day,
        records_sealed: key.seal(place, &batch.encode_to_vec())?,
    };
    app.storage.journal_write(run_id, &entry).await?;
    app.metrics.batch_journaled();
    Ok(())
}

/// Stores what the journal of a run has and its record has not.
///
/// # Errors
/// When storage is not available, a key cannot be had, or a stream of the run stores records meanwhile.
pub async fn fold(app: &App, run_id: RunId) -> Result<Folded, ServiceError> {
    let mut folded = Folded::default();
    while let Some((committed, entry)) = app.storage.journal_next(run_id).await? {
        let first = entry.first_sequence;
        let records = match open(app, run_id, &entry).await {
            Ok(batch) => behind(committed, batch),
            Err(error) => unreadable(run_id, first, &error)?,
        };
        let Some(records) = records else {
            folded.unreadable_from = Some(first.max(committed + 1));
            break;
        };
        let count = records.len() as u64;
        folded.records += count;
        // What was sealed counts, and not what the row says beside it.
        let span = (committed, committed + count);
        if take(app, run_id, span, records).await? == Stored::CursorMoved {
            return Err(ServiceError::conflict(
                "a stream of the run has stored records",
            ));
        }
    }
    if folded.records > 0 {
        tracing::info!(run.id = %run_id, records = folded.records, "records stored from the journal");
    }
    Ok(folded)
}

fn place(run_id: RunId, first_sequence: u64) -> Place {
    Place::Journal {
        run_id,
        first_sequence,
    }
}

async fn open(
    app: &App,
    run_id: RunId,
    entry: &JournalEntry,
) -> Result<RecordBatch, Arc<DataKeyError>> {
    let place = place(run_id, entry.first_sequence);
    let keys = &app.data_keys;
    let plain = keys
        .open(entry.key_day, place, &entry.records_sealed)
        .await?;
    RecordBatch::decode(plain.as_slice()).map_err(|_| DataKeyError::Damaged.into())
}

/// The records behind `committed`; `None` when some are missing in between, or none is there although there should be.
fn behind(committed: u64, batch: RecordBatch) -> Option<Vec<Bytes>> {
    let mut records = batch.records;
    let known = (committed + 1).checked_sub(batch.first_sequence)?;
    let known = usize::try_from(known).ok()?;
    if known >= records.len() {
        return None;
    }
    drop(records.drain(..known));
    Some(records)
}

/// Tells what will never be readable from what may be later.
fn unreadable<T>(
    run_id: RunId,
    first: u64,
    error: &Arc<DataKeyError>,
) -> Result<Option<T>, ServiceError> {
    match **error {
        DataKeyError::Storage(_) | DataKeyError::Wrapped { .. } => Err(error.clone().into()),
        _ => {
            tracing::error!(run.id = %run_id, first_sequence = first, error = %error, "journal of a run does not open");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_already_is_left_out_and_a_gap_is_seen() {
        let batch = || RecordBatch {
            first_sequence: 5,
            last_sequence: 7,
            records: [5, 6, 7].map(|n: u8| Bytes::copy_from_slice(&[n])).into(),
            is_awaited: false,
        };
        let check = |committed, expected: Option<&[u8]>| {
            let records = behind(committed, batch());
            let got = records.map(|records| records.concat());
            assert_eq!(got.as_deref(), expected, "behind {committed}");
        };
        check(4, Some(&[5, 6, 7]));
        check(6, Some(&[7]));
        check(7, None);
        check(3, None);
    }
}
