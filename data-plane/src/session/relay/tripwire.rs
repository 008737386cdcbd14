//! The alarm of a read grant: what the guard assumes about the session is reported to have changed.

use pglens_wire::backend;

use super::ending::Ending;
use super::engine::Engine;
use super::from_target::Reply;

impl Engine {
    /// Takes a report of the target about one of its settings.
    pub(super) fn parameter_status(&mut self, payload: &[u8]) -> Result<Reply, Ending> {
        let (name, value) = backend::parameter_status(payload)
            .map_err(|_| Ending::target_protocol("a message is malformed"))?;
        match guarded_change(name, value) {
            Some(setting) if self.judge.is_read() => Err(Ending::tripwire(setting)),
            _ => Ok(Reply::Forward),
        }
    }
}

/// The setting that must not have this value in a session under a read grant.
pub(crate) fn guarded_change(name: &[u8], value: &[u8]) -> Option<&'static str> {
    match (name, value) {
        (b"default_transaction_read_only", value) if value != b"on" => {
            Some("default_transaction_read_only")
        }
        (b"standard_conforming_strings", value) if value != b"on" => {
            Some("standard_conforming_strings")
        }
        (b"client_encoding", value) if value != b"UTF8" => Some("client_encoding"),
        _ => None,
    }
}
