//! The data plane as a whole: a real client, a real target, and a control plane that does as it is told, over mTLS.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper that fails is the test failing"
)]

mod cancel;
mod capture;
mod certificates;
mod copy;
mod ending;
mod extended;
mod fake;
mod flow;
mod half_open;
mod harness;
mod keepalive;
mod login;
mod outage;
mod policy;
mod raw;
mod simple;
mod startup;
mod strict;
mod target_tls;
mod tools;
