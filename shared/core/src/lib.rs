//! The vocabulary both planes share: ids, secrets, limits and error codes.
//!
//! Nothing here does I/O, awaits, reads a clock or the environment; every other crate may depend on it, and it
//! depends on none of them.
#![warn(missing_docs)]

pub mod error_code;
pub mod grant;
pub mod id;
pub mod limits;
pub mod secret;

pub use error_code::ErrorCode;
pub use grant::{AccessLevel, AuditLevel, SslMode};
pub use id::{DatabaseId, GrantId, QueryId, RunId, SessionId, UserId};
pub use secret::Secret;
