//! What an operator does by hand, beside running control planes: drop what is past its retention, and seal everything
//! again under a new master key. Both need the storage database alone.

use chrono::Utc;
use pglens_runtime::config::{LOG, LOG_FORMAT};
use pglens_runtime::{Setting, Settings};

use crate::config::{
    DSN_SETTING, KEY_SETTING, KEYFILE_SETTING, RETENTION_ROWS_SETTING, RETENTION_SETTING, dsn,
    keys, retention,
};
use crate::error::RunError;
use crate::ingest::retention::keep_once;
use crate::storage::Storage;
pub use crate::storage::partition::{PartitionsKept, PastDay};
pub use crate::storage::reseal::{Resealed, SEALED_COLUMNS, SealedColumn};

/// One to work with.
const CONNECTIONS: usize = 1;

/// The settings of [`drop_past`].
pub const RETENTION_SETTINGS: &[Setting] = &[
    DSN_SETTING,
    RETENTION_SETTING,
    RETENTION_ROWS_SETTING,
    LOG,
    LOG_FORMAT,
];

/// The settings of [`reseal`].
pub const RESEAL_SETTINGS: &[Setting] =
    &[DSN_SETTING, KEY_SETTING, KEYFILE_SETTING, LOG, LOG_FORMAT];

/// What is past its retention; nothing is dropped.
///
/// # Errors
/// When a setting cannot be used, or storage is not available.
pub async fn list_past(settings: &Settings) -> Result<Vec<PastDay>, RunError> {
    let kept_from = retention(settings)?.kept_from(Utc::now().date_naive());
    let storage = connect(settings).await?;
    storage
        .partition_past(kept_from)
        .await
        .map_err(RunError::Storage)
}

/// Drops what is past its retention, with its keys, as control planes do by themselves every hour. `None`: one of them
/// is at it at this moment.
///
/// # Errors
/// As [`list_past`].
pub async fn drop_past(settings: &Settings) -> Result<Option<PartitionsKept>, RunError> {
    let retention = retention(settings)?;
    let storage = connect(settings).await?;
    keep_once(&storage, retention)
        .await
        .map_err(RunError::Storage)
}

/// Seals again, under the first of the master keys, what the others sealed; tells `done` of each column. May be stopped
/// and run again at any time, also while control planes run, once all of them have the new key.
///
/// # Errors
/// When a setting cannot be used, or storage is not available.
pub async fn reseal(
    settings: &Settings,
    mut done: impl FnMut(SealedColumn, Resealed),
) -> Result<(), RunError> {
    let keys = keys(settings)?;
    let storage = connect(settings).await?;
    for column in SEALED_COLUMNS {
        let resealed = storage
            .reseal(&keys, column)
            .await
            .map_err(RunError::Storage)?;
        done(column, resealed);
    }
    Ok(())
}

async fn connect(settings: &Settings) -> Result<Storage, RunError> {
    Storage::connect(dsn(settings)?, CONNECTIONS)
        .await
        .map_err(RunError::Storage)
}
