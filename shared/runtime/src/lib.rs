//! What every `PgLens` process needs around its own work: settings, logs and metrics, the operations server, TLS,
//! certificates, back-off and an orderly end.
//!
//! This crate decides nothing about sessions, grants or records, and knows no SQL.
#![warn(missing_docs)]

pub mod backoff;
pub mod certificates;
pub mod config;
pub mod due;
pub mod listen;
pub mod open_files;
pub mod operations;
pub mod process;
pub mod reload;
pub mod shutdown;
pub mod telemetry;
pub mod tls;

pub use backoff::Backoff;
pub use certificates::{Authority, CertificateError, CertifiedKeyPem};
pub use config::{ConfigError, Origin, Secrecy, Setting, Settings};
pub use due::sleep_until;
pub use listen::{ListenAddr, ListenSetting};
pub use operations::{Readiness, serve_operations};
pub use process::{Fatal, exit_code_for};
pub use reload::FileWatch;
pub use shutdown::termination;
pub use telemetry::{Chain, LogFormat, Metrics, init_logging};
pub use tls::{TlsError, Verification};
