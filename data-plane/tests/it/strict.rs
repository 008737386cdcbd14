//! The audit level `strict`: nothing runs before its start is stored for good.

use std::time::SystemTime;

use pglens_rpc::v1;
use pglens_testkit::{DEADLINE, eventually};
use pglens_wire::backend::tag;
use pglens_wire::frontend;
use tokio_postgres::types::ToSql;

use crate::harness::{Stack, db_error};
use crate::raw::dial;

async fn stack() -> Stack {
    let stack = Stack::start().await;
    stack.control.terms(|terms| {
        terms.grant.audit_level = v1::AuditLevel::Strict.into();
        terms.lease_ms = 600_000;
    });
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_wait_for_their_start_to_be_committed() {
    let stack = stack().await;
    let client = stack.connect().await;
    client
        .batch_execute("create table t (n int)")
        .await
        .unwrap();
    stack.control.ended_statements(1).await;
    // The fake takes the batch and does not answer.
    stack.control.answers.send_replace(false);
    let received = stack.control.state().received;
    let insert = tokio::spawn(async move {
        let inserted = client.batch_execute("insert into t values (1)").await;
        (client, inserted)
    });
    let direct = stack.database.connect().await;
    // When its start arrives, the statement has long run at any other level: bytes go out first, batches wait.
    let has_arrived = || async { stack.control.state().received > received };
    eventually(DEADLINE, has_arrived).await;
    let count = async || -> i64 {
        let row = direct.query_one("select count(*) from t", &[]).await;
        row.unwrap().get(0)
    };
    assert_eq!(count().await, 0, "it ran before its start was stored");
    stack.control.answers.send_replace(true);
    let (client, inserted) = insert.await.unwrap();
    inserted.unwrap();
    assert_eq!(count().await, 1);
    client.query("select $1::int", &[&1i32]).await.unwrap();
    stack.control.ended_statements(3).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_a_statement_ends_with_58030_and_does_not_run() {
    let stack = stack().await;
    let client = stack.connect().await;
    client
        .batch_execute("create table t (n int)")
        .await
        .unwrap();
    stack.control.answers.send_replace(false);
    let refused = client.batch_execute("insert into t values (1)").await;
    assert_eq!(db_error(&refused.unwrap_err()).0, "58030");
    stack.control.answers.send_replace(true);
    let direct = stack.database.connect().await;
    let row = direct
        .query_one("select count(*) from t", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    eventually(DEADLINE, || async { client.is_closed() }).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_results_and_pipelines_pass_as_they_are_committed() {
    let stack = stack().await;
    let client = stack.connect().await;
    let rows = client.simple_query("select repeat('x', 1000) from generate_series(1, 5000)");
    assert_eq!(rows.await.unwrap().len(), 5002);
    let one = client.prepare("select 1").await.unwrap();
    let runs = (0..5).map(|_| client.query(&one, &[]));
    for rows in futures_util::future::join_all(runs).await {
        assert_eq!(rows.unwrap().len(), 1);
    }
    let several = client
        .batch_execute("select 1; select 2")
        .await
        .unwrap_err();
    assert_eq!(db_error(&several).0, "0A000");
    stack.control.ended_statements(7).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_stored_before_its_statement_runs_whatever_is_not_answered_yet() {
    let stack = stack().await;
    let client = stack.connect().await;
    let create = "create table t (text text, at timestamptz default clock_timestamp())";
    client.batch_execute(create).await.unwrap();
    // What is closed first has a Sync of its own, which is not answered yet when the statement comes.
    let text = |n: i32| format!("insert into t (text) values ('statement {n}')");
    for n in (0..20).step_by(2) {
        let (one, closed) = (
            client.prepare(&text(n)).await,
            client.prepare("select 1").await,
        );
        drop(closed.unwrap());
        let one = one.unwrap();
        let (text, params): (_, [&(dyn ToSql + Sync); 0]) = (text(n + 1), []);
        let run = (client.execute(&one, &params), client.simple_query(&text));
        let ran = tokio::join!(run.0, run.1);
        assert!(ran.0.is_ok() && ran.1.is_ok(), "{ran:?}");
    }

    let direct = stack.database.connect().await;
    let rows = direct.query("select text, at from t", &[]).await.unwrap();
    assert_eq!(rows.len(), 20);
    let committed = stack.control.state().committed_starts.clone();
    for row in rows {
        let (name, ran_at): (String, SystemTime) = (row.get(0), row.get(1));
        let mut starts = committed.iter();
        let (_, stored_at) = starts
            .find(|(text, _)| text.contains(&format!("'{name}'")))
            .unwrap();
        assert!(
            *stored_at <= ran_at,
            "{name} ran before its start was stored"
        );
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_run_when_their_start_is_durable_and_the_spool_keeps_what_is_not_stored() {
    let stack = stack().await;
    let client = stack.connect().await;
    stack.control.state().only_journals = true;
    for n in 0..20 {
        client
            .query_one("select $1::int", &[&n])
            .await
            .unwrap_or_else(|error| panic!("{n}: {error}"));
    }
    assert_eq!(stack.control.statements().len(), 0, "nothing is stored");
    // A control plane that knows nothing of what the last one has held gets all of it.
    stack.control.state().only_journals = false;
    client.simple_query("select 'stored'").await.unwrap();
    let statements = stack.control.ended_statements(21).await;
    assert_eq!(statements.len(), 21);
    stack.stop().await;
}

/// PostgreSQL reads it and hangs up. Here it must wait until the COPY has ended, which waits for data.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_in_the_middle_of_a_copy_ends_the_copy() {
    let stack = stack().await;
    let mut raw = dial(&stack).await;
    raw.log_in(0, &[]).await;
    let mut sent = Vec::new();
    frontend::put_query(&mut sent, "create temp table t (n int)");
    frontend::put_query(&mut sent, "copy t from stdin");
    raw.send(&sent).await;
    while raw.frame().await.0 != tag::COPY_IN_RESPONSE {}
    sent.clear();
    frontend::put_query(&mut sent, "select 'behind'");
    raw.send(&sent).await;
    let mut tags = String::new();
    while tags.matches('Z').count() < 2 {
        tags.push(char::from(raw.frame().await.0));
    }
    assert_eq!(tags, "EZTDCZ");
    let statements = stack.control.ended_statements(3).await;
    let outcomes: Vec<_> = statements
        .iter()
        .map(|s| s.end().sqlstate.as_str())
        .collect();
    assert_eq!(outcomes, ["", "57014", ""]);
    stack.stop().await;
}
