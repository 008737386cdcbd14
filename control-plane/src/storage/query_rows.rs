//! Captured rows, chunk by chunk, as they are sealed.

use chrono::NaiveDate;
use pglens_core::QueryId;
use uuid::Uuid;

use super::{Storage, StoreError, column};

const LIST: &str = "select chunk, first_row, row_count, key_day, data_sealed from query_rows \
     where query_id = $1 and first_row + row_count > $2 and chunk > $3 order by chunk limit $4";

const COUNT: &str =
    "select coalesce(sum(row_count), 0)::bigint as rows from query_rows where query_id = $1";

const BLOCK: &str =
    "select key_day, data_sealed from query_rows where query_id = $1 and chunk = $2";

/// The chunk number of a block, which no statement's chunk has.
pub(super) const BLOCK_CHUNK: i32 = -1;

/// Rows of several statements, sealed together.
#[derive(Debug)]
pub struct SealedBlock {
    /// Day of its key.
    pub key_day: NaiveDate,
    /// Its data.
    pub data_sealed: Vec<u8>,
}

/// A chunk of a statement's rows.
#[derive(Debug)]
pub struct SealedChunk {
    /// Counts the chunks from 0.
    pub chunk: i32,
    /// Number of its first row, from 0.
    pub first_row: i64,
    /// Rows in it.
    pub row_count: i32,
    /// Day of its key.
    pub key_day: NaiveDate,
    /// Its data.
    pub data_sealed: Vec<u8>,
}

impl Storage {
    /// How many rows of a statement are kept by now.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn query_rows_count(&self, query_id: QueryId) -> Result<i64, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(COUNT).await?;
        let row = client.query_one(&statement, &[&query_id.0]).await?;
        column(&row, "rows")
    }

    /// Chunks behind chunk `after` that hold row `from_row` or a later one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn query_rows_list(
        &self,
        query_id: QueryId,
        from_row: i64,
        after: i32,
        limit_chunks: i64,
    ) -> Result<Vec<SealedChunk>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LIST).await?;
        let rows = client
            .query(&statement, &[&query_id.0, &from_row, &after, &limit_chunks])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(SealedChunk {
                    chunk: column(row, "chunk")?,
                    first_row: column(row, "first_row")?,
                    row_count: column(row, "row_count")?,
                    key_day: column(row, "key_day")?,
                    data_sealed: column(row, "data_sealed")?,
                })
            })
            .collect()
    }

    /// A block of rows, if it is there.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn query_rows_block(&self, id: Uuid) -> Result<Option<SealedBlock>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(BLOCK).await?;
        let row = client.query_opt(&statement, &[&id, &BLOCK_CHUNK]).await?;
        row.map(|row| {
            Ok(SealedBlock {
                key_day: column(&row, "key_day")?,
                data_sealed: column(&row, "data_sealed")?,
            })
        })
        .transpose()
    }
}
