//! What is kept of results, and what is told of the rest: exact counts and a digest of the whole stream, for every way in
//! which rows pass.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::Client;

use crate::fake::Statement;
use crate::harness::Stack;

/// Statements of [`run`], and those of them that rows belong to, with how many.
const STATEMENTS: usize = 11;
const WITH_ROWS: [(usize, u64); 7] = [(1, 10), (4, 4), (5, 6), (7, 5), (8, 7), (9, 10), (10, 8)];
const MAX_ROWS: u64 = 3;

/// Rows in binary and in text format, of cursors, of several results in one message, and of COPY both ways.
async fn run(client: &Client) {
    client
        .batch_execute("create temporary table lines (a int)")
        .await
        .unwrap();
    let rows = client
        .query("select g, g::text from generate_series(1, 10) g", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 10);
    let cursor = "begin; declare c cursor for select g from generate_series(1, 10) g; fetch 4 from c; fetch 6 from c; commit";
    client.batch_execute(cursor).await.unwrap();
    let two = "select g from generate_series(1, 5) g; select g, 'x' from generate_series(1, 7) g";
    client.batch_execute(two).await.unwrap();
    let out = client
        .copy_out("copy (select g from generate_series(1, 10) g) to stdout")
        .await
        .unwrap();
    let lines: Vec<_> = out.map(Result::unwrap).collect().await;
    assert_eq!(lines.len(), 10);
    let sink = client.copy_in::<_, Bytes>("copy lines from stdin").await;
    let mut sink = pin!(sink.unwrap());
    for number in 0..8 {
        // Each a message of its own.
        sink.send(Bytes::from(format!("{number}\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_is_counted_and_digested_all_the_same() {
    let stack = Stack::start().await;
    run(&stack.connect().await).await;
    stack
        .control
        .terms(|terms| terms.limits.capture_max_rows = MAX_ROWS);
    run(&stack.connect().await).await;
    stack.control.terms(|terms| {
        terms.limits.capture_max_rows = 100;
        terms.limits.capture_rows = false;
    });
    run(&stack.connect().await).await;
    let all = stack.control.ended_statements(3 * STATEMENTS).await;
    let of_session = |number: usize| &all[number * STATEMENTS..(number + 1) * STATEMENTS];
    for (index, count) in WITH_ROWS {
        let [whole, cut, none] = [0, 1, 2].map(|session| &of_session(session)[index]);
        let sql = &whole.started.sql;
        let end = whole.end();
        assert_eq!(kept(whole), (count, count, false), "{sql}");
        assert_eq!(
            end.result_digest,
            blake3::hash(&whole.rows()).as_bytes(),
            "{sql}"
        );
        assert_eq!(kept(cut), (count, MAX_ROWS, true), "{sql}");
        assert_eq!(kept(none), (count, 0, true), "{sql}");
        assert!(whole.rows().starts_with(&cut.rows()), "{sql}");
        assert!(none.rows().is_empty());
        for other in [cut, none] {
            assert_eq!(other.end().result_digest, end.result_digest, "{sql}");
            assert_eq!(other.end().bytes_out, end.bytes_out, "{sql}");
            assert_eq!(other.end().captured_bytes, other.rows().len() as u64);
        }
    }
    stack.stop().await;
}

/// Rows, rows kept, and whether some were not.
fn kept(statement: &Statement) -> (u64, u64, bool) {
    let end = statement.end();
    (end.row_count, end.captured_rows, end.rows_truncated)
}
