//! Sessions that are ended from outside, cancels, and an orderly shutdown.

use std::time::{Duration, Instant};

use pglens_rpc::v1;
use pglens_testkit::{DEADLINE, eventually};
use tokio_postgres::NoTls;

use crate::harness::{Stack, db_error};

async fn sleeps_at_target(stack: &Stack) -> bool {
    let direct = stack.database.connect().await;
    let row = direct
        .query_one(
            "select count(*) from pg_stat_activity
             where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()",
            &[],
        )
        .await
        .unwrap();
    row.get::<_, i64>(0) > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_ends_a_running_statement_at_once() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    let running = tokio::spawn(async move { client.batch_execute("select pg_sleep(100)").await });
    eventually(DEADLINE, || sleeps_at_target(&stack)).await;
    let begun = Instant::now();
    stack
        .control
        .terminate(v1::TerminateReason::GrantRevoked)
        .await;
    let ended = running.await.unwrap().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(
        db_error(&ended),
        ("57P01".to_owned(), "the grant was revoked".to_owned())
    );
    let error = ended.as_db_error().unwrap();
    assert_eq!(error.detail(), Some("It was revoked by admin."));
    eventually(DEADLINE, || async { !sleeps_at_target(&stack).await }).await;
    let ended = stack.control.ended_session().await;
    assert_eq!(
        (ended.reason.as_str(), ended.sqlstate.as_str()),
        ("revoked", "57P01")
    );
    assert!(
        stack.control.ended_statements(1).await[0]
            .end()
            .outcome_unknown
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_grant_ends_the_session() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| terms.grant.expires_in_ms = 500);
    let client = stack.connect().await;
    let ended = client
        .batch_execute("select pg_sleep(100)")
        .await
        .unwrap_err();
    assert_eq!(
        db_error(&ended),
        ("57P01".to_owned(), "the grant has expired".to_owned())
    );
    assert_eq!(stack.control.ended_session().await.reason, "expired");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_stops_its_own_statement_only() {
    let stack = Stack::start().await;
    let (one, other) = (stack.connect().await, stack.connect().await);
    let token = one.cancel_token();
    let cancelled = tokio::spawn(async move {
        let error = one.batch_execute("select pg_sleep(100)").await.unwrap_err();
        one.batch_execute("select 1").await.unwrap();
        error
    });
    let undisturbed = tokio::spawn(async move { other.batch_execute("select pg_sleep(2)").await });
    eventually(DEADLINE, || sleeps_at_target(&stack)).await;
    token.cancel_query(NoTls).await.unwrap();
    let error = cancelled.await.unwrap();
    assert_eq!(db_error(&error).0, "57014");
    undisturbed.await.unwrap().unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_sees_the_process_id_of_the_target() {
    let stack = Stack::start().await;
    let output = stack
        .psql(&[
            "-Atc",
            "select pg_backend_pid()",
            "-c",
            "\\echo :BACKEND_PID",
        ])
        .await;
    assert!(output.status.success());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_nothing_running() {
    let stack = Stack::start().await;
    let (client, connection) = tokio_postgres::connect(&stack.url(crate::fake::PASSWORD), NoTls)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let statement = tokio::spawn(async move { client.batch_execute("select pg_sleep(100)").await });
    eventually(DEADLINE, || sleeps_at_target(&stack)).await;
    connection.abort();
    let _broken = statement.await.unwrap();
    eventually(DEADLINE, || async { !sleeps_at_target(&stack).await }).await;
    let statements = stack.control.ended_statements(1).await;
    assert!(statements[0].end().outcome_unknown);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_statements_finish_and_sends_their_records() {
    let stack = Stack::start().await;
    let (idle, busy) = (stack.connect().await, stack.connect().await);
    idle.batch_execute("select 'idle'").await.unwrap();
    let running = tokio::spawn(async move { busy.batch_execute("select pg_sleep(1)").await });
    eventually(DEADLINE, || sleeps_at_target(&stack)).await;
    let control = stack.stop().await;
    running.await.unwrap().unwrap();
    let statements = control.ended_statements(2).await;
    assert!(statements.iter().all(|s| !s.end().outcome_unknown));
    let ended = control
        .state()
        .records
        .iter()
        .filter(|r| matches!(r.event, Some(v1::record::Event::SessionEnded(_))))
        .count();
    assert_eq!(ended, 2);
    let gone = idle.batch_execute("select 1").await.unwrap_err();
    assert!(gone.is_closed() || db_error(&gone).0 == "57P01");
}
