//! What the spool says beside the records: statements that may run though their record has not begun.
//!
//! In a pipeline, and in a message of several statements, the record of a statement begins when the target turns to it;
//! its bytes are forwarded long before. A process that dies in between leaves the note, and the replay makes the record.
//! A statement whose record begins is settled by that; the notes tell of those that do not run.

use std::ops::Range;

use pglens_core::SessionId;
use pglens_policy::Fingerprint;
use pglens_rpc::v1;
use prost::{DecodeError, Message as _};
use uuid::Uuid;

use super::encode::{self, Started};

const ANNOUNCED: u32 = 1;
const SETTLED: u32 = 2;

/// The notes of one frame.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Notes {
    /// May run from now on. One without a session has that of the one before it, and its text, kind and fingerprint.
    #[prost(message, repeated, tag = "1")]
    pub(crate) announced: Vec<v1::StatementStarted>,
    /// Ids of those that do not run.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) settled: Vec<Vec<u8>>,
}

/// Notes that are not as this program writes them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotesError {
    #[error("notes of the spool cannot be read")]
    Decode(#[from] DecodeError),
    #[error("the first note of a frame of the spool names no session")]
    NoSession,
}

impl Notes {
    /// Reads the notes of a frame that was opened.
    ///
    /// # Errors
    /// When they are not as this program writes them: a statement that may have run could be in them.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, NotesError> {
        let mut notes = Self::decode(bytes)?;
        let mut before: Option<&v1::StatementStarted> = None;
        for started in &mut notes.announced {
            if started.session_id.is_empty() {
                let before = before.ok_or(NotesError::NoSession)?;
                started.session_id.clone_from(&before.session_id);
                started.sql.clone_from(&before.sql);
                started.kind.clone_from(&before.kind);
                started.fingerprint.clone_from(&before.fingerprint);
            }
            before = Some(started);
        }
        Ok(notes)
    }
}

/// The notes that go into the next frame.
#[derive(Debug, Default)]
pub(crate) struct PendingNotes {
    bytes: Vec<u8>,
    last: Option<Last>,
}

/// What the statement that was announced last may have in common with the next.
#[derive(Debug)]
struct Last {
    session_id: SessionId,
    /// Where its text stands.
    sql: Range<usize>,
    kind: &'static str,
    fingerprint: Option<Fingerprint>,
}

impl PendingNotes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.last = None;
    }

    /// The statement may run from now on. Pipelines often run the same one again.
    pub(crate) fn announce(&mut self, started: &Started<'_>) {
        let is_again = self.last.as_ref().is_some_and(|last| {
            last.session_id == started.session_id
                && last.kind == started.kind
                && last.fingerprint == started.fingerprint
                && self.bytes.get(last.sql.clone()) == Some(started.sql.as_bytes())
        });
        encode::message(&mut self.bytes, ANNOUNCED, |out| {
            if is_again {
                started.own_fields(out);
                return;
            }
            started.common_fields(out);
            let sql = out.len() - started.sql.len()..out.len();
            started.own_fields(out);
            self.last = Some(Last {
                session_id: started.session_id,
                sql,
                kind: started.kind,
                fingerprint: started.fingerprint,
            });
        });
    }

    /// What another frame said.
    pub(crate) fn announce_again(&mut self, started: v1::StatementStarted) {
        let notes = Notes {
            announced: vec![started],
            settled: Vec::new(),
        };
        self.bytes.extend_from_slice(&notes.encode_to_vec());
        self.last = None;
    }

    /// The statement does not run.
    pub(crate) fn settle(&mut self, query_id: Uuid) {
        encode::bytes(&mut self.bytes, SETTLED, query_id.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_core::SessionId;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let started = |number| Started {
            query_id: Uuid::from_u128(number),
            session_id: SessionId(Uuid::from_u128(2)),
            sequence: 3,
            sql: "select $1",
            kind: "SELECT",
            parameters: &[],
            started_at_unix_us: 4,
            fingerprint: Some(Fingerprint(5)),
        };
        let is_said = |notes: &Notes, index: usize, number| {
            let mut alone = PendingNotes::default();
            alone.announce(&started(number));
            let alone = Notes::read(alone.as_slice()).unwrap();
            assert_eq!(notes.announced[index], alone.announced[0]);
            assert_eq!(alone.announced[0].sql, "select $1");
        };
        let mut pending = PendingNotes::default();
        pending.announce(&started(10));
        let in_full = pending.as_slice().len();
        pending.announce(&started(11));
        assert!(pending.as_slice().len() < in_full + in_full / 2);
        pending.settle(Uuid::from_u128(10));
        pending.announce(&started(12));
        let notes = Notes::read(pending.as_slice()).unwrap();
        for (index, number) in (10..13).enumerate() {
            is_said(&notes, index, number);
        }
        assert_eq!(notes.settled, [Uuid::from_u128(10).as_bytes().to_vec()]);
        let another = Started {
            sql: "select 2",
            ..started(13)
        };
        pending.announce(&another);
        pending.announce_again(notes.announced[1].clone());
        pending.announce(&another);
        let notes = Notes::read(pending.as_slice()).unwrap();
        is_said(&notes, 4, 11);
        assert_eq!(
            [&notes.announced[3].sql, &notes.announced[5].sql],
            ["select 2"; 2]
        );
    }

    #[test]
    fn what_refers_to_nothing_is_not_read() {
        let mut bytes = Vec::new();
        encode::message(&mut bytes, ANNOUNCED, |out| {
            encode::bytes(out, 1, Uuid::from_u128(1).as_bytes());
        });
        assert!(matches!(Notes::read(&bytes), Err(NotesError::NoSession)));
    }
}
