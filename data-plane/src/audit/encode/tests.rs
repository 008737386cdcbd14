//! What is written is what protobuf reads.

use super::*;
use crate::audit::{Columns, Parameter, Parameters};
use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use prost::Message;

mod brief;

/// What a control plane makes of the records of a frame.
fn read_all(records: &Records) -> Vec<Event> {
    let batch = v1::RecordBatch::decode(records.as_slice()).unwrap();
    let records = batch.in_full().decoded().unwrap().into_iter();
    records.map(|record| record.event.unwrap()).collect()
}

fn read(event: &impl Encode) -> Event {
    let mut records = Records::default();
    records.push(event);
    read_all(&records).remove(0)
}

fn settled<'a>(end: &'a EncodedEnd, transaction_status: &'static str) -> Settled<'a> {
    Settled {
        query_id: ID,
        session_id: SESSION,
        end,
        rows_before: None,
        transaction_status,
    }
}

const ID: Uuid = Uuid::from_u128(1);
const SESSION: SessionId = SessionId(Uuid::from_u128(2));

#[test]
fn a_start_is_read_as_it_was_written() {
    let parameters = [
        Parameter {
            type_oid: 23,
            format: 1,
            value: Some(&[0; 300]),
            whole: Some((1 << 30, [7; 32])),
        },
        Parameter::default(),
        Parameter {
            value: Some(b""),
            ..Default::default()
        },
    ];
    let parameters = Parameters::new(parameters.into_iter());
    let sql = "select 'ä' ".repeat(100_000);
    let started = Started {
        query_id: ID,
        session_id: SESSION,
        sequence: u64::MAX,
        sql: &sql,
        kind: "SELECT",
        parameters: parameters.fields(),
        started_at_unix_us: -1,
        fingerprint: None,
    };
    let expected = v1::StatementStarted {
        query_id: ID.as_bytes().to_vec(),
        session_id: SESSION.to_wire(),
        sequence: u64::MAX,
        sql: sql.clone(),
        kind: "SELECT".to_owned(),
        parameters: vec![
            v1::Parameter {
                type_oid: 23,
                format: 1,
                value: Some(vec![0; 300]),
                value_bytes: Some(1 << 30),
                value_digest: vec![7; 32],
            },
            v1::Parameter::default(),
            v1::Parameter {
                value: Some(Vec::new()),
                ..Default::default()
            },
        ],
        started_at_unix_us: -1,
        fingerprint: String::new(),
    };
    assert_eq!(read(&started), Event::StatementStarted(expected));
}

#[test]
fn an_end_is_read_as_it_was_written() {
    let column = v1::Column {
        name: "n".to_owned(),
        type_oid: 25,
        type_modifier: -1,
        format: 1,
        table_oid: 7,
        table_column: 2,
    };
    let columns = Columns::new([column.clone()].into_iter());
    let ended = Ended {
        duration_us: 1,
        first_row_us: Some(0),
        row_count: 2,
        bytes_in: 3,
        bytes_out: 4,
        command_tag: "SELECT 2",
        sqlstate: "22012",
        error_message: &"x".repeat(200),
        refusal: "r",
        columns: columns.fields(),
        rows_truncated: true,
        captured_rows: 5,
        captured_bytes: 6,
        result_digest: Some([9; 32]),
        outcome_unknown: true,
        fingerprint: Some(Fingerprint(0x00ab)),
    };
    let mut end = EncodedEnd::default();
    end.set(&ended);
    let settled = settled(&end, "T");
    let expected = v1::StatementEnded {
        query_id: ID.as_bytes().to_vec(),
        session_id: SESSION.to_wire(),
        duration_us: 1,
        first_row_us: Some(0),
        row_count: 2,
        bytes_in: 3,
        bytes_out: 4,
        command_tag: "SELECT 2".to_owned(),
        sqlstate: "22012".to_owned(),
        error_message: "x".repeat(200),
        refusal: "r".to_owned(),
        columns: vec![column],
        rows_truncated: true,
        captured_rows: 5,
        captured_bytes: 6,
        result_digest: vec![9; 32],
        transaction_status: "T".to_owned(),
        outcome_unknown: true,
        fingerprint: "00000000000000ab".to_owned(),
    };
    assert_eq!(read(&settled), Event::StatementEnded(expected));
}

#[test]
fn rows_and_session_ends_are_read_as_they_were_written() {
    let rows = Rows {
        query_id: ID,
        session_id: SESSION,
        chunk: 3,
        first_row: 4,
        row_count: 5,
        data: &[6; 70_000],
    };
    let Event::RowsCaptured(read_back) = read(&rows) else {
        panic!()
    };
    assert_eq!(
        (read_back.chunk, read_back.first_row, read_back.row_count),
        (3, 4, 5)
    );
    assert_eq!(read_back.data, vec![6; 70_000]);
    let ended = SessionEnded {
        session_id: SESSION,
        ended_at_unix_us: 1,
        reason: "client_closed",
        sqlstate: "",
        queries_used: 2,
        bytes_used: 3,
        bytes_in: 4,
        bytes_out: 5,
    };
    let expected = v1::SessionEnded {
        session_id: SESSION.to_wire(),
        ended_at_unix_us: 1,
        reason: "client_closed".to_owned(),
        sqlstate: String::new(),
        queries_used: 2,
        bytes_used: 3,
        bytes_in: 4,
        bytes_out: 5,
    };
    assert_eq!(read(&ended), Event::SessionEnded(expected));
}

#[test]
fn fingerprints_have_the_digits_they_are_printed_with() {
    for number in [
        0,
        0xab,
        0x0123_4567_89ab_cdef,
        0xfedc_ba98_7654_3210,
        u64::MAX,
    ] {
        let printed = Fingerprint(number).to_string();
        assert_eq!(hexadecimal(number), printed.as_bytes());
    }
}

#[test]
fn numbers_of_any_size_are_read_as_they_were_written() {
    let edges = (0..64).flat_map(|bits| [1 << bits, (1 << bits) - 1, (1 << bits) + 1]);
    for value in edges.chain([u64::MAX, 1_790_000_000_123_456]) {
        let mut out = Vec::new();
        number(&mut out, 5, value);
        let read = v1::StatementEnded::decode(out.as_slice()).unwrap();
        assert_eq!(read.row_count, value);
        let varint = prost::encoding::encoded_len_varint(value);
        assert!(value == 0 || out.len() == 1 + varint, "{value}");
    }
}

#[test]
fn the_longest_fields_have_room() {
    let most = u64::MAX;
    let fingerprint = Some(Fingerprint(most));
    let started = Started {
        query_id: ID,
        session_id: SESSION,
        sequence: most,
        sql: "",
        kind: "",
        parameters: &[],
        started_at_unix_us: -1,
        fingerprint,
    };
    let rows = Rows {
        query_id: ID,
        session_id: SESSION,
        chunk: u32::MAX,
        first_row: most,
        row_count: u32::MAX,
        data: &[],
    };
    let mut end = EncodedEnd::default();
    end.set(&Ended {
        duration_us: most,
        first_row_us: Some(most),
        row_count: most,
        bytes_in: most,
        bytes_out: most,
        command_tag: "",
        sqlstate: "",
        error_message: "",
        refusal: "",
        columns: &[],
        rows_truncated: true,
        captured_rows: most,
        captured_bytes: most,
        result_digest: Some([7; 32]),
        outcome_unknown: true,
        fingerprint,
    });
    let settled = settled(&end, "");
    let Event::StatementStarted(started) = read(&started) else {
        panic!("a start")
    };
    let said = (
        started.sequence,
        started.started_at_unix_us,
        started.fingerprint.as_str(),
    );
    assert_eq!(said, (most, -1, "ffffffffffffffff"));
    let Event::RowsCaptured(rows) = read(&rows) else {
        panic!("rows")
    };
    assert_eq!(
        (rows.chunk, rows.first_row, rows.row_count),
        (u32::MAX, most, u32::MAX)
    );
    let Event::StatementEnded(end) = read(&settled) else {
        panic!("an end")
    };
    let numbers = [
        end.duration_us,
        end.row_count,
        end.bytes_in,
        end.bytes_out,
        end.captured_rows,
        end.captured_bytes,
    ];
    assert_eq!((numbers, end.first_row_us), ([most; 6], Some(most)));
    assert!(end.rows_truncated && end.outcome_unknown);
    assert_eq!(
        (end.result_digest, end.fingerprint.as_str()),
        (vec![7; 32], "ffffffffffffffff")
    );
}
