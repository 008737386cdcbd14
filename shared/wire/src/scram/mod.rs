//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), both ends, without I/O.
//!
//! Owns the messages, the keys and the verifier as PostgreSQL stores it. Each step consumes the state before it, so a
//! message cannot be taken out of turn. Framing (`SASLInitialResponse` and the rest, PostgreSQL manual section
//! "SASL Authentication") belongs to the message modules.
//!
//! ```
//! use pglens_wire::scram::{ClientExchange, ScramVerifier, ServerExchange};
//!
//! let verifier = ScramVerifier::generate("correct horse");
//! let server = ServerExchange::start(verifier, None);
//! let (client, initial) = ClientExchange::start(["SCRAM-SHA-256"], "correct horse", None)?;
//! let (server, server_first) = server.client_first(initial.mechanism.as_str(), &initial.data)?;
//! let (client, client_final) = client.server_first(&server_first)?;
//! let proven = server.client_final(&client_final)?;
//! client.server_final(&proven.server_final)?;
//! # Ok::<(), pglens_wire::scram::ScramError>(())
//! ```

mod attributes;
mod client;
mod keys;
mod server;
#[cfg(test)]
mod tests;
mod verifier;

use std::fmt;

use pglens_core::ErrorCode;

pub use client::{AwaitServerFinal, ClientExchange, InitialResponse, MAX_ITERATIONS};
pub use server::{AwaitProof, Proven, ServerExchange};
pub use verifier::{DEFAULT_ITERATIONS, InvalidVerifier, ScramVerifier};

/// The name of the mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The name of the mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// One of the two SASL mechanisms PostgreSQL knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Without channel binding.
    ScramSha256,
    /// With the `tls-server-end-point` channel binding (RFC 5929, section 4).
    ScramSha256Plus,
}

impl Mechanism {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha256 => SCRAM_SHA_256,
            Self::ScramSha256Plus => SCRAM_SHA_256_PLUS,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            SCRAM_SHA_256 => Some(Self::ScramSha256),
            SCRAM_SHA_256_PLUS => Some(Self::ScramSha256Plus),
            _ => None,
        }
    }
}

/// The `tls-server-end-point` data of the connection: the hash of the server's certificate.
///
/// Both ends hash the certificate with its own signature algorithm's hash, SHA-256 in place of MD5 and SHA-1.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelBinding(Vec<u8>);

impl ChannelBinding {
    /// Wraps the hash of the server's certificate.
    #[must_use]
    pub fn tls_server_end_point(certificate_hash: Vec<u8>) -> Self {
        Self(certificate_hash)
    }

    /// The hash itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ChannelBinding(tls-server-end-point, {} bytes)",
            self.0.len()
        )
    }
}

/// Why an exchange ended. No variant carries a secret or more of the peer's message than a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The client chose a mechanism that was not offered.
    #[error("the client selected a SASL mechanism that was not offered")]
    MechanismNotOffered,
    /// The server's list has no mechanism this client can use.
    #[error("the server offers no SASL mechanism that can be used")]
    NoCommonMechanism,
    /// A message is longer than [`pglens_core::limits::MAX_PASSWORD_MESSAGE_BYTES`].
    #[error("a SCRAM message has {bytes} bytes")]
    MessageTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A message does not have the form of RFC 5802, section 7.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The client believes the server cannot bind channels, and it can: somebody changed the list on the way.
    #[error("the client was told that channel binding is not offered, and it is")]
    Downgrade,
    /// The channel bound by the client is not the one it uses: somebody stands between.
    #[error("the SCRAM channel binding does not match this connection")]
    ChannelBindingMismatch,
    /// The nonce is not the one of this exchange: a replay, or somebody between.
    #[error("the SCRAM nonce does not match this exchange")]
    NonceMismatch,
    /// The proof does not belong to the verifier: a wrong password, or a user that does not exist.
    #[error("the SCRAM proof is wrong")]
    WrongProof,
    /// The server asks for more work than a server has reason to.
    #[error("the server asks for {iterations} SCRAM iterations")]
    IterationsOutOfBounds {
        /// What it asks for.
        iterations: u64,
    },
    /// The server reports failure inside the exchange.
    #[error("the server reports that SCRAM failed")]
    ServerRefused,
    /// The server does not know the verifier: it is not the server it claims to be.
    #[error("the server's SCRAM signature is wrong")]
    WrongServerSignature,
}

impl ScramError {
    /// The code to answer the client with, as PostgreSQL chooses it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::WrongProof => ErrorCode::AuthenticationFailed,
            Self::Downgrade | Self::ChannelBindingMismatch => ErrorCode::Unauthenticated,
            Self::MechanismNotOffered
            | Self::MessageTooLong { .. }
            | Self::Malformed(_)
            | Self::NonceMismatch => ErrorCode::ProtocolViolation,
            Self::NoCommonMechanism
            | Self::IterationsOutOfBounds { .. }
            | Self::ServerRefused
            | Self::WrongServerSignature => ErrorCode::TargetUnavailable,
        }
    }
}
