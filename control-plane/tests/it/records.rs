//! Records as a proxy makes them.

use chrono::Utc;
use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use uuid::Uuid;

fn record(event: Event) -> v1::Record {
    v1::Record { event: Some(event) }
}

pub(crate) fn started(query: Uuid, session: &[u8], sequence: u64, sql: &str) -> v1::Record {
    started_with(query, session, sequence, sql, vec![])
}

pub(crate) fn started_with(
    query: Uuid,
    session: &[u8],
    sequence: u64,
    sql: &str,
    parameters: Vec<v1::Parameter>,
) -> v1::Record {
    record(Event::StatementStarted(v1::StatementStarted {
        query_id: query.as_bytes().to_vec(),
        session_id: session.to_vec(),
        sequence,
        sql: sql.to_owned(),
        kind: "SELECT".to_owned(),
        parameters,
        started_at_unix_us: Utc::now().timestamp_micros(),
        fingerprint: "abc".to_owned(),
    }))
}

/// One `DataRow` message for each row of text values.
pub(crate) fn data_rows(rows: &[&[Option<&str>]]) -> Vec<u8> {
    let mut data = Vec::new();
    for row in rows {
        let mut body = u16::try_from(row.len()).unwrap().to_be_bytes().to_vec();
        for value in *row {
            match value {
                None => body.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(text) => {
                    body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                    body.extend_from_slice(text.as_bytes());
                }
            }
        }
        data.push(b'D');
        data.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        data.extend_from_slice(&body);
    }
    data
}

pub(crate) fn rows(
    query: Uuid,
    session: &[u8],
    chunk: u32,
    first_row: u64,
    rows: &[&[Option<&str>]],
) -> v1::Record {
    record(Event::RowsCaptured(v1::RowsCaptured {
        query_id: query.as_bytes().to_vec(),
        session_id: session.to_vec(),
        chunk,
        first_row,
        row_count: u32::try_from(rows.len()).unwrap(),
        data: data_rows(rows).into(),
    }))
}

pub(crate) fn ended(query: Uuid, session: &[u8]) -> v1::Record {
    ended_with(query, session, &[], |_| {})
}

pub(crate) fn ended_with(
    query: Uuid,
    session: &[u8],
    columns: &[(&str, u32)],
    change: impl FnOnce(&mut v1::StatementEnded),
) -> v1::Record {
    let column = |(name, type_oid): &(&str, u32)| v1::Column {
        name: (*name).to_owned(),
        type_oid: *type_oid,
        type_modifier: -1,
        ..Default::default()
    };
    let mut ended = v1::StatementEnded {
        query_id: query.as_bytes().to_vec(),
        session_id: session.to_vec(),
        duration_us: 1500,
        first_row_us: Some(900),
        row_count: 1,
        bytes_in: 20,
        bytes_out: 30,
        command_tag: "SELECT 1".to_owned(),
        columns: columns.iter().map(column).collect(),
        transaction_status: "I".to_owned(),
        ..Default::default()
    };
    change(&mut ended);
    record(Event::StatementEnded(ended))
}

pub(crate) fn session_ended(session: &[u8], queries_used: u64, bytes_used: u64) -> v1::Record {
    record(Event::SessionEnded(v1::SessionEnded {
        session_id: session.to_vec(),
        ended_at_unix_us: Utc::now().timestamp_micros(),
        reason: "client_closed".to_owned(),
        queries_used,
        bytes_used,
        ..Default::default()
    }))
}

/// One `CopyData` message for each line.
pub(crate) fn copy_lines(query: Uuid, session: &[u8], lines: &[&str]) -> v1::Record {
    let mut data = Vec::new();
    for line in lines {
        data.push(b'd');
        data.extend_from_slice(&u32::try_from(line.len() + 4).unwrap().to_be_bytes());
        data.extend_from_slice(line.as_bytes());
    }
    record(Event::RowsCaptured(v1::RowsCaptured {
        query_id: query.as_bytes().to_vec(),
        session_id: session.to_vec(),
        chunk: 0,
        first_row: 0,
        row_count: u32::try_from(lines.len()).unwrap(),
        data: data.into(),
    }))
}
