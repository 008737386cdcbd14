//! For tests: throw-away PostgreSQL servers, and waiting for a condition.
//!
//! Everything here panics when it cannot do its work, since a test has nothing better to do with an error.
#![warn(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "this crate is part of tests, and a test that cannot start has failed"
)]

pub mod corpus;
pub mod major;
pub mod postgres;
pub mod wait;

pub use major::{client_program, target_binaries, target_major};
pub use postgres::{TestDatabase, TestPostgres};
pub use wait::{DEADLINE, eventually};
