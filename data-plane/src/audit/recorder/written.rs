//! What of the record must be on the disk, or stored, before the session goes on.

use std::sync::Arc;

use pglens_core::AuditLevel;

use super::Recorder;
use crate::audit::Outbox;

impl Recorder {
    pub(crate) fn is_strict(&self) -> bool {
        self.level == AuditLevel::Strict
    }

    /// Whether a statement may be admitted: under `strict` only while a control plane takes records.
    pub(crate) fn may_admit(&self) -> bool {
        !self.is_strict() || self.outbox.is_publishing()
    }

    /// Whether the target may have the statements that have begun: under `strict` a control plane must have made their
    /// start durable.
    pub(crate) fn is_durable(&self) -> bool {
        !self.is_strict() || self.outbox.is_durable(self.last_started)
    }

    /// Writes what must be written now: starts before their statements are forwarded, everything under `strict` and at
    /// the end. `false`: that is not possible now. What was recorded and not written must not take effect: no statement
    /// is forwarded meanwhile. Rows and ends otherwise go with the next start of any session, or some milliseconds
    /// later.
    pub(crate) fn flush(&mut self) -> bool {
        if let Some(frame) = self.unwritten
            && self.outbox.flush_through(frame)
        {
            self.unwritten = None;
        }
        self.unwritten.is_none()
    }

    /// Whether nothing but [`Recorder::unwritten`] keeps back what was let through, and nothing is to be done for the record
    /// when it is on its way.
    pub(crate) fn may_leave(&self) -> bool {
        let owes = |running: &super::Running| running.owes_fingerprint;
        !self.is_strict() && !self.running.as_ref().is_some_and(owes)
    }

    /// The frame that must be written before the session goes on.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        self.unwritten
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}
