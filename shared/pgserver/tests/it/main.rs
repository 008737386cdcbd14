//! The crate from outside, with real servers.

#[cfg(test)]
mod server;
