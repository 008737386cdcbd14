//! What a server keeps in place of a password, in the form PostgreSQL keeps it in `pg_authid`.

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::attributes::{decode_base64, decode_key, encode_base64};
use super::{SCRAM_SHA_256, keys};

/// PostgreSQL's own default (`scram_iterations`): every driver is tuned to log in quickly with it, and some
/// refuse counts a few times higher.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// Bytes of a fresh salt; PostgreSQL's `SCRAM_DEFAULT_SALT_LEN`.
const SALT_BYTES: usize = 16;

/// Longest salt read from text. Base64 of it has to fit in a server-first message with both nonces.
const MAX_SALT_BYTES: usize = 256;

/// The server's half of a password: enough to check a proof, not enough to make one.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ScramVerifier {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The salt, sent to whoever asks for the user.
    pub salt: Vec<u8>,
    /// `H(ClientKey)`; checks the client's proof.
    pub stored_key: [u8; 32],
    /// Signs the server's final message.
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// Derives the verifier of `password`; takes some milliseconds for each 4096 iterations. At least one is made.
    #[must_use]
    pub fn derive(password: &str, salt: impl Into<Vec<u8>>, iterations: u32) -> Self {
        let (salt, iterations) = (salt.into(), iterations.max(1));
        let salted_password = keys::salted_password(password, &salt, iterations);
        let client_key = keys::client_key(&salted_password);
        Self {
            iterations,
            salt,
            stored_key: *keys::sha256(client_key.as_ref()),
            server_key: *keys::server_key(&salted_password),
        }
    }

    /// Derives the verifier of `password` with a fresh salt and [`DEFAULT_ITERATIONS`].
    #[must_use]
    pub fn generate(password: &str) -> Self {
        Self::derive(
            password,
            rand::random::<[u8; SALT_BYTES]>(),
            DEFAULT_ITERATIONS,
        )
    }

    /// A verifier for a user that does not exist, which looks like a real one and which no password satisfies.
    ///
    /// It is the same each time `username` is tried, as a real user's salt would be. `secret` must not be known to
    /// clients; otherwise they could tell a made-up salt from a real one. No password fits because finding one would
    /// mean inverting SHA-256: the stored key is not the hash of anything that was ever computed.
    #[must_use]
    pub fn mock(secret: &[u8], username: &str) -> Self {
        let labelled = |label: &str| keys::hmac(secret, format!("{label}\0{username}").as_bytes());
        let salt = labelled("scram mock salt");
        Self {
            iterations: DEFAULT_ITERATIONS,
            salt: salt.iter().copied().take(SALT_BYTES).collect(),
            stored_key: *labelled("scram mock stored key"),
            server_key: *labelled("scram mock server key"),
        }
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// The stored form, `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`. It is as sensitive as the keys are.
impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCRAM_SHA_256}${}:{}${}:{}",
            self.iterations,
            encode_base64(&self.salt),
            encode_base64(&self.stored_key),
            encode_base64(&self.server_key),
        )
    }
}

/// A text that is not a stored SCRAM verifier. Says nothing about the text, which may hold keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SCRAM-SHA-256 verifier")]
pub struct InvalidVerifier;

impl FromStr for ScramVerifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or(InvalidVerifier)
    }
}

fn parse(text: &str) -> Option<ScramVerifier> {
    let rest = text.strip_prefix(SCRAM_SHA_256)?.strip_prefix('$')?;
    let (parameters, key_pair) = rest.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let (stored_key, server_key) = key_pair.split_once(':')?;
    let verifier = ScramVerifier {
        iterations: iterations.parse().ok()?,
        salt: decode_base64(salt, "salt").ok()?,
        stored_key: decode_key(stored_key, "stored key").ok()?,
        server_key: decode_key(server_key, "server key").ok()?,
    };
    let in_bounds = verifier.iterations > 0
        && !verifier.salt.is_empty()
        && verifier.salt.len() <= MAX_SALT_BYTES;
    in_bounds.then_some(verifier)
}
