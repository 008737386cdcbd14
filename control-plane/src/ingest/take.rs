//! The way of records into storage: read, sealed, stored, shown to those who watch.

use bytes::Bytes;
use pglens_core::RunId;

use super::seal::{Size, read, seal};
use super::store::{Stored, store};
use crate::app::App;
use crate::error::ServiceError;

/// Stores records that bring the record of a run from `expected` to `last`.
///
/// # Errors
/// When storage is not available, or a key cannot be had. Nothing is stored then.
pub(super) async fn take(
    app: &App,
    run_id: RunId,
    (expected, last): (u64, u64),
    records: Vec<Bytes>,
) -> Result<Stored, ServiceError> {
    let (record_count, size) = (records.len(), Size::of(&records));
    let merged = read(expected + 1, records, size).await?;
    let scopes = app
        .sessions
        .scopes(&app.storage, run_id, merged.sessions())
        .await?;
    let retention_days = app.session_defaults.retention.statements_days;
    let sealed = seal(&app.data_keys, retention_days, scopes, merged, size).await?;
    let stored = store(&app.storage, run_id, expected, last, &sealed).await?;
    if let Stored::Committed { refused } = stored {
        app.metrics.batch_stored(record_count, refused);
        if refused > 0 {
            tracing::error!(run.id = %run_id, refused, "records refused for what they hold, see the audit log");
        }
        app.live.stored(&sealed);
    }
    Ok(stored)
}
