//! The kit, used as a test would.

#[cfg(test)]
mod postgres;
