//! What only the target knows at the end: how many rows a COPY took, and that a commit has failed.

use bytes::Bytes;
use futures_util::{SinkExt, pin_mut};
use pglens_e2e::{Place, Stack, StackOptions, client::db_error, step};
use tokio_postgres::error::SqlState;

use crate::compare::only;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_has_what_the_target_says_last() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    step("rows of a copy", rows_of_a_copy(&place)).await;
    step("deferred constraint", deferred_constraint(&place)).await;
}

/// Lines come in as many messages as the client likes.
async fn rows_of_a_copy(place: &Place) {
    let (person, login) = place.writer("copied").await;
    let client = login.connect().await;
    client
        .batch_execute("create temp table t (n int)")
        .await
        .unwrap();
    for (copy, text, is_good) in [
        ("copy t from stdin", "1\n2\n3\n4\n5\n", true),
        ("copy t (n) from stdin", "6\nseven\n", false),
    ] {
        let sink = client.copy_in(copy).await.unwrap();
        pin_mut!(sink);
        sink.send(Bytes::from(text)).await.unwrap();
        assert_eq!(sink.finish().await.is_ok(), is_good);
    }
    drop(client);
    let recorded = place.api.recorded(&person, 1).await;
    let whole = only(&recorded, "copy t from stdin");
    let failed = only(&recorded, "copy t (n) from stdin");
    let facts = |one: &pglens_e2e::Recorded| {
        let captured = one.json["captured_rows"].as_i64();
        (one.command_tag.clone(), one.row_count, captured)
    };
    assert_eq!(facts(whole), ("COPY 5".to_owned(), 5, Some(1)));
    assert_eq!(facts(failed), (String::new(), 0, Some(1)));
    assert_eq!(failed.sqlstate, "22P02");
}

/// In either protocol the statement that could not be committed has failed.
async fn deferred_constraint(place: &Place) {
    let (person, login) = place.writer("deferred").await;
    let client = login.connect().await;
    client
        .batch_execute(
            "create temp table parents (id int primary key); \
             create temp table children (id int references parents deferrable initially deferred)",
        )
        .await
        .unwrap();
    let extended = client
        .execute("insert into children values ($1)", &[&1_i32])
        .await
        .unwrap_err();
    let simple = client
        .batch_execute("insert into children values (2)")
        .await
        .unwrap_err();
    for error in [&extended, &simple] {
        assert_eq!(db_error(error).code(), &SqlState::FOREIGN_KEY_VIOLATION);
    }
    let left = client
        .query_one("select count(*) from children", &[])
        .await
        .unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
    drop(client);
    let recorded = place.api.recorded(&person, 1).await;
    let extended = only(&recorded, "insert into children values ($1)");
    let simple = only(&recorded, "insert into children values (2)");
    for failed in [extended, simple] {
        assert_eq!(failed.sqlstate, "23503", "{}", failed.json);
        assert_eq!(failed.json["transaction_status"], "I");
        let message = failed.json["error_message"].as_str().unwrap_or_default();
        assert!(message.contains("children_id_fkey"), "{}", failed.json);
    }
    // The target had said so before it came to the commit.
    assert_eq!(extended.command_tag, "INSERT 0 1");
}
