//! PgLens from the outside: real programs, real PostgreSQL, real clients.
//!
//! Each test checks what a client saw against a direct connection, and what was recorded against what was run.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper that fails is the test failing"
)]

mod cancel;
mod cancel_drivers;
mod cancel_outage;
mod clients;
mod commits;
mod compare;
mod configuration;
mod control_plane_down;
mod curl;
mod differential;
mod driver;
mod endings;
mod fleet;
mod grants;
mod kills;
mod lifecycle;
mod load;
mod oracle;
mod outages;
mod pg_dump;
mod pgbench;
mod psql;
mod psycopg;
mod quotas;
mod read_guard;
mod refusals;
mod revocation;
mod sample;
mod statement_life;
mod strict;
mod tls;
mod values;
