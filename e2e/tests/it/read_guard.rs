//! A read grant cannot change the target, however the change is spelled and although the stored login is a superuser.

mod corpus;
mod effects;

use pglens_e2e::{Login, Place, Stack, StackOptions, client::db_error};

use crate::compare::trimmed;
use crate::refusals::assert_tells_nothing;
use crate::sample;

/// One message each; none may have an effect.
const WRITES: &[&str] = &[
    "insert into written values (1, 'x')",
    "INSERT INTO written SELECT 1, 'x'",
    "update customers set name = 'changed'",
    "delete from orders",
    "truncate written",
    "merge into written using (select 1 as n) s on id = n when not matched then insert values (1, 'x')",
    "/* select */ insert into written values (1, 'x')",
    "with gone as (delete from orders returning id) select * from gone",
    "with one as (select 1), two as (insert into written values (1, 'x') returning id) select * from one, two",
    "select 1; insert into written values (1, 'x')",
    "begin; set transaction read write; insert into written values (1, 'x'); commit",
    "begin read write; insert into written values (1, 'x'); commit",
    "start transaction read write; insert into written values (1, 'x'); commit",
    "set session characteristics as transaction read write",
    "set default_transaction_read_only = off",
    "set \"default_transaction_read_only\" to default",
    "set local transaction_read_only = off",
    "select set_config('transaction_read_only', 'off', false)",
    "select pg_catalog.set_config('default_transaction_read_only', 'off', false)",
    "select set_config(x, 'off', false) from (values ('transaction_read_only')) v (x)",
    "select 1 from set_config('transaction_read_only', 'off', false)",
    "update pg_settings set setting = 'off' where name = 'transaction_read_only'",
    "set role pg_write_all_data",
    "set session authorization postgres",
    "create table more (id integer)",
    "create temp table more (id integer)",
    "select 1 as id into more",
    "create table more as select 1 as id",
    "create index on written (id)",
    "alter table written add column more text",
    "drop table written",
    "grant all on written to public",
    "comment on table written is 'x'",
    "select nextval('counter')",
    "select setval('counter', 99)",
    "do $$ begin insert into written values (1, 'x'); end $$",
    "create function f() returns int language sql as 'select 1'",
    "prepare w as insert into written values (1, 'x')",
    "explain analyze insert into written values (1, 'x')",
    "explain (analyze, verbose) delete from orders",
    "copy written from stdin",
    "copy (select 1) to '/tmp/pglens-e2e-must-not-exist'",
    "copy (select 1) to program 'true'",
    "copy (delete from orders returning id) to stdout",
    "select lo_create(424242)",
    "select lo_import('/etc/hostname')",
    "select * from customers where id = 1 for update",
    "select pg_read_file('/etc/hostname')",
    "select pg_terminate_backend(pg_backend_pid())",
    "select pg_reload_conf()",
    "select query_to_xml('insert into written values (1) returning id', true, true, '')",
    "select dblink_exec('x', 'insert into written values (1)')",
    "lock table written in exclusive mode",
    "vacuum written",
    "alter system set work_mem = '5MB'",
    "checkpoint",
    "notify news",
    "refresh materialized view large_orders",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_a_write_has_an_effect() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    sample::create(&place).await;
    let before = fingerprint(&place).await;
    let (person, login) = place.reader("tempted").await;
    simple(&place, &login).await;
    extended(&place, &login).await;
    assert_eq!(fingerprint(&place).await, before, "the target changed");

    let recorded = place.api.recorded(&person, WRITES.len() + 1).await;
    let refused = recorded.iter().filter(|record| !record.refusal.is_empty());
    assert!(
        refused.count() >= 2 * WRITES.len() - 10,
        "refusals are recorded with the rule's name"
    );
    for text in place.target.executed(&person) {
        let harmless = ["select 1", "begin", "commit", "rollback", "deallocate"];
        let executed = trimmed(&text).to_lowercase();
        assert!(
            harmless.iter().any(|start| executed.starts_with(start)),
            "the target executed {text:?}"
        );
        assert!(
            !executed.contains("written"),
            "the target executed {text:?}"
        );
    }
}

/// Each in a session of its own: what one leaves behind must not help the next, nor hide it.
async fn simple(place: &Place, login: &Login) {
    for sql in WRITES {
        let client = login.connect().await;
        let error = client.batch_execute(sql).await.err();
        let error = error.unwrap_or_else(|| panic!("{sql} ran"));
        check(place, sql, &error);
        // The session goes on, outside of any transaction that the text had begun.
        client.batch_execute("rollback").await.unwrap();
        client
            .batch_execute("select 1")
            .await
            .unwrap_or_else(|error| panic!("after {sql}: {error:?}"));
    }
}

/// All in one session, as Parse messages.
async fn extended(place: &Place, login: &Login) {
    let client = login.connect().await;
    for sql in WRITES.iter().filter(|sql| !sql.contains(';')) {
        let error = match client.prepare(sql).await {
            Err(error) => error,
            Ok(statement) => {
                let outcome = client.query(&statement, &[]).await;
                outcome.err().unwrap_or_else(|| panic!("{sql} ran"))
            }
        };
        check(place, sql, &error);
    }
}

#[track_caller]
fn check(place: &Place, sql: &str, error: &tokio_postgres::Error) {
    let error = db_error(error);
    assert_eq!(
        (error.severity(), error.code().code()),
        ("ERROR", "25006"),
        "{sql}: {error:?}"
    );
    assert_tells_nothing_of_the_target(place, error);
    let detail = error.detail().unwrap_or_default();
    assert!(
        detail.contains(" (read, from ") && detail.contains(" does not allow it: rule "),
        "{sql}: {detail}"
    );
}

#[track_caller]
fn assert_tells_nothing_of_the_target(place: &Place, error: &tokio_postgres::error::DbError) {
    // The words may quote the statement, which is the client's own.
    if !error.message().to_lowercase().contains("select ") {
        assert_tells_nothing(place, error);
    }
}

/// Everything that a write of the list could change.
async fn fingerprint(place: &Place) -> String {
    let sql = "select concat_ws(' ', \
        (select md5(string_agg(t::text, '|' order by id)) from customers t), \
        (select md5(string_agg(t::text, '|' order by id)) from orders t), \
        (select count(*) from written), (select last_value || is_called::text from counter), \
        (select count(*) from pg_class), (select count(*) from pg_proc), (select count(*) from pg_attribute), \
        (select count(*) from pg_largeobject_metadata), current_setting('work_mem'), \
        (select md5(coalesce(string_agg(relacl::text, '|' order by oid), '')) from pg_class))";
    place.target.value(sql).await
}
