//! Grants: read and write, quotas, and refusals in the middle of things.

use futures_util::future;
use pglens_rpc::v1;
use tokio_postgres::NoTls;

use crate::fake::{PASSWORD, Terms};
use crate::harness::{Stack, db_error};

fn read(terms: &mut Terms) {
    terms.grant.access_level = v1::AccessLevel::Read.into();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_grant_reads_and_nothing_else() {
    let stack = Stack::start().await;
    let direct = stack.database.connect().await;
    direct
        .batch_execute("create table t as select 1 as a")
        .await
        .unwrap();
    stack.control.terms(read);
    let client = stack.connect().await;
    let refused = client.batch_execute("delete from t").await.unwrap_err();
    assert_eq!(db_error(&refused).0, "25006");
    let refused = client
        .query("insert into t values (2)", &[])
        .await
        .unwrap_err();
    assert_eq!(db_error(&refused).0, "25006");
    let refused = client
        .batch_execute("set default_transaction_read_only = off")
        .await
        .unwrap_err();
    assert_eq!(db_error(&refused).0, "25006");
    let row = client.query_one("select a from t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    let row = client
        .query_one("show default_transaction_read_only", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "on");
    let statements = stack.control.ended_statements(5).await;
    assert!(statements[0].end().refusal.starts_with("read_grant."));
    assert_eq!(statements[0].started.sql, "delete from t");
    assert_eq!(statements[1].end().sqlstate, "25006");
    assert_eq!(direct.query("select * from t", &[]).await.unwrap().len(), 1);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_a_pipeline_and_in_a_transaction_leaves_order_and_status_right() {
    let stack = Stack::start().await;
    stack.control.terms(read);
    let client = stack.connect().await;
    let (a, b, c) = future::join3(
        client.query("select 1", &[]),
        client.query("create table x()", &[]),
        client.query("select 3", &[]),
    )
    .await;
    assert!(a.is_ok() && b.is_err() && c.is_ok());
    client.batch_execute("begin").await.unwrap();
    client.batch_execute("drop table t").await.unwrap_err();
    let aborted = client.batch_execute("select 4").await.unwrap_err();
    assert_eq!(db_error(&aborted).0, "25P02");
    client.batch_execute("rollback").await.unwrap();
    client.batch_execute("select 5").await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_statement_quota_refuses_and_the_session_stays() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| {
        terms.grant.max_queries = Some(3);
        terms.quota.queries = Some(1);
        terms.more_queries = 2;
    });
    let client = stack.connect().await;
    for _ in 0..3 {
        client.batch_execute("select 1").await.unwrap();
    }
    let spent = client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(
        db_error(&spent),
        (
            "53400".to_owned(),
            "the statement quota of this grant is spent".to_owned()
        )
    );
    let spent = client.query("select 1", &[]).await.unwrap_err();
    assert_eq!(db_error(&spent).0, "53400");
    drop(client);
    assert_eq!(stack.control.ended_session().await.queries_used, 3);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_byte_quota_ends_the_session() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| {
        terms.grant.max_bytes = Some(100_000);
        terms.quota.bytes = Some(10_000);
        terms.more_bytes = 90_000;
    });
    let client = stack.connect().await;
    let spent = client
        .simple_query("select repeat('x', 1000) from generate_series(1, 1000000)")
        .await
        .unwrap_err();
    assert_eq!(
        db_error(&spent),
        (
            "53400".to_owned(),
            "the byte quota of this grant is spent".to_owned()
        )
    );
    let ended = stack.control.ended_session().await;
    assert_eq!(
        (ended.reason.as_str(), ended.sqlstate.as_str()),
        ("quota_spent", "53400")
    );
    assert!(ended.bytes_used <= 100_000 && ended.bytes_used > 90_000);
    let statements = stack.control.ended_statements(1).await;
    assert!(statements[0].end().outcome_unknown);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_of_a_write_grant_hold() {
    let stack = Stack::start().await;
    stack.control.terms(|terms| {
        terms.grant.block_ddl = true;
        terms.grant.block_copy = true;
        terms.grant.statement_timeout_ms = Some(200);
    });
    let client = stack.connect().await;
    let refused = client.batch_execute("create table t()").await.unwrap_err();
    assert_eq!(db_error(&refused).0, "42501");
    let refused = client
        .batch_execute("copy pg_class to stdout")
        .await
        .unwrap_err();
    assert_eq!(db_error(&refused).0, "42501");
    let slow = client
        .batch_execute("select pg_sleep(10)")
        .await
        .unwrap_err();
    assert_eq!(db_error(&slow).0, "57014");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_startup_parameter_names_the_grant() {
    let stack = Stack::start().await;
    let check = async |options: &str, level: &str, sqlstate: &str, rule: &str| {
        let url = format!("{}&options={options}", stack.url(PASSWORD));
        let refused = tokio_postgres::connect(&url, NoTls).await;
        let error = refused.err().expect("refused");
        let error = error.as_db_error().expect("said by PgLens");
        assert_eq!(
            (error.severity(), error.code().code()),
            ("FATAL", sqlstate),
            "{options}"
        );
        let detail = error.detail().expect("a detail");
        let named = format!("Grant 3 ({level}, from ");
        let ends = format!(" does not allow it: rule {rule}.");
        assert!(
            detail.contains(&named) && detail.ends_with(&ends),
            "{options}: {detail}"
        );
        assert!(!detail.starts_with(&named), "it says why as well: {detail}");
        assert!(error.hint().is_some(), "{options}: {error:?}");
    };
    check("-crole=postgres", "write", "42501", "startup.setting").await;
    check("-O", "write", "42501", "startup.options").await;
    stack.control.terms(read);
    check("--role=postgres", "read", "42501", "startup.setting").await;
    let writes = "-cdefault_transaction_read_only=off";
    check(writes, "read", "25006", "read_grant.setting").await;
    let ended = stack.control.ended_session().await;
    assert_eq!(ended.reason, "startup_refused");
    stack.stop().await;
}
