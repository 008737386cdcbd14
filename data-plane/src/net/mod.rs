//! Connections to clients and targets: plain or TLS, with one buffer for what was read and not yet used.

pub(crate) mod buffer;
pub(crate) mod connection;
pub(crate) mod end_point;
pub(crate) mod keepalive;
pub(crate) mod nap;
pub(crate) mod send_all;
pub(crate) mod socket;
pub(crate) mod stream;

pub(crate) use buffer::ReadBuffer;
pub(crate) use connection::{Connection, Frame, ReadError};
pub(crate) use socket::Socket;
pub(crate) use stream::Stream;
