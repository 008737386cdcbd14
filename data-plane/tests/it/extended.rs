//! The extended query protocol: parameters, portals, pipelines, errors in the middle.

use futures_util::{StreamExt, future};
use tokio_postgres::types::Type;

use crate::harness::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_recorded_with_types_and_formats() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    let rows = client
        .query(
            "select $1::int8 + 1, $2::text, $3::text",
            &[&41_i64, &"x", &None::<&str>],
        )
        .await
        .unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 42);
    let statements = stack.control.ended_statements(1).await;
    let parameters = &statements[0].started.parameters;
    assert_eq!(parameters[0].type_oid, Type::INT8.oid());
    assert_eq!(
        parameters[0].value.as_deref(),
        Some(&41_i64.to_be_bytes()[..])
    );
    assert_eq!(
        (parameters[1].value.as_deref(), parameters[1].format),
        (Some(&b"x"[..]), 1)
    );
    assert_eq!(parameters[2].value, None);
    let columns = &statements[0].end().columns;
    assert_eq!(
        (columns.len(), columns[0].type_oid, columns[0].format),
        (3, 20, 1)
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_is_recorded_each_time_it_runs() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    let statement = client.prepare("select $1::int4 * 2").await.unwrap();
    let queries = (0..50_i32).map(|number| {
        let (client, statement) = (&client, &statement);
        async move {
            let row = client.query_one(statement, &[&number]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), number * 2);
        }
    });
    future::join_all(queries).await;
    let statements = stack.control.ended_statements(50).await;
    for (number, statement) in (0_i32..).zip(&statements) {
        let value = statement.started.parameters[0].value.as_deref();
        assert_eq!(value, Some(&number.to_be_bytes()[..]));
        assert_eq!(statement.end().row_count, 1);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_give_their_rows_in_parts() {
    let stack = Stack::start().await;
    let mut client = stack.connect().await;
    let transaction = client.transaction().await.unwrap();
    let portal = transaction
        .bind("select generate_series(1, 5)", &[])
        .await
        .unwrap();
    let mut counts = Vec::new();
    for _ in 0..3 {
        counts.push(transaction.query_portal(&portal, 2).await.unwrap().len());
    }
    assert_eq!(counts, [2, 2, 1]);
    transaction.commit().await.unwrap();
    let statements = stack.control.ended_statements(5).await;
    let counts: Vec<_> = statements[1..4].iter().map(|s| s.end().row_count).collect();
    assert_eq!(counts, [2, 2, 1]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_pipeline_fails_its_own_request_only() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    let one = client.prepare("select 1/$1::int4").await.unwrap();
    let (a, b, c) = future::join3(
        client.query(&one, &[&1_i32]),
        client.query(&one, &[&0_i32]),
        client.query(&one, &[&1_i32]),
    )
    .await;
    assert!(a.is_ok() && b.is_err() && c.is_ok());
    let statements = stack.control.ended_statements(3).await;
    let states: Vec<_> = statements
        .iter()
        .map(|s| s.end().sqlstate.as_str())
        .collect();
    assert_eq!(states, ["", "22012", ""]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_stream_while_the_client_is_slow() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    let rows = client
        .query_raw(
            "select g, md5(g::text) from generate_series(1, 200000) g",
            Vec::<i32>::new(),
        )
        .await
        .unwrap();
    let count = rows.fold(0, |count, row| async move {
        row.unwrap();
        count + 1
    });
    assert_eq!(count.await, 200_000);
    let statements = stack.control.ended_statements(1).await;
    let end = statements[0].end();
    assert_eq!(
        (end.row_count, end.captured_rows, end.rows_truncated),
        (200_000, 100_000, true)
    );
    let mut next = 0;
    for (number, chunk) in (0_u32..).zip(&statements[0].chunks) {
        assert_eq!((chunk.chunk, chunk.first_row), (number, next));
        next += u64::from(chunk.row_count);
    }
    assert_eq!(next, 100_000);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_and_notifications_pass() {
    let stack = Stack::start().await;
    let listening = stack
        .psql(&["-c", "listen news", "-c", "notify news, 'hello'"])
        .await;
    let output = crate::harness::text(&listening.stdout);
    assert!(
        output.contains("Asynchronous notification \"news\""),
        "{output}"
    );
    stack.stop().await;
}
