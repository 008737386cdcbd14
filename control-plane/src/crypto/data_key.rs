//! The keys of captured values: one for each day, wrapped by the master key and kept beside the day's partitions.
//! Dropping a day's key makes its values unreadable for ever.
//!
//! A sealed value is `version (1) | nonce (12) | ciphertext and tag`, ChaCha20-Poly1305 over zstd. The statement and
//! the number of the chunk are associated data, so that a value moved to another place does not open.

use std::sync::Arc;
use std::time::Duration;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use chrono::NaiveDate;
use moka::future::Cache;
use pglens_core::limits::MAX_GRPC_MESSAGE_BYTES;
use pglens_core::{ErrorCode, QueryId, Secret};

use super::keyring::{KeyRing, OpenError, SealContext};
use crate::error::ServiceError;
use crate::storage::{Storage, StoreError};

const KEY_BYTES: usize = 32;
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

/// The fastest level: rows pass here on their way into storage, and the proxy's record waits for it.
const ZSTD_LEVEL: i32 = 1;

/// Largest value that opens. Values come in one message between the planes each, so none is larger.
const MAX_PLAIN_BYTES: usize = MAX_GRPC_MESSAGE_BYTES;

/// Days whose keys are held in memory: a record's day, and those somebody reads.
const MAX_CACHED_DAYS: u64 = 128;

/// How long after a key is dropped from storage other replicas may still hold it.
const CACHED_FOR: Duration = Duration::from_secs(60 * 60);

/// The place of a sealed value.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// The parameters of a statement.
    Parameters(QueryId),
    /// A chunk of a statement's rows.
    Rows {
        /// The statement.
        query_id: QueryId,
        /// The chunk's number.
        chunk: i32,
    },
}

impl Place {
    fn associated_data(self) -> Vec<u8> {
        let mut data = vec![VERSION];
        match self {
            Self::Parameters(query_id) => {
                data.extend_from_slice(b"queries.parameters");
                data.extend_from_slice(query_id.0.as_bytes());
            }
            Self::Rows { query_id, chunk } => {
                data.extend_from_slice(b"query_rows.data");
                data.extend_from_slice(query_id.0.as_bytes());
                data.extend_from_slice(&chunk.to_be_bytes());
            }
        }
        data
    }
}

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

/// The key of one day.
#[derive(Debug)]
pub struct DataKey(Secret<[u8; KEY_BYTES]>);

impl DataKey {
    fn new_random() -> Self {
        Self(Secret::new(rand::random()))
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(*self.0.expose()))
    }

    /// Compresses and seals `plain` for `place`.
    ///
    /// # Errors
    /// [`DataKeyError::Compress`], which is a defect.
    pub fn seal(&self, place: Place, plain: &[u8]) -> Result<Vec<u8>, DataKeyError> {
        let packed = zstd::bulk::compress(plain, ZSTD_LEVEL).map_err(DataKeyError::Compress)?;
        // A day holds far fewer values than the 2^32 up to which random nonces are safe.
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = place.associated_data();
        let payload = Payload {
            msg: &packed,
            aad: &aad,
        };
        let ciphertext = self
            .cipher()
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| DataKeyError::Damaged)?; // only beyond 256 GiB
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Opens and unpacks what was sealed for `place`.
    ///
    /// # Errors
    /// When it was changed or moved, or is no sealed value.
    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, DataKeyError> {
        let (&version, rest) = sealed.split_first().ok_or(DataKeyError::Damaged)?;
        if version != VERSION {
            return Err(DataKeyError::UnknownVersion { version });
        }
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(DataKeyError::Damaged)?;
        let aad = place.associated_data();
        let packed = self
            .cipher()
            .decrypt(
                &Nonce::from(*nonce),
                Payload {
                    msg: ciphertext,
                    aad: &aad,
                },
            )
            .map_err(|_| DataKeyError::Damaged)?;
        zstd::bulk::decompress(&packed, MAX_PLAIN_BYTES).map_err(|_| DataKeyError::Damaged)
    }
}

/// The keys of all days.
#[derive(Clone)]
pub struct DataKeys {
    storage: Storage,
    keys: Arc<KeyRing>,
    by_day: Cache<NaiveDate, Arc<DataKey>>,
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

    /// The key that seals the values of `day`; made when there is none yet.
    ///
    /// # Errors
    /// When storage fails or the key does not open.
    pub async fn for_sealing(&self, day: NaiveDate) -> Result<Arc<DataKey>, Arc<DataKeyError>> {
        self.by_day.try_get_with(day, self.load_or_make(day)).await
    }

    /// The key that opens the values of `day`.
    ///
    /// # Errors
    /// [`DataKeyError::Gone`] when the day is past its retention; otherwise as [`DataKeys::for_sealing`].
    pub async fn for_opening(&self, day: NaiveDate) -> Result<Arc<DataKey>, Arc<DataKeyError>> {
        self.by_day.try_get_with(day, self.load(day)).await
    }

    async fn load_or_make(&self, day: NaiveDate) -> Result<Arc<DataKey>, DataKeyError> {
        match self.load(day).await {
            Err(DataKeyError::Gone { .. }) => {}
            found => return found,
        }
        let row = day.to_string();
        let wrapped = self
            .keys
            .seal(context(&row), DataKey::new_random().0.expose());
        // Another replica may have been first: what is stored counts.
        self.storage
            .data_key_insert(day, &wrapped)
            .await
            .map_err(Arc::new)?;
        self.load(day).await
    }

    async fn load(&self, day: NaiveDate) -> Result<Arc<DataKey>, DataKeyError> {
        let wrapped = self.storage.data_key_fetch(day).await.map_err(Arc::new)?;
        let wrapped = wrapped.ok_or(DataKeyError::Gone { day })?;
        let opened = self
            .keys
            .open(context(&day.to_string()), &wrapped)
            .map_err(|source| DataKeyError::Wrapped { day, source })?;
        let key = <[u8; KEY_BYTES]>::try_from(opened.expose().as_slice())
            .map_err(|_| DataKeyError::Damaged)?;
        Ok(Arc::new(DataKey(Secret::new(key))))
    }
}

impl std::fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKeys({} days)", self.by_day.entry_count())
    }
}

fn context(day: &str) -> SealContext<'_> {
    SealContext {
        table: "data_keys",
        column: "key_sealed",
        row: day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let key = DataKey::new_random();
        let (one, other) = (QueryId(Uuid::now_v7()), QueryId(Uuid::now_v7()));
        let place = Place::Rows {
            query_id: one,
            chunk: 3,
        };
        let sealed = key.seal(place, b"alice@example.com").unwrap();
        assert_eq!(key.open(place, &sealed).unwrap(), b"alice@example.com");
        for elsewhere in [
            Place::Rows {
                query_id: one,
                chunk: 4,
            },
            Place::Rows {
                query_id: other,
                chunk: 3,
            },
            Place::Parameters(one),
        ] {
            assert!(matches!(
                key.open(elsewhere, &sealed),
                Err(DataKeyError::Damaged)
            ));
        }
        assert!(DataKey::new_random().open(place, &sealed).is_err());
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let key = DataKey::new_random();
        let place = Place::Parameters(QueryId(Uuid::now_v7()));
        let sealed = key.seal(place, &[7; 1000]).unwrap();
        assert!(sealed.len() < 100, "repetition is compressed away");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 0x40;
            assert!(key.open(place, &changed).is_err(), "byte {index}");
            assert!(key.open(place, &sealed[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn a_key_prints_as_nothing() {
        assert_eq!(format!("{:?}", DataKey::new_random()), "DataKey([secret])");
    }
}
