//! What records leave out, and that nothing is lost by it.

use proptest::prelude::*;

use super::*;

/// A statement as it may come.
#[derive(Debug, Clone)]
struct Case {
    query: u8,
    session: u8,
    sql: usize,
    fingerprint: Option<u64>,
    outcome: usize,
    rows: Option<u8>,
    /// Others record something between its rows and its end.
    is_interrupted: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let ids = (any::<u8>(), 0..2_u8);
    let said = (0..4_usize, prop::option::of(0..2_u64), 0..5_usize);
    (ids, said, prop::option::of(0..3_u8), any::<bool>()).prop_map(
        |((query, session), (sql, fingerprint, outcome), rows, is_interrupted)| Case {
            query,
            session,
            sql,
            fingerprint,
            outcome,
            rows,
            is_interrupted,
        },
    )
}

impl Case {
    fn query_id(&self) -> Uuid {
        Uuid::from_u128(self.query.into())
    }

    fn session_id(&self) -> SessionId {
        SessionId(Uuid::from_u128(self.session.into()))
    }

    fn started<'a>(&self, texts: &'a [String]) -> Started<'a> {
        Started {
            query_id: self.query_id(),
            session_id: self.session_id(),
            sequence: 1,
            sql: &texts[self.sql],
            kind: if self.sql == 0 { "UNKNOWN" } else { "SELECT" },
            parameters: &[],
            started_at_unix_us: 5,
            fingerprint: self.fingerprint.map(Fingerprint),
        }
    }

    fn rows(&self, data: &'static [u8]) -> Rows<'static> {
        Rows {
            query_id: self.query_id(),
            session_id: self.session_id(),
            chunk: 0,
            first_row: 0,
            row_count: 1,
            data,
        }
    }

    fn end(&self, long: &str) -> EncodedEnd {
        let columns = Columns::new([v1::Column::default()].into_iter());
        let (command_tag, sqlstate, error_message) = [
            ("", "", ""),
            ("SELECT 1", "", ""),
            ("SELECT 2", "", ""),
            ("", "22012", "division by zero"),
            ("", "22012", long),
        ][self.outcome];
        let mut end = EncodedEnd::default();
        end.set(&Ended {
            duration_us: 1,
            first_row_us: None,
            row_count: 1,
            bytes_in: 2,
            bytes_out: 3,
            command_tag,
            sqlstate,
            error_message,
            refusal: "",
            columns: columns.fields(),
            rows_truncated: false,
            captured_rows: 1,
            captured_bytes: 4,
            result_digest: None,
            outcome_unknown: self.outcome == 0,
            fingerprint: None,
        });
        end
    }
}

const DATA: [&[u8]; 3] = [b"a", b"bb", b"ccc"];

proptest! {
    /// What records leave out changes nothing of what is read.
    #[test]
    fn records_say_the_same_together_and_each_alone(cases in prop::collection::vec(case(), 1..12)) {
        let long = "x".repeat(2000);
        let texts = ["", "select 1", "select 2", &long].map(str::to_owned);
        let (mut together, mut alone) = (Records::default(), Vec::new());
        for case in &cases {
            let started = case.started(&texts);
            together.push(&started);
            alone.push(read(&started));
            let data = case.rows.map(|index| DATA[usize::from(index)]);
            if let Some(data) = data {
                together.push(&case.rows(data));
                alone.push(read(&case.rows(data)));
            }
            let mut end = case.end(&long);
            if case.is_interrupted {
                let other = SessionEnded {
                    session_id: SESSION,
                    ended_at_unix_us: 1,
                    reason: "",
                    sqlstate: "",
                    queries_used: 2,
                    bytes_used: 3,
                    bytes_in: 4,
                    bytes_out: 5,
                };
                data.into_iter().for_each(|data| end.digest(data));
                together.push(&other);
                alone.push(read(&other));
            }
            let settled = |end, rows_before| Settled {
                query_id: case.query_id(),
                session_id: case.session_id(),
                end,
                rows_before,
                transaction_status: "I",
            };
            together.push(&settled(&end, data.filter(|_| !case.is_interrupted)));
            let mut in_full = case.end(&long);
            data.into_iter().for_each(|data| in_full.digest(data));
            alone.push(read(&settled(&in_full, None)));
        }
        prop_assert_eq!(read_all(&together), alone);
    }
}

#[test]
fn what_the_record_before_has_is_left_out() {
    let texts = ["", "select 1"].map(str::to_owned);
    let case = Case {
        query: 1,
        session: 1,
        sql: 1,
        fingerprint: Some(7),
        outcome: 1,
        rows: Some(0),
        is_interrupted: false,
    };
    let mut records = Records::default();
    let bytes = |records: &mut Records| {
        let before = records.len();
        records.push(&case.started(&texts));
        records.push(&case.rows(b"a"));
        records.push(&Settled {
            query_id: case.query_id(),
            session_id: case.session_id(),
            end: &case.end(""),
            rows_before: Some(b"a"),
            transaction_status: "I",
        });
        records.len() - before
    };
    let first = bytes(&mut records);
    let second = bytes(&mut records);
    assert!(second < 80 && first > 130, "{first} and {second}");
    records.clear();
    assert_eq!(
        bytes(&mut records),
        first,
        "of another frame nothing is left out"
    );
}
