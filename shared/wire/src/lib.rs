//! The PostgreSQL protocol, version 3, without I/O: bytes in, messages out, and the reverse.
//!
//! Nothing here opens a socket, awaits, or reads a clock. The protocol is described in the PostgreSQL manual, part VII,
//! "Frontend/Backend Protocol".
#![warn(missing_docs)]

pub mod backend;
mod fields;
pub mod frame;
pub mod frontend;
pub mod proxy_protocol;
pub mod scram;
pub mod startup;
pub mod value;

pub use fields::MalformedMessage;
