//! What the spool says beside the records: statements that may run though their record has not begun.
//!
//! In a pipeline, and in a message of several statements, the record of a statement begins when the target turns to it;
//! its bytes are forwarded long before. A process that dies in between leaves the note, and the replay makes the record.

use pglens_rpc::v1;
use prost::{DecodeError, Message as _};
use uuid::Uuid;

use super::encode::{self, Encode, Started};

const ANNOUNCED: u32 = 1;
const SETTLED: u32 = 2;

/// The notes of one frame.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Notes {
    /// May run from now on.
    #[prost(message, repeated, tag = "1")]
    pub(crate) announced: Vec<v1::StatementStarted>,
    /// Ids of those whose record has begun, or that do not run.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) settled: Vec<Vec<u8>>,
}

impl Notes {
    /// Reads the notes of a frame that was opened.
    ///
    /// # Errors
    /// When they are not as this program writes them: a statement that may have run could be in them.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }

    /// Appends what another frame said.
    pub(crate) fn put_again(out: &mut Vec<u8>, started: v1::StatementStarted) {
        let notes = Self {
            announced: vec![started],
            settled: Vec::new(),
        };
        out.extend_from_slice(&notes.encode_to_vec());
    }
}

pub(crate) fn put_announced(out: &mut Vec<u8>, started: &Started<'_>) {
    encode::message(out, ANNOUNCED, |out| started.fields(out));
}

pub(crate) fn put_settled(out: &mut Vec<u8>, query_id: Uuid) {
    encode::bytes(out, SETTLED, query_id.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_core::SessionId;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let started = Started {
            query_id: Uuid::from_u128(1),
            session_id: SessionId(Uuid::from_u128(2)),
            sequence: 3,
            sql: "select 1",
            kind: "SELECT",
            parameters: &[],
            started_at_unix_us: 4,
            fingerprint: None,
        };
        let mut bytes = Vec::new();
        put_announced(&mut bytes, &started);
        put_settled(&mut bytes, started.query_id);
        let notes = Notes::read(&bytes).unwrap();
        assert_eq!(notes.announced[0].sql, "select 1");
        assert_eq!(notes.settled, [started.query_id.as_bytes().to_vec()]);
        let mut again = Vec::new();
        Notes::put_again(&mut again, notes.announced[0].clone());
        assert_eq!(Notes::read(&again).unwrap().announced, notes.announced);
    }
}
