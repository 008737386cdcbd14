//! All captured rows of a statement as one stream of text, a chunk in memory at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pglens_core::{ErrorCode, QueryId};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::messages::RowFormat;
use super::tables::{Table, TableFormat};
use super::{columns, find, row_format};
use crate::app::App;
use crate::error::ServiceError;
use crate::ingest::block::PlainChunk;
use crate::service::audit::{Action, AuditEntry};
use crate::service::caller::Caller;
use crate::service::captured;
use crate::storage::query::QueryRecord;

/// Downloads at once; each holds a few mebibytes.
pub const MAX_DOWNLOADS: usize = 16;
/// Texts of chunks that wait for the reader.
const QUEUED_CHUNKS: usize = 1;
/// A reader that takes nothing for so long has gone away.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The pieces of a download. The last one is an error when it is cut short.
pub type Pieces = Receiver<Result<Bytes, ServiceError>>;

/// Starts to read all rows of a statement. That they are read, and how many, is recorded before the first leaves.
///
/// # Errors
/// When the caller is no administrator, it does not exist, there are too many downloads, or storage is not available.
pub async fn download(
    app: &Arc<App>,
    caller: &Caller,
    id: QueryId,
    format: TableFormat,
) -> Result<Pieces, ServiceError> {
    caller.require_admin()?;
    let place = Arc::clone(&app.downloads)
        .try_acquire_owned()
        .map_err(|_| ServiceError::new(ErrorCode::Overloaded, "too many downloads at once"))?;
    let record = find(app, id).await?;
    let row_count = captured::row_count(app, &record).await?;
    let entry = AuditEntry::by(caller, Action::RowsRead, "query", id)
        .after(json!({ "first_row": 0, "row_count": row_count, "format": format.as_str() }));
    app.storage.audit_insert(&entry).await?;
    let names = columns(&record).unwrap_or_default();
    let types: RowFormat = row_format(&record);
    let reading = Reading {
        app: Arc::clone(app),
        table: Table {
            format,
            names: names.into_iter().map(|column| column.name).collect(),
            types,
        },
        rows_left: u64::try_from(row_count).unwrap_or_default(),
        record,
        fetched: VecDeque::new(),
        after_chunk: -1,
        _place: place,
    };
    let (sender, receiver) = channel(QUEUED_CHUNKS);
    tokio::spawn(reading.run(sender));
    Ok(receiver)
}

struct Reading {
    app: Arc<App>,
    record: QueryRecord,
    table: Table,
    /// Rows that came in after the count are not shown: nobody was told that they are read.
    rows_left: u64,
    fetched: VecDeque<PlainChunk>,
    after_chunk: i32,
    _place: OwnedSemaphorePermit,
}

impl Reading {
    /// Ends when all is sent, at the first error, and when nobody reads any more.
    async fn run(mut self, sender: Sender<Result<Bytes, ServiceError>>) {
        let mut piece = Ok(Some(self.table.header()));
        loop {
            let (sent, is_last) = match piece {
                Ok(Some(text)) => (Ok(Bytes::from(text)), false),
                Ok(None) => return,
                Err(error) => {
                    ServiceError::log(&error);
                    (Err(error), true)
                }
            };
            let taken = timeout(STALL_TIMEOUT, sender.send(sent)).await;
            if is_last || !matches!(taken, Ok(Ok(()))) {
                return;
            }
            piece = self.next_piece().await;
        }
    }

    /// The text of the next chunk; `None` behind the last one.
    async fn next_piece(&mut self) -> Result<Option<String>, ServiceError> {
        if self.rows_left == 0 {
            return Ok(None);
        }
        if self.fetched.is_empty() {
            let chunks = captured::chunks(&self.app, &self.record, 0, self.after_chunk, 1).await?;
            self.fetched.extend(chunks);
        }
        let Some(chunk) = self.fetched.pop_front() else {
            return Ok(None);
        };
        let mut text = String::with_capacity(chunk.data.len());
        let written = self
            .table
            .write_chunk(&mut text, &chunk.data, self.rows_left)?;
        self.rows_left -= written;
        self.after_chunk = chunk.chunk;
        Ok(Some(text))
    }
}
