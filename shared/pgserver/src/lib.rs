//! A private PostgreSQL server on this machine, for `pglens dev` and for tests.
//!
//! A server lives in one folder: `data` (the cluster), `superuser-password`, `server.log` and `lock`. It listens on
//! 127.0.0.1 only, with SCRAM passwords, and never outlives the process that started it.
#![warn(missing_docs)]

mod account;
mod binaries;
mod cluster;
mod server;
mod watchdog;

pub use account::{Account, AccountError};
pub use binaries::{NotFound, PgBinaries};
pub use cluster::{ClusterError, Durability, Options, initialise};
pub use server::{PgServer, StartError};
pub use watchdog::Orphaned;
