//! The master keys: seals what storage must not be able to read, and derives keys for other purposes.
//!
//! A sealed value is `version (1) | key id (8) | nonce (12) | ciphertext and tag`, ChaCha20-Poly1305. The place it
//! belongs to is associated data, so a value copied to another row or column does not open.

use std::fmt;

use pglens_core::Secret;

pub use super::cipher::KEY_BYTES;
use super::cipher::{Cipher, NONCE_BYTES, TAG_BYTES};

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// More keys than a rotation ever needs; each makes the ring's parse and lookup longer.
const MAX_KEYS: usize = 16;

/// The text of a setting holds no usable keys. Says nothing of the keys themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// There is no key in it.
    #[error("holds no key")]
    Empty,
    /// There are too many.
    #[error("holds {count} keys, at most {MAX_KEYS} are used")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A key is not base64.
    #[error("key {position} is not base64")]
    NotBase64 {
        /// Counted from 1.
        position: usize,
    },
    /// A key is too long or too short.
    #[error("key {position} has {bytes} bytes, must have {KEY_BYTES} (base64-encoded)")]
    WrongLength {
        /// Counted from 1.
        position: usize,
        /// Its length.
        bytes: usize,
    },
    /// The same key twice.
    #[error("key {position} is given twice")]
    Duplicate {
        /// Counted from 1.
        position: usize,
    },
}

/// A sealed value that does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than any sealed value.
    #[error("sealed value has only {bytes} bytes")]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// Of a format this version does not know.
    #[error("sealed value has the unknown format {version}")]
    UnknownVersion {
        /// Its first byte.
        version: u8,
    },
    /// Sealed with a key that is not configured.
    #[error("sealed with the key {key_id}, which is not among the configured keys")]
    UnknownKey {
        /// The key's id, hexadecimal.
        key_id: String,
    },
    /// Changed, or moved from another place.
    #[error("sealed value is damaged or belongs to another place")]
    Damaged,
}

/// The place a sealed value belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's primary key as text.
    pub row: &'a str,
}

impl SealContext<'_> {
    /// Every part with its length in front, so that no two places give the same bytes.
    fn associated_data(&self, key_id: &[u8]) -> Vec<u8> {
        let mut data = vec![VERSION];
        data.extend_from_slice(key_id);
        for part in [self.table, self.column, self.row] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

struct MasterKey {
    id: [u8; KEY_ID_BYTES],
    bytes: Secret<[u8; KEY_BYTES]>,
}

impl MasterKey {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let digest = blake3::derive_key("pglens 2026 master key id", &bytes);
        let mut id = [0; KEY_ID_BYTES];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self {
            id,
            bytes: Secret::new(bytes),
        }
    }

    fn cipher(&self) -> Cipher {
        Cipher::new(self.bytes.expose())
    }
}

/// The configured master keys: the first seals, all open.
pub struct KeyRing {
    first: MasterKey,
    others: Vec<MasterKey>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.others.len() + 1)
    }
}

impl KeyRing {
    /// Reads keys in base64 (standard alphabet) separated by commas or lines; the first one seals.
    ///
    /// # Errors
    /// When there is none, or one cannot be used.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let texts: Vec<&str> = text
            .split([',', '\n', '\r'])
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect();
        if texts.len() > MAX_KEYS {
            return Err(InvalidKeys::TooMany { count: texts.len() });
        }
        let mut keys: Vec<MasterKey> = Vec::with_capacity(texts.len());
        for (index, text) in texts.into_iter().enumerate() {
            let key = MasterKey::new(decode_key(index + 1, text)?);
            if keys.iter().any(|other| other.id == key.id) {
                return Err(InvalidKeys::Duplicate {
                    position: index + 1,
                });
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(InvalidKeys::Empty)?;
        Ok(Self {
            first,
            others: keys.collect(),
        })
    }

    /// Seals `plain` for the place named by `context`.
    ///
    /// # Panics
    /// For plaintexts of 256 GiB and more.
    #[must_use]
    pub fn seal(&self, context: SealContext<'_>, plain: &[u8]) -> Vec<u8> {
        let key = &self.first;
        // Random nonces: the keys seal passwords and other keys, far fewer than the 2^32 values that are safe.
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = context.associated_data(&key.id);
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + TAG_BYTES);
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        #[expect(
            clippy::expect_used,
            reason = "fails only for plaintexts of 256 GiB and more"
        )]
        key.cipher()
            .seal(nonce, &aad, &mut sealed, HEADER_BYTES)
            .expect("a value that fits in memory can be sealed");
        sealed
    }

    /// Opens what was sealed for the place named by `context`.
    ///
    /// # Errors
    /// When it was changed, moved, sealed with a key that is not here, or is no sealed value.
    pub fn open(
        &self,
        context: SealContext<'_>,
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, OpenError> {
        let too_short = OpenError::TooShort {
            bytes: sealed.len(),
        };
        if sealed.len() < HEADER_BYTES + TAG_BYTES {
            return Err(too_short);
        }
        let Some((&version, rest)) = sealed.split_first() else {
            return Err(too_short);
        };
        if version != VERSION {
            return Err(OpenError::UnknownVersion { version });
        }
        let Some((key_id, rest)) = rest.split_first_chunk::<KEY_ID_BYTES>() else {
            return Err(too_short);
        };
        let Some((nonce, ciphertext)) = rest.split_first_chunk::<NONCE_BYTES>() else {
            return Err(too_short);
        };
        let key = self.key(key_id).ok_or_else(|| OpenError::UnknownKey {
            key_id: hexadecimal(key_id),
        })?;
        let aad = context.associated_data(key_id);
        key.cipher()
            .open(*nonce, &aad, ciphertext)
            .map(Secret::new)
            .map_err(|_| OpenError::Damaged)
    }

    /// The id of the key that seals now, as it stands in what it sealed.
    #[must_use]
    pub fn current_id(&self) -> &[u8] {
        &self.first.id
    }

    /// Whether `sealed` was sealed with the key that seals now.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        sealed.get(1..=KEY_ID_BYTES) == Some(self.first.id.as_slice())
    }

    /// A key for another purpose, the same on every replica.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("pglens 2026 derived key");
        hasher.update(self.first.bytes.expose());
        hasher.update(purpose.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn key(&self, id: &[u8]) -> Option<&MasterKey> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .find(|key| key.id == id)
    }
}

fn decode_key(position: usize, text: &str) -> Result<[u8; KEY_BYTES], InvalidKeys> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| InvalidKeys::NotBase64 { position })?;
    let bytes = zeroize::Zeroizing::new(bytes);
    <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| InvalidKeys::WrongLength {
        position,
        bytes: bytes.len(),
    })
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    const HERE: SealContext<'_> = SealContext {
        table: "databases",
        column: "password_sealed",
        row: "7",
    };

    fn ring(fills: &[u8]) -> KeyRing {
        let keys: Vec<String> = fills
            .iter()
            .map(|fill| STANDARD.encode([*fill; 32]))
            .collect();
        KeyRing::parse(&keys.join(",")).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_in_its_own_place_only() {
        let ring = ring(&[1]);
        let sealed = ring.seal(HERE, b"hunter2");
        assert_eq!(ring.open(HERE, &sealed).unwrap().expose(), b"hunter2");
        for other in [
            SealContext { row: "8", ..HERE },
            SealContext {
                column: "read_password_sealed",
                ..HERE
            },
            SealContext {
                table: "users",
                ..HERE
            },
            SealContext {
                table: "databasesp",
                column: "assword_sealed",
                ..HERE
            },
        ] {
            assert_eq!(ring.open(other, &sealed).unwrap_err(), OpenError::Damaged);
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let ring = ring(&[1]);
        let sealed = ring.seal(HERE, b"hunter2");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(ring.open(HERE, &changed).is_err(), "byte {index}");
            assert!(ring.open(HERE, &sealed[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
        let sealed = old.seal(HERE, b"x");
        assert!(both.open(HERE, &sealed).is_ok() && !both.is_current(&sealed));
        let again = both.seal(HERE, b"x");
        assert!(new.open(HERE, &again).is_ok() && both.is_current(&again));
        assert!(matches!(
            new.open(HERE, &sealed),
            Err(OpenError::UnknownKey { .. })
        ));
    }

    #[test]
    fn unusable_keys_are_named_by_position() {
        let good = STANDARD.encode([1; 32]);
        let check = |text: &str, expected: &str| {
            assert_eq!(KeyRing::parse(text).unwrap_err().to_string(), expected);
        };
        check("", "holds no key");
        check(
            &STANDARD.encode([1; 31]),
            "key 1 has 31 bytes, must have 32 (base64-encoded)",
        );
        check(&format!("{good},???"), "key 2 is not base64");
        check(&format!("{good}\n{good}\n"), "key 2 is given twice");
        assert!(!format!("{:?}", ring(&[1])).contains(&good));
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_key() {
        assert_eq!(ring(&[1]).derive("a"), ring(&[1, 2]).derive("a"));
        assert_ne!(ring(&[1]).derive("a"), ring(&[1]).derive("b"));
        assert_ne!(ring(&[1]).derive("a"), ring(&[2]).derive("a"));
    }
}
