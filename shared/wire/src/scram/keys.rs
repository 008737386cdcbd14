//! The key schedule of RFC 5802, section 3.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A key or signature of SHA-256's size, wiped when dropped.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// Bytes of randomness in each half of a nonce; PostgreSQL's `SCRAM_RAW_NONCE_LEN`.
const NONCE_RANDOM_BYTES: usize = 18;

pub(super) fn hmac(key: &[u8], message: &[u8]) -> Key {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

pub(super) fn sha256(message: &[u8]) -> Key {
    Zeroizing::new(Sha256::digest(message).into())
}

/// `SaltedPassword`: the slow step, some milliseconds at 4096 iterations.
pub(super) fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    // PostgreSQL accepts passwords that SASLprep prohibits, and then uses their bytes as they are.
    let prepared = match stringprep::saslprep(password) {
        Ok(prepared) => Zeroizing::new(prepared.into_owned()),
        Err(_) => Zeroizing::new(password.to_owned()),
    };
    Zeroizing::new(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(
        prepared.as_bytes(),
        salt,
        iterations,
    ))
}

pub(super) fn client_key(salted_password: &Key) -> Key {
    hmac(salted_password.as_ref(), b"Client Key")
}

pub(super) fn server_key(salted_password: &Key) -> Key {
    hmac(salted_password.as_ref(), b"Server Key")
}

pub(super) fn xor(left: &[u8; 32], right: &[u8; 32]) -> Key {
    let mut result = Zeroizing::new(*left);
    for (byte, other) in result.iter_mut().zip(right) {
        *byte ^= other;
    }
    result
}

/// Compares without telling by its duration where the difference is.
pub(super) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// A fresh half of a nonce, printable.
pub(super) fn random_nonce() -> String {
    super::attributes::encode_base64(&rand::random::<[u8; NONCE_RANDOM_BYTES]>())
}
