//! The harness of the end-to-end tests: the real `pglens` program, real PostgreSQL servers, real clients.
//!
//! Owns how they are started, found, waited for and ended; the tests under `tests/it` own what is to be true.
//! Everything here panics when the world is not as a test needs it: that is the test failing.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "a harness that fails is the test failing"
)]

pub mod api;
pub mod balancer;
pub mod client;
pub mod differential;
pub mod fleet;
pub mod link;
pub mod memory;
pub mod place;
pub mod ports;
pub mod process;
pub mod program;
pub mod raw;
pub mod small_disk;
pub mod stack;
pub mod statement_log;
pub mod tap;
pub mod target;
pub mod wait;
pub mod wire_tap;

pub use api::{Api, GrantSpec, Person, Recorded};
pub use client::{Login, Ran};
pub use fleet::{Fleet, FleetOptions};
pub use link::{Flow, Link};
pub use place::Place;
pub use stack::{Stack, StackOptions};
pub use tap::Tap;
pub use target::Target;
pub use wait::{eventually, step};
