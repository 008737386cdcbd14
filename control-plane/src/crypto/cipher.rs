//! The cipher of everything that is sealed here: ChaCha20-Poly1305 with associated data (RFC 8439).

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce, which is used once under a key.
pub(super) const NONCE_BYTES: usize = 12;
/// Bytes behind a ciphertext.
pub(super) const TAG_BYTES: usize = 16;

/// A key, ready to be used. ring does not wipe its copy of the key when it is dropped: keep it no longer than it is needed.
pub(super) struct Cipher(LessSafeKey);

/// What was to be opened is not what was sealed; or what was to be sealed has 256 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

impl Cipher {
    #[expect(
        clippy::expect_used,
        reason = "fails for keys of another length only, which the type rules out"
    )]
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has its length");
        Self(LessSafeKey::new(key))
    }

    /// Seals what `buffer` holds from `start` on, in place, and puts the tag behind it.
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated_data: &[u8],
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), Failed> {
        let message = buffer.get_mut(start..).ok_or(Failed)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(associated_data), message)
            .map_err(|_| Failed)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens a ciphertext with its tag.
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated_data: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, Failed> {
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(associated_data), &mut opened)
            .map_err(|_| Failed)?;
        let plain_bytes = plain.len();
        opened.truncate(plain_bytes);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439, section 2.8.2.
    #[test]
    fn it_is_the_cipher_of_the_rfc() {
        let key: [u8; KEY_BYTES] = std::array::from_fn(|index| 0x80 + u8::try_from(index).unwrap());
        let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
        let associated_data = [
            0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
        ];
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
        let cipher = Cipher::new(&key);
        let mut sealed = b"header".to_vec();
        sealed.extend_from_slice(plain);
        cipher
            .seal(nonce, &associated_data, &mut sealed, 6)
            .unwrap();
        let (header, sealed) = sealed.split_at(6);
        assert_eq!(header, b"header");
        let begins = [
            0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb, 0x7b, 0x86, 0xaf, 0xbc, 0x53, 0xef,
            0x7e, 0xc2,
        ];
        assert_eq!(sealed[..16], begins);
        let tag = [
            0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60,
            0x06, 0x91,
        ];
        assert_eq!(sealed[plain.len()..], tag);
        assert_eq!(cipher.open(nonce, &associated_data, sealed).unwrap(), plain);
        assert_eq!(cipher.open(nonce, b"", sealed), Err(Failed));
        assert_eq!(cipher.open(nonce, &associated_data, &tag), Err(Failed));
        assert_eq!(cipher.open(nonce, &associated_data, b"short"), Err(Failed));
    }
}
