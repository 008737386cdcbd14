//! A captured value at rest: `version (1) | nonce (12) | ciphertext and tag`, ChaCha20-Poly1305 over one byte that tells how
//! the rest is packed (0: not at all, 1: zstd) and that rest. Version 1 was zstd without the byte.
//!
//! The statement and the number of the chunk are associated data, so that a value moved to another place does not open.

use pglens_core::limits::MAX_GRPC_MESSAGE_BYTES;
use pglens_core::{QueryId, RunId, Secret};
use uuid::Uuid;
use zstd::bulk::Compressor;

use super::cipher::{Cipher, KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use super::data_key::DataKeyError;

const VERSION: u8 = 2;
/// As version 2, but always zstd, and nothing says so.
pub(super) const VERSION_ZSTD_ONLY: u8 = 1;
const HEADER_BYTES: usize = 1 + NONCE_BYTES;

/// The fastest level: rows pass here on their way into storage, and the proxy's record waits for it.
const ZSTD_LEVEL: i32 = 1;

/// How the plain value is packed.
const PACKED_NOT: u8 = 0;
const PACKED_ZSTD: u8 = 1;
/// Values below this are sealed as they are: the frame around them would be as long as what is gained.
const MIN_COMPRESSED_BYTES: usize = 128;

/// Largest value that opens. Values come in one message between the planes each, so none is larger.
const MAX_PLAIN_BYTES: usize = MAX_GRPC_MESSAGE_BYTES;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// Parameters.
    Statements,
    /// Captured rows.
    Rows,
}

impl KeyPurpose {
    /// Its name in storage.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Statements => "statements",
            Self::Rows => "rows",
        }
    }
}

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
    /// Rows of several statements in one row of storage.
    Block(Uuid),
    /// Records of a run that are not stored yet.
    Journal {
        /// The run.
        run_id: RunId,
        /// Position of the first one in the run's record.
        first_sequence: u64,
    },
}

impl Place {
    /// The kind of key that seals values of the place.
    #[must_use]
    pub fn purpose(self) -> KeyPurpose {
        match self {
            Self::Parameters(_) => KeyPurpose::Statements,
            Self::Rows { .. } | Self::Block(_) | Self::Journal { .. } => KeyPurpose::Rows,
        }
    }

    fn associated_data(self, version: u8) -> Vec<u8> {
        let mut data = Vec::with_capacity(48);
        data.push(version);
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
            Self::Block(id) => {
                data.extend_from_slice(b"query_rows.block");
                data.extend_from_slice(id.as_bytes());
            }
            Self::Journal {
                run_id,
                first_sequence,
            } => {
                data.extend_from_slice(b"record_journal.records");
                data.extend_from_slice(run_id.0.as_bytes());
                data.extend_from_slice(&first_sequence.to_be_bytes());
            }
        }
        data
    }
}

/// The key of one day.
#[derive(Debug)]
pub struct DataKey(Secret<[u8; KEY_BYTES]>);

impl DataKey {
    /// The key of these bytes.
    #[must_use]
    pub(super) fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Secret::new(bytes))
    }

    pub(super) fn new_random() -> Self {
        Self(Secret::new(rand::random()))
    }

    pub(super) fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.expose()
    }

    fn cipher(&self) -> Cipher {
        Cipher::new(self.0.expose())
    }

    /// What seals values under this key, one after the other.
    #[must_use]
    pub fn sealer(&self) -> Sealer {
        Sealer {
            cipher: self.cipher(),
            compressor: None,
        }
    }

    /// Compresses and seals `plain` for `place`.
    ///
    /// # Errors
    /// [`DataKeyError::Compress`], which is a defect.
    pub fn seal(&self, place: Place, plain: &[u8]) -> Result<Vec<u8>, DataKeyError> {
        self.sealer().seal(place, plain)
    }

    /// Opens and unpacks what was sealed for `place`.
    ///
    /// # Errors
    /// When it was changed or moved, or is no sealed value.
    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, DataKeyError> {
        let (&version, rest) = sealed.split_first().ok_or(DataKeyError::Damaged)?;
        if ![VERSION, VERSION_ZSTD_ONLY].contains(&version) {
            return Err(DataKeyError::UnknownVersion { version });
        }
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(DataKeyError::Damaged)?;
        let aad = place.associated_data(version);
        let packed = self
            .cipher()
            .open(*nonce, &aad, ciphertext)
            .map_err(|_| DataKeyError::Damaged)?;
        let (packing, packed) = match version {
            VERSION_ZSTD_ONLY => (PACKED_ZSTD, packed.as_slice()),
            _ => packed
                .split_first()
                .map(|(packing, rest)| (*packing, rest))
                .ok_or(DataKeyError::Damaged)?,
        };
        match packing {
            PACKED_NOT => Ok(packed.to_vec()),
            PACKED_ZSTD => {
                zstd::bulk::decompress(packed, MAX_PLAIN_BYTES).map_err(|_| DataKeyError::Damaged)
            }
            _ => Err(DataKeyError::Damaged),
        }
    }
}

/// Seals values under one key. Making the tables of a compressor costs more than a value does, so it is kept.
pub struct Sealer {
    cipher: Cipher,
    /// Made for the first value that is large enough.
    compressor: Option<Compressor<'static>>,
}

impl Sealer {
    /// Compresses and seals `plain` for `place`.
    ///
    /// # Errors
    /// [`DataKeyError::Compress`], which is a defect.
    pub fn seal(&mut self, place: Place, plain: &[u8]) -> Result<Vec<u8>, DataKeyError> {
        let mut sealed = Vec::with_capacity(HEADER_BYTES + 1 + plain.len() + TAG_BYTES);
        // A day holds far fewer values than the 2^32 up to which random nonces are safe.
        let nonce: [u8; NONCE_BYTES] = rand::random();
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        self.pack(&mut sealed, plain)?;
        let aad = place.associated_data(VERSION);
        self.cipher
            .seal(nonce, &aad, &mut sealed, HEADER_BYTES)
            .map_err(|_| DataKeyError::Damaged)?; // only beyond 256 GiB
        Ok(sealed)
    }

    fn pack(&mut self, into: &mut Vec<u8>, plain: &[u8]) -> Result<(), DataKeyError> {
        if plain.len() >= MIN_COMPRESSED_BYTES {
            let made = self
                .compressor
                .take()
                .map_or_else(|| Compressor::new(ZSTD_LEVEL), Ok)
                .map_err(DataKeyError::Compress)?;
            let packed = self
                .compressor
                .insert(made)
                .compress(plain)
                .map_err(DataKeyError::Compress)?;
            if packed.len() < plain.len() {
                into.push(PACKED_ZSTD);
                into.extend_from_slice(&packed);
                return Ok(());
            }
        }
        into.push(PACKED_NOT);
        into.extend_from_slice(plain);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Place::Block(one.0),
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
