//! What brief records are read as, and what is refused of them.

use pglens_rpc::v1;
use pglens_rpc::v1::record::Event as Sent;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn id(number: u8) -> Vec<u8> {
    Uuid::from_u128(number.into()).as_bytes().to_vec()
}

fn started(query: u8, sql: &str) -> v1::StatementStarted {
    v1::StatementStarted {
        query_id: id(query),
        session_id: id(9),
        sequence: query.into(),
        sql: sql.to_owned(),
        kind: "SELECT".to_owned(),
        fingerprint: "00ab".to_owned(),
        ..Default::default()
    }
}

fn rows(query: u8, chunk: u32) -> v1::RowsCaptured {
    v1::RowsCaptured {
        query_id: id(query),
        session_id: id(9),
        chunk,
        row_count: 1,
        data: vec![query; 20].into(),
        ..Default::default()
    }
}

fn ended(query: u8, error_message: &str) -> v1::StatementEnded {
    v1::StatementEnded {
        query_id: id(query),
        session_id: id(9),
        row_count: query.into(),
        command_tag: "SELECT 1".to_owned(),
        error_message: error_message.to_owned(),
        columns: vec![v1::Column {
            name: "n".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn batch(events: Vec<Sent>) -> v1::RecordBatch {
    let record = |event| v1::Record { event: Some(event) };
    let records: Vec<_> = events.into_iter().map(record).collect();
    v1::RecordBatch::new(1, &records)
}

/// What becomes of each record.
fn read(batch: v1::RecordBatch) -> Vec<Result<Record, Unreadable>> {
    let mut reader = Reader::default();
    let read = (1..).zip(batch.records);
    read.map(|(number, record)| reader.read(number, record))
        .collect()
}

#[test]
fn what_is_left_out_is_that_of_the_records_before() {
    let brief_start = v1::StatementStarted {
        query_id: id(2),
        sequence: 2,
        ..Default::default()
    };
    let other_text = v1::StatementStarted {
        query_id: id(3),
        sql: "select 3".to_owned(),
        ..Default::default()
    };
    let brief_rows = v1::RowsCaptured {
        query_id: Vec::new(),
        session_id: Vec::new(),
        ..rows(2, 0)
    };
    let brief_end = v1::StatementEnded {
        row_count: 2,
        ..Default::default()
    };
    let records = read(batch(vec![
        Sent::StatementStarted(started(1, "select 1")),
        Sent::StatementEnded(ended(1, "")),
        Sent::BriefStatementStarted(brief_start),
        Sent::BriefRowsCaptured(brief_rows),
        Sent::BriefStatementEnded(brief_end),
        Sent::BriefStatementStarted(other_text),
    ]));
    let records: Vec<_> = records.into_iter().map(Result::unwrap).collect();
    let session_ids = records.iter().map(|record| record.session_id());
    assert!(
        session_ids
            .into_iter()
            .all(|session| session == SessionId(Uuid::from_u128(9)))
    );
    let [
        _,
        Record::Ended(first),
        Record::Started(second),
        _,
        Record::Ended(end),
        Record::Started(third),
    ] = &records[..]
    else {
        panic!("{records:?}");
    };
    assert_eq!((&*second.sql, second.sequence), ("select 1", 2));
    assert_eq!((&*third.sql, &*third.fingerprint), ("select 3", "00ab"));
    assert_eq!((end.id, end.row_count), (second.id, 2));
    assert_eq!(
        (&end.command_tag, &end.columns),
        (&first.command_tag, &first.columns)
    );
    let of_rows = blake3::hash(&[2; 20]);
    assert_eq!(end.result_digest.as_deref(), Some(&of_rows.as_bytes()[..]));
    assert_eq!(first.result_digest, None);
}

#[test]
fn what_refers_to_nothing_is_refused_and_its_session_said() {
    let brief_start = Sent::BriefStatementStarted(v1::StatementStarted {
        sql: String::new(),
        ..started(2, "")
    });
    let brief_end = Sent::BriefStatementEnded(v1::StatementEnded {
        command_tag: String::new(),
        ..ended(2, "")
    });
    let brief_rows = Sent::BriefRowsCaptured(v1::RowsCaptured::default());
    let long = "x".repeat(MAX_REPEATED_BYTES + 1);
    let long_start = Sent::StatementStarted(started(1, &long));
    let long_end = Sent::StatementEnded(ended(1, &long));
    let no_text = Sent::StatementStarted(v1::StatementStarted {
        kind: "x".to_owned(),
        ..started(1, "select 1")
    });
    let damaged = Sent::RowsCaptured(v1::RowsCaptured {
        query_id: Vec::new(),
        ..rows(1, 0)
    });
    let last = |events: Vec<Sent>| {
        read(batch(events)).pop().unwrap().map_err(|unreadable| {
            (
                unreadable.session_id.map(|id| id.0.as_u128()),
                unreadable.reason.field,
            )
        })
    };
    assert_eq!(last(vec![brief_start.clone()]), Err((Some(9), "sql")));
    assert_eq!(last(vec![brief_end.clone()]), Err((Some(9), "command_tag")));
    assert_eq!(last(vec![brief_rows]), Err((None, "query_id")));
    assert_eq!(
        last(vec![long_start, brief_start.clone()]),
        Err((Some(9), "sql"))
    );
    assert_eq!(
        last(vec![long_end, brief_end]),
        Err((Some(9), "command_tag"))
    );
    assert!(last(vec![no_text.clone(), brief_start.clone()]).is_ok());
    let behind_damage = last(vec![no_text, damaged, brief_start]);
    assert_eq!(
        behind_damage,
        Err((Some(9), "sql")),
        "of what came long before it"
    );
}

/// Events of which parts are left out at will.
fn event() -> impl Strategy<Value = Sent> {
    let id = |left_out: bool, id: Vec<u8>| if left_out { Vec::new() } else { id };
    let word = |left_out: bool, word: &str| {
        if left_out {
            String::new()
        } else {
            word.to_owned()
        }
    };
    let ids = (0..3_u8, any::<[bool; 4]>());
    (0..7_u8, ids, 0..2_u32).prop_map(move |(kind, (query, left_out), chunk)| {
        let [no_query, no_session, no_text, no_kind] = left_out;
        let started = v1::StatementStarted {
            session_id: id(no_session, started(query, "").session_id),
            kind: word(no_kind, "SELECT"),
            ..started(query, &word(no_text, "select 1"))
        };
        let rows = v1::RowsCaptured {
            query_id: id(no_query, rows(query, 0).query_id),
            session_id: id(no_session, rows(query, 0).session_id),
            ..rows(query, chunk)
        };
        let ended = v1::StatementEnded {
            query_id: id(no_query, ended(query, "").query_id),
            session_id: id(no_session, ended(query, "").session_id),
            command_tag: word(no_text, "SELECT 1"),
            sqlstate: word(no_kind, "22012"),
            ..ended(query, "")
        };
        match kind {
            0 => Sent::StatementStarted(started),
            1 => Sent::RowsCaptured(rows),
            2 => Sent::StatementEnded(ended),
            3 => Sent::BriefStatementStarted(started),
            4 => Sent::BriefRowsCaptured(rows),
            5 => Sent::BriefStatementEnded(ended),
            _ => Sent::SessionEnded(v1::SessionEnded {
                session_id: super::tests::id(9),
                ..Default::default()
            }),
        }
    })
}

proptest! {
    /// Both readers of the rules understand them alike, as far as the first record that is refused.
    #[test]
    fn brief_records_are_read_as_those_they_stand_for(events in prop::collection::vec(event(), 1..20)) {
        let sent = batch(events);
        let in_full = read(sent.clone().in_full());
        for (brief, full) in read(sent).into_iter().zip(in_full) {
            match (brief, full) {
                (Ok(brief), Ok(full)) => prop_assert_eq!(brief, full),
                (Err(_), Err(_)) => break,
                (brief, full) => prop_assert!(false, "{:?} instead of {:?}", brief, full),
            }
        }
    }
}
