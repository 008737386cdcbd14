//! Bounds that both planes must agree on, each with the reason for its size.

use std::time::Duration;

/// From accept to the end of the startup packet and TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest startup packet accepted; PostgreSQL's own `MAX_STARTUP_PACKET_LENGTH`.
pub const MAX_STARTUP_PACKET_BYTES: usize = 10_000;

/// Largest password or SASL message accepted. SCRAM messages stay under 256 bytes, passwords are short.
pub const MAX_PASSWORD_MESSAGE_BYTES: usize = 1024;

/// Largest protocol message `PgLens` reads: PostgreSQL's own limit of 1 GiB less one byte.
pub const MAX_MESSAGE_BYTES: usize = 0x3fff_ffff;

/// Longest name of a user or database; PostgreSQL's `NAMEDATALEN` less the terminator.
pub const MAX_NAME_BYTES: usize = 63;

/// How long a session may go on after its proxy last heard from a control plane.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(300);

/// How often a proxy reports to its control plane.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Largest batch of records in one `Publish` message, before encoding overhead.
pub const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Largest message either plane accepts over gRPC: one batch, a row chunk on top of it, and room for framing.
pub const MAX_GRPC_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// Largest chunk of captured rows in one record. A single row above this is not captured but counted and digested.
pub const MAX_ROW_CHUNK_BYTES: usize = 1024 * 1024;

/// Longest text, and what else is said of a statement, that a record may leave out because one before it has it: what is
/// stored of a batch stays in proportion to what was sent.
pub const MAX_REPEATED_BYTES: usize = 1024;

/// Rows kept per statement unless the database says otherwise.
pub const DEFAULT_CAPTURE_MAX_ROWS: u64 = 100_000;

/// Bytes of rows kept per statement unless the database says otherwise.
pub const DEFAULT_CAPTURE_MAX_BYTES: u64 = 64 * 1024 * 1024;
