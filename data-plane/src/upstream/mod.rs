//! The connection to a target: dialled, encrypted as its `ssl_mode` says, logged in with the stored login.

mod auth;
pub(crate) mod cancel;
pub(crate) mod catalog;
mod connect;
mod dial;

pub(crate) use cancel::CancelKey;
pub(crate) use connect::{Connected, StartupParameters, connect};

use std::time::Duration;

use pglens_wire::frame::FrameError;
use pglens_wire::scram::ScramError;

use crate::net::ReadError;

/// Why there is no session with the target. For the log: it names the target.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("connecting to {address} failed")]
    Dial {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("connecting to {address} took longer than {after:?}")]
    TimedOut { address: String, after: Duration },
    #[error("the target does not speak TLS, which its ssl_mode requires")]
    NoTls,
    #[error("the target answered the request for TLS with byte {byte:#04x}")]
    TlsAnswer { byte: u8 },
    #[error("TLS with the target cannot be set up")]
    TlsConfig(#[source] pglens_runtime::TlsError),
    #[error("\"{host}\" cannot be checked against a certificate")]
    ServerName { host: String },
    #[error("the TLS handshake with the target failed")]
    TlsHandshake(#[source] std::io::Error),
    #[error("writing to the target failed")]
    Write(#[source] std::io::Error),
    #[error("reading from the target failed")]
    Read(#[from] ReadError),
    #[error("the target asks for authentication of kind {code}, which is not supported")]
    Authentication { code: u32 },
    #[error("SCRAM with the target failed")]
    Scram(#[from] ScramError),
    #[error("the target finished authentication before it proved that it knows the password")]
    UnprovedServer,
    #[error("the target sent a malformed message")]
    Malformed(#[from] pglens_wire::MalformedMessage),
    #[error("the target sent a message of type {tag:#04x} while starting up")]
    Unexpected { tag: u8 },
    #[error("the target refused: {sqlstate} {message}")]
    Refused {
        sqlstate: String,
        message: String,
        /// The stored login had been accepted before.
        authenticated: bool,
    },
}

impl From<FrameError> for ConnectError {
    fn from(error: FrameError) -> Self {
        Self::Read(error.into())
    }
}
