//! Captured rows as they came from the target, opened: from chunks of their own and from blocks that statements share.

use chrono::NaiveDate;
use pglens_core::{ErrorCode, QueryId};

use crate::app::App;
use crate::crypto::data_key::DataKeyError;
use crate::crypto::sealed_value::Place;
use crate::error::ServiceError;
use crate::ingest::block::{PlainChunk, unpack};
use crate::storage::query::QueryRecord;

/// Some chunks of a statement's rows in order, about `limit_chunks`: those behind chunk `after` that hold row `from_row`
/// or a later one. Empty: there are no more. To be asked again behind the last one.
///
/// # Errors
/// When they do not open, or storage is not available.
pub async fn chunks(
    app: &App,
    record: &QueryRecord,
    from_row: i64,
    after: i32,
    limit_chunks: i64,
) -> Result<Vec<PlainChunk>, ServiceError> {
    let query_id = QueryId(record.query.id);
    if record.query.rows_dropped {
        return Ok(Vec::new());
    }
    if let Some(block_id) = record.rows_block {
        let chunks = block(app, query_id, block_id).await?;
        let wanted = chunks.into_iter().filter(|chunk| {
            let end = chunk.first_row.saturating_add(chunk.row_count.into());
            chunk.chunk > after && end > from_row
        });
        return Ok(wanted.collect());
    }
    let sealed = app
        .storage
        .query_rows_list(query_id, from_row, after, limit_chunks)
        .await?;
    let mut chunks = Vec::with_capacity(sealed.len());
    for sealed in sealed {
        let place = Place::Rows {
            query_id,
            chunk: sealed.chunk,
        };
        let Some(data) = open(app, sealed.key_day, place, &sealed.data_sealed).await? else {
            return Ok(Vec::new());
        };
        chunks.push(PlainChunk {
            chunk: sealed.chunk,
            first_row: sealed.first_row,
            row_count: sealed.row_count,
            data,
        });
    }
    Ok(chunks)
}

/// How many rows of a statement are kept by now.
///
/// # Errors
/// As [`chunks`].
pub async fn row_count(app: &App, record: &QueryRecord) -> Result<i64, ServiceError> {
    let query_id = QueryId(record.query.id);
    if record.query.rows_dropped {
        return Ok(0);
    }
    let Some(block_id) = record.rows_block else {
        return Ok(app.storage.query_rows_count(query_id).await?);
    };
    let chunks = block(app, query_id, block_id).await?;
    Ok(chunks.iter().map(|chunk| i64::from(chunk.row_count)).sum())
}

async fn block(
    app: &App,
    query_id: QueryId,
    block_id: uuid::Uuid,
) -> Result<Vec<PlainChunk>, ServiceError> {
    let Some(sealed) = app.storage.query_rows_block(block_id).await? else {
        return Ok(Vec::new());
    };
    let place = Place::Block(block_id);
    let Some(plain) = open(app, sealed.key_day, place, &sealed.data_sealed).await? else {
        return Ok(Vec::new());
    };
    let chunks = unpack(&plain, query_id).map_err(ServiceError::internal)?;
    if chunks.is_empty() {
        // A statement names the block it was packed into: somebody changed that.
        return Err(ServiceError::new(
            ErrorCode::Internal,
            "the captured rows are not where their statement says: storage was changed",
        ));
    }
    Ok(chunks)
}

/// `None`: the key is gone, for the day's rows are being dropped at this moment.
async fn open(
    app: &App,
    day: NaiveDate,
    place: Place,
    sealed: &[u8],
) -> Result<Option<Vec<u8>>, ServiceError> {
    match app.data_keys.open(day, place, sealed).await {
        Ok(plain) => Ok(Some(plain)),
        Err(error) if matches!(*error, DataKeyError::Gone { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
