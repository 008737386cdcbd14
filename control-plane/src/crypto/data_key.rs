//! The keys of captured values: for each day one for what belongs to statements and one for rows, which may be kept for a
//! shorter time; wrapped by the master key and kept beside the day's partitions. Dropping a key makes its values
//! unreadable for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use moka::future::Cache;
use pglens_core::ErrorCode;

use super::cipher::KEY_BYTES;
use super::keyring::{KeyRing, OpenError, SealContext};
use super::sealed_value::{DataKey, KeyPurpose, Place, VERSION_ZSTD_ONLY};
use crate::error::ServiceError;
use crate::storage::{Storage, StoreError};

/// Days whose keys are held in memory: a record's day, and those somebody reads.
const MAX_CACHED_DAYS: u64 = 128;

/// How long after a key is dropped from storage other replicas may still hold it.
const CACHED_FOR: Duration = Duration::from_secs(60 * 60);

/// A captured value that cannot be read, or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    /// The day's key was dropped with its partitions.
    #[error("the key of {day} is gone: the record of that day is past its retention")]
    Gone {
        /// The day, in UTC.
        day: NaiveDate,
    },
    /// The wrapped key does not open under the configured master keys.
    #[error("the key of {day} does not open")]
    Wrapped {
        /// The day, in UTC.
        day: NaiveDate,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The value is damaged, cut, or belongs to another place.
    #[error("a captured value is damaged or belongs to another place")]
    Damaged,
    /// The value is of a format this version does not know.
    #[error("a captured value has the unknown format {version}")]
    UnknownVersion {
        /// Its first byte.
        version: u8,
    },
    /// Compression failed, which is a defect.
    #[error("a captured value cannot be compressed")]
    Compress(#[source] std::io::Error),
    /// Storage failed.
    #[error("the key of a day cannot be read")]
    Storage(#[from] Arc<StoreError>),
}

impl From<Arc<DataKeyError>> for ServiceError {
    fn from(error: Arc<DataKeyError>) -> Self {
        match &*error {
            DataKeyError::Gone { .. } => Self::new(ErrorCode::NotFound, error.to_string()),
            DataKeyError::Storage(_) => Self::unavailable(error),
            _ => Self::new(
                ErrorCode::Internal,
                "the captured values cannot be decrypted: they are damaged, or their key is not configured",
            )
            .with_source(error),
        }
    }
}

impl From<DataKeyError> for ServiceError {
    fn from(error: DataKeyError) -> Self {
        Arc::new(error).into()
    }
}

/// Keys by the day and purpose they are of.
pub type DayKeys = HashMap<(NaiveDate, KeyPurpose), Arc<DataKey>>;

/// The keys of all days.
#[derive(Clone)]
pub struct DataKeys {
    storage: Storage,
    keys: Arc<KeyRing>,
    by_day: Cache<(NaiveDate, KeyPurpose), Arc<DataKey>>,
}

impl DataKeys {
    /// Keys kept in `storage`, wrapped by `keys`.
    #[must_use]
    pub fn new(storage: Storage, keys: Arc<KeyRing>) -> Self {
        let by_day = Cache::builder()
            .max_capacity(MAX_CACHED_DAYS)
            .time_to_live(CACHED_FOR)
            .build();
        Self {
            storage,
            keys,
            by_day,
        }
    }

    /// The key that seals values of `day`; made when there is none yet.
    ///
    /// # Errors
    /// When storage fails or the key does not open.
    pub async fn for_sealing(
        &self,
        day: NaiveDate,
        purpose: KeyPurpose,
    ) -> Result<Arc<DataKey>, Arc<DataKeyError>> {
        self.by_day
            .try_get_with((day, purpose), self.load_or_make(day, purpose))
            .await
    }

    /// Opens and unpacks a value that was sealed for `place` under a key of `day`.
    ///
    /// # Errors
    /// [`DataKeyError::Gone`] when the day is past its retention; otherwise when the value was changed or moved, storage
    /// fails, or the key does not open.
    pub async fn open(
        &self,
        day: NaiveDate,
        place: Place,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Arc<DataKeyError>> {
        // Earlier versions had one key for all of a day.
        let purpose = match sealed.first() {
            Some(&VERSION_ZSTD_ONLY) => KeyPurpose::Statements,
            _ => place.purpose(),
        };
        let key = self
            .by_day
            .try_get_with((day, purpose), self.load(day, purpose))
            .await?;
        key.open(place, sealed).map_err(Arc::new)
    }

    async fn load_or_make(
        &self,
        day: NaiveDate,
        purpose: KeyPurpose,
    ) -> Result<Arc<DataKey>, DataKeyError> {
        match self.load(day, purpose).await {
            Err(DataKeyError::Gone { .. }) => {}
            found => return found,
        }
        let row = place_of_key(day, purpose);
        let wrapped = self
            .keys
            .seal(context(&row), DataKey::new_random().expose());
        // Another replica may have been first: what is stored counts.
        self.storage
            .data_key_insert(day, purpose, &wrapped)
            .await
            .map_err(Arc::new)?;
        self.load(day, purpose).await
    }

    async fn load(
        &self,
        day: NaiveDate,
        purpose: KeyPurpose,
    ) -> Result<Arc<DataKey>, DataKeyError> {
        let wrapped = self
            .storage
            .data_key_fetch(day, purpose)
            .await
            .map_err(Arc::new)?;
        let wrapped = wrapped.ok_or(DataKeyError::Gone { day })?;
        let opened = self
            .keys
            .open(context(&place_of_key(day, purpose)), &wrapped)
            .map_err(|source| DataKeyError::Wrapped { day, source })?;
        let key = <[u8; KEY_BYTES]>::try_from(opened.expose().as_slice())
            .map_err(|_| DataKeyError::Damaged)?;
        Ok(Arc::new(DataKey::new(key)))
    }
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKeys({} days)", self.by_day.entry_count())
    }
}

/// What names the row of a key. Keys of statements have the name that the only key of a day once had.
#[must_use]
pub fn place_of_key(day: NaiveDate, purpose: KeyPurpose) -> String {
    match purpose {
        KeyPurpose::Statements => day.to_string(),
        KeyPurpose::Rows => format!("{day} rows"),
    }
}

/// The place of a wrapped key.
#[must_use]
pub fn context(row: &str) -> SealContext<'_> {
    SealContext {
        table: "data_keys",
        column: "key_sealed",
        row,
    }
}
