//! Records as sessions of an application make them: short statements from a few texts, most with parameters, most with a
//! row or a few, some that fail, now and then a long result.

use bytes::Bytes;
use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use uuid::Uuid;

/// Texts an application sends, with the columns that come back; lengths as ORMs write them.
const TEXTS: [(&str, &[&str]); 8] = [
    (
        "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
        &["abalance"],
    ),
    (
        "SELECT u.id, u.email, u.created_at, u.last_login FROM users u WHERE u.tenant_id = $1 AND u.email = $2 LIMIT 1",
        &["id", "email", "created_at", "last_login"],
    ),
    (
        "SELECT o.id, o.state, o.total_cents, o.currency FROM orders o JOIN customers c ON c.id = o.customer_id \
         WHERE c.id = $1 AND o.state = $2 ORDER BY o.created_at DESC LIMIT 20",
        &["id", "state", "total_cents", "currency"],
    ),
    ("UPDATE sessions SET seen_at = now() WHERE id = $1", &[]),
    ("BEGIN", &[]),
    ("COMMIT", &[]),
    (
        "INSERT INTO events (tenant_id, kind, payload) VALUES ($1, $2, $3) RETURNING id",
        &["id"],
    ),
    (
        "SELECT count(*) FROM invoices WHERE tenant_id = $1 AND due_on < $2 AND paid_at IS NULL",
        &["count"],
    ),
];
/// One statement of so many fails.
const FAILS_EVERY: u64 = 100;
/// One statement of so many has a long result.
const LONG_EVERY: u64 = 500;
const LONG_ROWS: usize = 1000;
const TEXT_OID: u32 = 25;
const CHUNK_ROWS: usize = 250;

/// Makes the records of statement after statement.
pub(crate) struct Maker {
    sessions: Vec<Session>,
    statements: u64,
    short_row: Bytes,
    long_chunk: Bytes,
}

struct Session {
    id: Vec<u8>,
    sequence: u64,
}

impl Maker {
    pub(crate) fn new(sessions: Vec<Vec<u8>>) -> Self {
        let values = [
            "1048577",
            "ann.miller@example.com",
            "2026-11-27 09:44:54+00",
            "paid",
        ];
        let row = data_row(&values);
        Self {
            sessions: sessions
                .into_iter()
                .map(|id| Session { id, sequence: 0 })
                .collect(),
            statements: 0,
            long_chunk: row.repeat(CHUNK_ROWS).into(),
            short_row: row.into(),
        }
    }

    /// The records of the next statement, behind those in `records`.
    pub(crate) fn statement(&mut self, records: &mut Vec<v1::Record>) {
        let number = self.statements;
        self.statements += 1;
        let count = self.sessions.len() as u64;
        let Some(session) = usize::try_from(number % count)
            .ok()
            .and_then(|index| self.sessions.get_mut(index))
        else {
            return;
        };
        session.sequence += 1;
        let texts = TEXTS.len() as u64;
        let text = usize::try_from((number / count) % texts).unwrap_or(0);
        let Some((sql, columns)) = TEXTS.get(text) else {
            return;
        };
        let query_id = Uuid::now_v7().as_bytes().to_vec();
        records.push(started(&query_id, session, sql, number));
        let fails = number % FAILS_EVERY == FAILS_EVERY - 1;
        let mut rows = 0;
        if !columns.is_empty() && !fails {
            let long = number % LONG_EVERY == 1;
            rows = if long { LONG_ROWS } else { 1 };
            let chunk = if long {
                &self.long_chunk
            } else {
                &self.short_row
            };
            let in_chunk = if long { CHUNK_ROWS } else { 1 };
            for index in 0..rows / in_chunk {
                records.push(captured(&query_id, &session.id, index, in_chunk, chunk));
            }
        }
        records.push(ended(&query_id, &session.id, columns, rows, fails));
    }
}

fn record(event: Event) -> v1::Record {
    v1::Record { event: Some(event) }
}

fn started(query_id: &[u8], session: &Session, sql: &str, number: u64) -> v1::Record {
    let parameters = (0..sql.matches('$').count()).map(|_| v1::Parameter {
        type_oid: TEXT_OID,
        format: 0,
        value: Some(format!("value-{number:08}").into_bytes()),
        ..Default::default()
    });
    record(Event::StatementStarted(v1::StatementStarted {
        query_id: query_id.to_vec(),
        session_id: session.id.clone(),
        sequence: session.sequence,
        sql: sql.to_owned(),
        kind: sql.split(' ').next().unwrap_or_default().to_owned(),
        parameters: parameters.collect(),
        started_at_unix_us: chrono::Utc::now().timestamp_micros(),
        fingerprint: "50fde20626009aba".to_owned(),
    }))
}

fn captured(
    query_id: &[u8],
    session_id: &[u8],
    chunk: usize,
    rows: usize,
    data: &Bytes,
) -> v1::Record {
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    record(Event::RowsCaptured(v1::RowsCaptured {
        query_id: query_id.to_vec(),
        session_id: session_id.to_vec(),
        chunk: small(chunk),
        first_row: (chunk * rows) as u64,
        row_count: small(rows),
        data: data.clone(),
    }))
}

fn ended(
    query_id: &[u8],
    session_id: &[u8],
    columns: &[&str],
    rows: usize,
    fails: bool,
) -> v1::Record {
    let column = |name: &&str| v1::Column {
        name: (*name).to_owned(),
        type_oid: TEXT_OID,
        type_modifier: -1,
        format: 0,
        table_oid: 16_385,
        table_column: 1,
    };
    let word = |fails: bool, text: &str| {
        if fails {
            text.to_owned()
        } else {
            String::new()
        }
    };
    record(Event::StatementEnded(v1::StatementEnded {
        query_id: query_id.to_vec(),
        session_id: session_id.to_vec(),
        duration_us: 312,
        first_row_us: (rows > 0).then_some(280),
        row_count: rows as u64,
        bytes_in: 120,
        bytes_out: rows as u64 * 82,
        command_tag: word(!fails, &format!("SELECT {rows}")),
        sqlstate: word(fails, "23505"),
        error_message: word(
            fails,
            "duplicate key value violates unique constraint \"events_pkey\"",
        ),
        columns: columns.iter().map(column).collect(),
        captured_rows: rows as u64,
        captured_bytes: rows as u64 * 82,
        result_digest: match rows {
            0 => Vec::new(),
            _ => blake3::hash(query_id).as_bytes().to_vec(),
        },
        transaction_status: "I".to_owned(),
        ..Default::default()
    }))
}

/// A `DataRow` message (PostgreSQL manual, "Message Formats").
fn data_row(values: &[&str]) -> Vec<u8> {
    let be32 = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut body = u16::try_from(values.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes()
        .to_vec();
    for value in values {
        body.extend_from_slice(&be32(value.len()));
        body.extend_from_slice(value.as_bytes());
    }
    [&b"D"[..], &be32(body.len() + 4), &body].concat()
}
