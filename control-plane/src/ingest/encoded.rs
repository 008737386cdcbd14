//! The messages of the record once more, for whoever takes in thousands a second: texts are bytes that lie where they
//! came, until somebody has looked at them, and what is only handed on stays encoded.
//!
//! Fields and their numbers are those of `events.proto`; a test holds both against each other.

use bytes::Bytes;
use prost::{Message, Oneof};

/// `Record`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(oneof = "Event", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) event: Option<Event>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Event {
    #[prost(message, tag = "1")]
    StatementStarted(StatementStarted),
    #[prost(message, tag = "2")]
    RowsCaptured(RowsCaptured),
    #[prost(message, tag = "3")]
    StatementEnded(StatementEnded),
    #[prost(message, tag = "4")]
    SessionEnded(SessionEnded),
    #[prost(message, tag = "5")]
    BriefStatementStarted(StatementStarted),
    #[prost(message, tag = "6")]
    BriefRowsCaptured(RowsCaptured),
    #[prost(message, tag = "7")]
    BriefStatementEnded(StatementEnded),
}

impl Event {
    /// Whether what it does not say is said by those before it.
    pub(super) fn is_brief(&self) -> bool {
        match self {
            Self::StatementStarted(_)
            | Self::RowsCaptured(_)
            | Self::StatementEnded(_)
            | Self::SessionEnded(_) => false,
            Self::BriefStatementStarted(_)
            | Self::BriefRowsCaptured(_)
            | Self::BriefStatementEnded(_) => true,
        }
    }

    /// Statement and session, as far as it names them.
    pub(super) fn ids(&self) -> (&[u8], &[u8]) {
        match self {
            Self::StatementStarted(started) | Self::BriefStatementStarted(started) => {
                (&started.query_id, &started.session_id)
            }
            Self::RowsCaptured(rows) | Self::BriefRowsCaptured(rows) => {
                (&rows.query_id, &rows.session_id)
            }
            Self::StatementEnded(ended) | Self::BriefStatementEnded(ended) => {
                (&ended.query_id, &ended.session_id)
            }
            Self::SessionEnded(ended) => (&[], &ended.session_id),
        }
    }
}

/// `StatementStarted`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StatementStarted {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) query_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) session_id: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) sequence: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) sql: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) kind: Bytes,
    /// Each a [`Parameter`].
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(super) parameters: Vec<Bytes>,
    #[prost(int64, tag = "7")]
    pub(super) started_at_unix_us: i64,
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) fingerprint: Bytes,
}

/// `Parameter`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Parameter {
    #[prost(uint32, tag = "1")]
    pub(super) type_oid: u32,
    #[prost(uint32, tag = "2")]
    pub(super) format: u32,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) value: Option<Bytes>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) value_bytes: Option<u64>,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) value_digest: Bytes,
}

/// `RowsCaptured`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RowsCaptured {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) query_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) session_id: Bytes,
    #[prost(uint32, tag = "3")]
    pub(super) chunk: u32,
    #[prost(uint64, tag = "4")]
    pub(super) first_row: u64,
    #[prost(uint32, tag = "5")]
    pub(super) row_count: u32,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) data: Bytes,
}

/// `StatementEnded`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StatementEnded {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) query_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) session_id: Bytes,
    #[prost(uint64, tag = "3")]
    pub(super) duration_us: u64,
    #[prost(uint64, optional, tag = "4")]
    pub(super) first_row_us: Option<u64>,
    #[prost(uint64, tag = "5")]
    pub(super) row_count: u64,
    #[prost(uint64, tag = "6")]
    pub(super) bytes_in: u64,
    #[prost(uint64, tag = "7")]
    pub(super) bytes_out: u64,
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) command_tag: Bytes,
    #[prost(bytes = "bytes", tag = "9")]
    pub(super) sqlstate: Bytes,
    #[prost(bytes = "bytes", tag = "10")]
    pub(super) error_message: Bytes,
    #[prost(bytes = "bytes", tag = "11")]
    pub(super) refusal: Bytes,
    /// Each a [`Column`].
    #[prost(bytes = "bytes", repeated, tag = "12")]
    pub(super) columns: Vec<Bytes>,
    #[prost(bool, tag = "13")]
    pub(super) rows_truncated: bool,
    #[prost(uint64, tag = "14")]
    pub(super) captured_rows: u64,
    #[prost(uint64, tag = "15")]
    pub(super) captured_bytes: u64,
    #[prost(bytes = "bytes", tag = "16")]
    pub(super) result_digest: Bytes,
    #[prost(bytes = "bytes", tag = "17")]
    pub(super) transaction_status: Bytes,
    #[prost(bool, tag = "18")]
    pub(super) outcome_unknown: bool,
    #[prost(bytes = "bytes", tag = "19")]
    pub(super) fingerprint: Bytes,
}

/// `Column`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Column {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) name: Bytes,
    #[prost(uint32, tag = "2")]
    pub(super) type_oid: u32,
    #[prost(int32, tag = "3")]
    pub(super) type_modifier: i32,
    #[prost(uint32, tag = "4")]
    pub(super) format: u32,
    #[prost(uint32, tag = "5")]
    pub(super) table_oid: u32,
    #[prost(uint32, tag = "6")]
    pub(super) table_column: u32,
}

/// `SessionEnded`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionEnded {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) session_id: Bytes,
    #[prost(int64, tag = "2")]
    pub(super) ended_at_unix_us: i64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) reason: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) sqlstate: Bytes,
    #[prost(uint64, tag = "5")]
    pub(super) queries_used: u64,
    #[prost(uint64, tag = "6")]
    pub(super) bytes_used: u64,
    #[prost(uint64, tag = "7")]
    pub(super) bytes_in: u64,
    #[prost(uint64, tag = "8")]
    pub(super) bytes_out: u64,
}

#[cfg(test)]
mod tests {
    use pglens_rpc::v1;

    use super::*;

    /// What `read` makes of `message` and writes again is `message`, which has no field at its default.
    fn is_the_same<Encoded: Message + Default>(message: &(impl Message + std::fmt::Debug)) {
        let bytes = Bytes::from(message.encode_to_vec());
        let read = Encoded::decode(bytes.clone()).unwrap();
        assert_eq!(read.encode_to_vec(), bytes, "{message:?}");
    }

    fn parameter() -> v1::Parameter {
        v1::Parameter {
            type_oid: 1,
            format: 2,
            value: Some(b"3".to_vec()),
            value_bytes: Some(4),
            value_digest: b"5".to_vec(),
        }
    }

    fn column() -> v1::Column {
        v1::Column {
            name: "1".to_owned(),
            type_oid: 2,
            type_modifier: -3,
            format: 4,
            table_oid: 5,
            table_column: 6,
        }
    }

    fn started() -> v1::StatementStarted {
        v1::StatementStarted {
            query_id: b"1".to_vec(),
            session_id: b"2".to_vec(),
            sequence: 3,
            sql: "4".to_owned(),
            kind: "5".to_owned(),
            parameters: vec![parameter(), parameter()],
            started_at_unix_us: 7,
            fingerprint: "8".to_owned(),
        }
    }

    fn ended() -> v1::StatementEnded {
        v1::StatementEnded {
            query_id: b"1".to_vec(),
            session_id: b"2".to_vec(),
            duration_us: 3,
            first_row_us: Some(4),
            row_count: 5,
            bytes_in: 6,
            bytes_out: 7,
            command_tag: "8".to_owned(),
            sqlstate: "9".to_owned(),
            error_message: "10".to_owned(),
            refusal: "11".to_owned(),
            columns: vec![column(), column()],
            rows_truncated: true,
            captured_rows: 14,
            captured_bytes: 15,
            result_digest: b"16".to_vec(),
            transaction_status: "17".to_owned(),
            outcome_unknown: true,
            fingerprint: "19".to_owned(),
        }
    }

    #[test]
    fn the_contract_says_the_same() {
        is_the_same::<Parameter>(&parameter());
        is_the_same::<Column>(&column());
        is_the_same::<StatementStarted>(&started());
        is_the_same::<StatementEnded>(&ended());
        let rows = v1::RowsCaptured {
            query_id: b"1".to_vec(),
            session_id: b"2".to_vec(),
            chunk: 3,
            first_row: 4,
            row_count: 5,
            data: Bytes::from_static(b"6"),
        };
        let session = v1::SessionEnded {
            session_id: b"1".to_vec(),
            ended_at_unix_us: 2,
            reason: "3".to_owned(),
            sqlstate: "4".to_owned(),
            queries_used: 5,
            bytes_used: 6,
            bytes_in: 7,
            bytes_out: 8,
        };
        use v1::record::Event;
        let brief_rows = rows.clone();
        for event in [
            Event::StatementStarted(started()),
            Event::RowsCaptured(rows),
            Event::StatementEnded(ended()),
            Event::SessionEnded(session),
            Event::BriefStatementStarted(started()),
            Event::BriefRowsCaptured(brief_rows),
            Event::BriefStatementEnded(ended()),
        ] {
            is_the_same::<Record>(&v1::Record { event: Some(event) });
        }
    }
}
