//! The simple query protocol.

use crate::harness::{Stack, psql, text};

#[tokio::test(flavor = "multi_thread")]
async fn psql_select_1_is_answered_and_recorded() {
    let stack = Stack::start().await;
    let output = stack.psql(&["-Atc", "select 1 as one"]).await;
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        ("1\n".into(), String::new())
    );
    let statements = stack.control.ended_statements(1).await;
    let (start, end) = (&statements[0].started, statements[0].end());
    assert_eq!(
        (start.sql.as_str(), start.kind.as_str()),
        ("select 1 as one", "SELECT")
    );
    // The first of its kind has its fingerprint made while it runs.
    let fingerprints = (start.fingerprint.as_str(), end.fingerprint.len());
    assert_eq!((start.sequence, fingerprints), (1, ("", 16)));
    assert_eq!((end.command_tag.as_str(), end.row_count), ("SELECT 1", 1));
    assert_eq!(
        (end.sqlstate.as_str(), end.transaction_status.as_str()),
        ("", "I")
    );
    assert_eq!((end.captured_rows, end.rows_truncated), (1, false));
    assert_eq!(
        (end.columns[0].name.as_str(), end.columns[0].type_oid),
        ("one", 23)
    );
    assert!(end.first_row_us.unwrap() <= end.duration_us);
    let row = b"D\0\0\0\x0b\0\x01\0\0\0\x011";
    assert_eq!(statements[0].rows(), row);
    assert_eq!(end.result_digest, blake3::hash(row).as_bytes());
    assert_eq!(end.bytes_out, row.len() as u64);
    let ended = stack.control.ended_session().await;
    assert_eq!(
        (ended.reason.as_str(), ended.queries_used),
        ("client_closed", 1)
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_sees_what_it_sees_without_a_proxy() {
    let stack = Stack::start().await;
    let script = "create table t(a int, b text);
        insert into t select g, repeat('x', g) from generate_series(1, 300) g;
        select * from t order by a; select 1/0; begin; select broken; select 2; rollback;
        \\d t
        select pg_typeof(current_setting('server_version_num')), 'a'; ; select 3\\; select 4;
        do $$ begin raise notice 'hello'; end $$;
        drop table t;";
    let through = stack.psql(&["-c", "select 1", "-c", script]).await;
    let through_script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(through_script.path(), script).unwrap();
    let path = through_script.path().to_str().unwrap();
    let (through_file, direct) = (
        stack.psql(&["-f", path]).await,
        psql(&stack.database.url, &["-f", path]).await,
    );
    assert_eq!(text(&through_file.stdout), text(&direct.stdout));
    assert_eq!(text(&through_file.stderr), text(&direct.stderr));
    assert!(text(&direct.stderr).contains("division by zero"));
    assert_eq!(text(&through.stdout).lines().nth(2).unwrap().trim(), "1");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_of_a_text_has_its_record_up_to_the_error() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    let text = "select 1; select 2, 3; insert into missing values (4); select 5";
    client.simple_query(text).await.unwrap_err();
    client.simple_query("").await.unwrap();
    client.simple_query("begin; select 6").await.unwrap();
    let statements = stack.control.ended_statements(6).await;
    let seen: Vec<_> = statements
        .iter()
        .map(|statement| {
            let end = statement.end();
            (
                statement.started.sql.as_str(),
                statement.started.kind.as_str(),
                end.command_tag.as_str(),
                end.sqlstate.as_str(),
                end.transaction_status.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("select 1", "SELECT", "SELECT 1", "", ""),
            ("select 2, 3", "SELECT", "SELECT 1", "", ""),
            ("insert into missing values (4)", "INSERT", "", "42P01", "I"),
            ("", "EMPTY", "", "", "I"),
            ("begin", "BEGIN", "BEGIN", "", ""),
            ("select 6", "SELECT", "SELECT 1", "", "T"),
        ]
    );
    assert_eq!(statements[1].end().columns.len(), 2);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_pass_whole_and_are_captured_up_to_the_limit() {
    let stack = Stack::start().await;
    stack
        .control
        .terms(|terms| terms.limits.capture_max_rows = 10);
    let client = stack.connect().await;
    let rows = client
        .simple_query("select g, repeat('x', 100000) from generate_series(1, 200) g")
        .await
        .unwrap();
    assert_eq!(rows.len(), 202);
    let one = client
        .simple_query("select repeat('y', 30000000)")
        .await
        .unwrap();
    let tokio_postgres::SimpleQueryMessage::Row(row) = &one[1] else {
        panic!("{one:?}");
    };
    assert_eq!(row.get(0).unwrap().len(), 30_000_000);
    let statements = stack.control.ended_statements(2).await;
    let end = statements[0].end();
    assert_eq!(
        (end.row_count, end.captured_rows, end.rows_truncated),
        (200, 10, true)
    );
    assert!(end.bytes_out > 20_000_000 && end.captured_bytes < 1_100_000);
    assert_eq!(statements[0].rows().len() as u64, end.captured_bytes);
    let end = statements[1].end();
    assert_eq!(
        (end.row_count, end.captured_rows, end.rows_truncated),
        (1, 0, true)
    );
    stack.stop().await;
}
