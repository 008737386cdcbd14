//! Cases of merging: what becomes one row, what is refused and by which words.

use super::super::encoded;
use super::*;
use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

fn record(event: Event) -> v1::Record {
    v1::Record { event: Some(event) }
}

fn started(query: u128, session: u128, sql: &str) -> v1::Record {
    record(Event::StatementStarted(v1::StatementStarted {
        query_id: Uuid::from_u128(query).as_bytes().to_vec(),
        session_id: Uuid::from_u128(session).as_bytes().to_vec(),
        sequence: 1,
        sql: sql.to_owned(),
        ..Default::default()
    }))
}

fn ended(query: u128, session: u128, row_count: u64) -> v1::Record {
    record(Event::StatementEnded(v1::StatementEnded {
        query_id: Uuid::from_u128(query).as_bytes().to_vec(),
        session_id: Uuid::from_u128(session).as_bytes().to_vec(),
        row_count,
        bytes_in: 10,
        bytes_out: 100,
        ..Default::default()
    }))
}

fn rows(query: u128, session: u128, chunk: u32) -> v1::Record {
    record(Event::RowsCaptured(v1::RowsCaptured {
        query_id: Uuid::from_u128(query).as_bytes().to_vec(),
        session_id: Uuid::from_u128(session).as_bytes().to_vec(),
        chunk,
        ..Default::default()
    }))
}

fn session_ended(session: u128) -> v1::Record {
    record(Event::SessionEnded(v1::SessionEnded {
        session_id: Uuid::from_u128(session).as_bytes().to_vec(),
        ..Default::default()
    }))
}

fn merge_all(records: Vec<v1::Record>) -> Merged {
    merge_behind(1, &records)
}

fn merge_behind(first: u64, records: &[v1::Record]) -> Merged {
    merge(first, v1::RecordBatch::new(first, records).records)
}

fn reasons(merged: &Merged) -> Vec<(u64, &str)> {
    merged
        .refused
        .iter()
        .map(|refused| (refused.position.record, &*refused.reason))
        .collect()
}

#[test]
fn a_fingerprint_may_come_with_the_end() {
    let with = |mut record: v1::Record, said: &str| {
        match &mut record.event {
            Some(Event::StatementStarted(start)) => said.clone_into(&mut start.fingerprint),
            Some(Event::StatementEnded(end)) => said.clone_into(&mut end.fingerprint),
            _ => {}
        }
        record
    };
    let merged = merge_all(vec![
        started(1, 9, "select 1"),
        with(ended(1, 9, 5), "abc"),
        with(started(2, 9, "select 2"), "abc"),
        ended(2, 9, 5),
        with(ended(3, 9, 5), "abc"),
    ]);
    let of_rows = merged.statements.iter().map(|row| &*row.fingerprint);
    assert_eq!(of_rows.collect::<Vec<_>>(), ["abc", "abc"]);
    assert_eq!(&*merged.ends[0].fingerprint, "abc");
}

#[test]
fn a_start_and_its_end_become_one_row() {
    let merged = merge_all(vec![
        started(1, 9, "select 1"),
        rows(1, 9, 0),
        started(2, 9, "select 2"),
        ended(1, 9, 5),
        session_ended(9),
    ]);
    assert_eq!(merged.statements.len(), 2);
    assert_eq!(merged.statements[0].end.as_ref().unwrap().row_count, 5);
    assert_eq!(merged.statements[0].rows.len(), 1);
    assert_eq!(merged.statements[1].end, None);
    assert_eq!((merged.ends.len(), merged.chunks.len()), (0, 0));
    assert_eq!(merged.session_ends.len(), 1);
    assert!(merged.refused.is_empty());
}

#[test]
fn an_end_without_its_start_is_an_update() {
    let merged = merge_all(vec![ended(1, 9, 5)]);
    assert_eq!((merged.statements.len(), merged.ends.len()), (0, 1));
}

#[test]
fn contradictions_are_refused_by_name_and_the_rest_is_kept() {
    let merged = merge_all(vec![
        started(1, 9, "select 1"),
        started(1, 9, "select 1"),
        ended(1, 8, 0),
        rows(1, 8, 0),
        ended(1, 9, 0),
        ended(1, 9, 0),
        v1::Record { event: None },
        rows(1, 9, 0),
        rows(1, 9, 1),
        rows(1, 9, 0),
        rows(3, 9, 0),
        rows(3, 9, 0),
    ]);
    assert_eq!(
        reasons(&merged),
        [
            (2, "the statement began twice"),
            (3, "the statement is of another session"),
            (4, "the statement is of another session"),
            (6, "the statement ended twice"),
            (7, "field event: is missing"),
            (10, "the chunk came twice or out of order"),
            (12, "the chunk came twice"),
        ]
    );
    assert_eq!((merged.statements.len(), merged.chunks.len()), (1, 1));
    assert_eq!(merged.statements[0].rows.len(), 2);
    assert!(merged.statements[0].end.is_some());
}

#[test]
fn a_session_of_another_run_is_refused() {
    let own = SessionId(Uuid::from_u128(9));
    let foreign = [
        started(2, 8, "select 2"),
        rows(2, 8, 0),
        ended(2, 8, 1),
        ended(3, 8, 1),
        rows(4, 8, 0),
        session_ended(8),
    ];
    let records = [&[started(1, 9, "select 1")][..], &foreign].concat();
    let mut merged = merge_behind(41, &records);
    assert_eq!(merged.sessions().len(), 2);
    merged.refuse_strangers(|session_id| session_id == own);
    assert_eq!(merged.sessions(), HashSet::from([own]));
    assert_eq!(merged.statements.len(), 1);
    let refused: Vec<_> = (42..=47)
        .map(|record| (record, "its session is not one of this run"))
        .collect();
    assert_eq!(reasons(&merged), refused);
}

#[test]
fn what_cannot_be_read_is_refused_alone() {
    let mut records = v1::RecordBatch::new(1, &[started(1, 9, "select 1")]).records;
    records.push(Bytes::from_static(b"\xff"));
    let merged = merge(1, records);
    assert_eq!((merged.statements.len(), merged.refused.len()), (1, 1));
    assert!(reasons(&merged)[0].1.starts_with("field records: "));
    assert_eq!(merged.refused[0].position.session_id, None);
}

#[test]
fn the_session_of_what_cannot_be_kept_is_said_to_lack_it() {
    let event = encoded::Event::StatementStarted(encoded::StatementStarted {
        query_id: Uuid::from_u128(1).as_bytes().to_vec().into(),
        session_id: Uuid::from_u128(9).as_bytes().to_vec().into(),
        sql: Bytes::from_static(b"select '\xff'"),
        ..Default::default()
    });
    let record = encoded::Record { event: Some(event) };
    let merged = merge(1, vec![record.encode_to_vec().into()]);
    assert_eq!(reasons(&merged), [(1, "field sql: is not UTF-8")]);
    let counts = count_sessions(&merged.statements, &merged.ends, &merged.refused);
    let refused: Vec<_> = counts
        .iter()
        .map(|(id, of)| (id.0.as_u128(), of.refused))
        .collect();
    assert_eq!(refused, [(9, 1)]);
}

#[test]
fn sessions_are_counted() {
    let merged = merge_all(vec![
        started(1, 9, "a"),
        ended(1, 9, 0),
        started(2, 9, "b"),
        ended(3, 8, 0),
        started(1, 9, "twice"),
    ]);
    let counts = count_sessions(&merged.statements, &merged.ends, &merged.refused);
    let counts: Vec<_> = counts.into_iter().map(|(_, counts)| counts).collect();
    let expected = [
        SessionCounts {
            statements: 0,
            bytes_in: 10,
            bytes_out: 100,
            refused: 0,
        },
        SessionCounts {
            statements: 2,
            bytes_in: 10,
            bytes_out: 100,
            refused: 1,
        },
    ];
    assert_eq!(counts, expected);
}

#[test]
fn what_storage_cannot_hold_is_replaced() {
    let merged = merge_all(vec![started(1, 9, "select '\0'")]);
    assert_eq!(merged.statements[0].sql, "select '␀'");
}

/// Records that were taken, as rows or as parts of one.
fn taken(merged: &Merged) -> usize {
    let parts =
        |statement: &Statement| 1 + statement.rows.len() + usize::from(statement.end.is_some());
    merged.statements.iter().map(parts).sum::<usize>()
        + merged.ends.len()
        + merged.chunks.len()
        + merged.session_ends.len()
}

proptest! {
    #[test]
    fn whatever_comes_every_record_is_taken_or_refused(
        changes in vec((any::<usize>(), any::<usize>(), any::<u8>()), 0..8),
        noise in vec(any::<u8>(), 0..64),
    ) {
        let whole = [
            started(1, 9, "select 1"),
            rows(1, 9, 0),
            ended(1, 9, 1),
            started(2, 9, "select 2"),
            ended(3, 8, 1),
            session_ended(9),
        ];
        let mut records = v1::RecordBatch::new(1, &whole).records;
        for (record, place, byte) in changes {
            let index = record % records.len();
            let mut bytes = records[index].to_vec();
            let place = place % bytes.len();
            bytes[place] = byte;
            records[index] = bytes.into();
        }
        records.push(noise.into());
        let count = records.len();
        let mut merged = merge(1, records);
        prop_assert_eq!(taken(&merged) + merged.refused.len(), count);
        merged.refuse_strangers(|session_id| session_id == SessionId(Uuid::from_u128(9)));
        prop_assert_eq!(taken(&merged) + merged.refused.len(), count);
    }
}
