//! The records of a frame, one behind the other. What they have in common is said once: `Record` of `events.proto` has the
//! rules of those that are brief.

use std::ops::Range;

use pglens_core::SessionId;
use pglens_core::limits::MAX_REPEATED_BYTES;
use pglens_policy::Fingerprint;
use uuid::Uuid;

use super::{Encode, Started};

/// Records that are sent together or not at all.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(super) bytes: Vec<u8>,
    pub(super) before: Before,
}

/// What the next record can refer to.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// That of the record before it.
    pub(super) statement: Option<(Uuid, SessionId)>,
    pub(super) start: Option<Start>,
    /// Where the last end says how it ended.
    pub(super) outcome: Range<usize>,
}

/// The last start.
#[derive(Debug)]
pub(super) struct Start {
    /// Where its text stands.
    pub(super) sql: Range<usize>,
    pub(super) kind: &'static str,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// What a start leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeftOut {
    pub(super) session: bool,
    pub(super) sql: bool,
    pub(super) kind: bool,
    pub(super) fingerprint: bool,
}

impl Records {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn reserve_exact(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.before = Before::default();
    }

    pub(crate) fn push(&mut self, event: &impl Encode) {
        event.put(self);
    }

    /// What `started` need not say again; `None` when it lacks something, which must be seen.
    #[inline]
    pub(super) fn left_out(&self, started: &Started<'_>) -> Option<LeftOut> {
        let before = self.before.start.as_ref()?;
        let lacks = started.sql.is_empty()
            || (started.fingerprint.is_none() && before.fingerprint.is_some());
        let session = self.before.statement.map(|(_, session)| session);
        (!lacks).then(|| LeftOut {
            session: session == Some(started.session_id),
            sql: self.repeats(&before.sql, started.sql.as_bytes()),
            kind: before.kind == started.kind,
            fingerprint: before.fingerprint == started.fingerprint,
        })
    }

    /// Whether `said` is what stands there, and can be left out.
    #[inline]
    pub(super) fn repeats(&self, range: &Range<usize>, said: &[u8]) -> bool {
        said.len() <= MAX_REPEATED_BYTES && self.bytes.get(range.clone()) == Some(said)
    }
}
