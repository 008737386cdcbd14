//! Records that are durable and not stored yet. They go in the transaction that stores them (see [`super::record`]).

use chrono::NaiveDate;
use pglens_core::RunId;

use super::quota::signed;
use super::{Storage, StoreError, Transaction, column, count};

/// Another stream of the run may have written the same records, or more of them.
const WRITE: &str = "insert into record_journal as j (run_id, first_sequence, last_sequence, key_day, records_sealed) \
     values ($1, $2, $3, $4, $5) on conflict (run_id, first_sequence) do update \
     set last_sequence = excluded.last_sequence, key_day = excluded.key_day, records_sealed = excluded.records_sealed \
     where j.last_sequence < excluded.last_sequence";

const NEXT: &str = "select r.committed_sequence, j.first_sequence, j.last_sequence, j.key_day, j.records_sealed \
     from proxy_runs r join record_journal j on j.run_id = r.run_id and j.last_sequence > r.committed_sequence \
     where r.run_id = $1 order by j.first_sequence limit 1";

const DELETE: &str = "delete from record_journal where run_id = $1";

/// Records of a run that follow one another.
#[derive(Debug)]
pub struct JournalEntry {
    /// Position of the first one.
    pub first_sequence: u64,
    /// Position of the last one.
    pub last_sequence: u64,
    /// Day of the key.
    pub key_day: NaiveDate,
    /// A `RecordBatch` with them.
    pub records_sealed: Vec<u8>,
}

impl Storage {
    /// Makes records durable.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn journal_write(
        &self,
        run_id: RunId,
        entry: &JournalEntry,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(WRITE).await?;
        client
            .execute(
                &statement,
                &[
                    &run_id.0,
                    &signed(entry.first_sequence),
                    &signed(entry.last_sequence),
                    &entry.key_day,
                    &entry.records_sealed,
                ],
            )
            .await?;
        Ok(())
    }

    /// The first records of a run that are not stored yet, with the sequence up to which its record is.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn journal_next(
        &self,
        run_id: RunId,
    ) -> Result<Option<(u64, JournalEntry)>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(NEXT).await?;
        let row = client.query_opt(&statement, &[&run_id.0]).await?;
        row.map(|row| {
            let entry = JournalEntry {
                first_sequence: count(&row, "first_sequence")?,
                last_sequence: count(&row, "last_sequence")?,
                key_day: column(&row, "key_day")?,
                records_sealed: column(&row, "records_sealed")?,
            };
            Ok((count(&row, "committed_sequence")?, entry))
        })
        .transpose()
    }
}

/// Drops what is left of a run: it cannot be read, or was stored.
///
/// # Errors
/// When the database cannot be reached.
pub async fn journal_delete_in_txn(txn: &Transaction<'_>, run_id: RunId) -> Result<(), StoreError> {
    let statement = txn.prepare_cached(DELETE).await?;
    txn.execute(&statement, &[&run_id.0]).await?;
    Ok(())
}
