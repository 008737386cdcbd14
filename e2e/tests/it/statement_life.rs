//! Statements over their life: listed while they run, timed, larger than what is kept, and cancelled.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, pin_mut};
use pglens_e2e::{Place, Stack, StackOptions, client::db_error, eventually, step};
use tokio_postgres::{Client, NoTls, error::SqlState};

use crate::compare::only;
use crate::driver::recorded;
use crate::endings::wait_for_sleepers;

const LARGE_BYTES: usize = 50 * 1024 * 1024;

/// Below what one record can hold, and above.
const RECORDED_PARAMETER_BYTES: usize = 3 * 1024 * 1024;
const CUT_PARAMETER_BYTES: usize = 5 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_on_record_from_its_beginning_to_its_end() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    step("shown while it runs", shown_while_it_runs(&place)).await;
    step("times", times(&place)).await;
    step("large value", large_value(&place)).await;
    step("cancel", cancel(&place)).await;
}

/// A statement of the extended protocol is on record from its beginning, without an end.
async fn shown_while_it_runs(place: &Place) {
    let (person, login) = place.writer("watched").await;
    let client = login.connect().await;
    let token = client.cancel_token();
    let running = tokio::spawn(async move { client.query("select pg_sleep(60)", &[]).await });
    wait_for_sleepers(place, &person, 1).await;
    let path = format!("/api/queries?user_id={}", person.id);
    let shown = eventually("the running statement is listed", || async {
        let listed = place.api.list(&path, "queries").await;
        listed.into_iter().next().ok_or_else(|| "none".to_owned())
    })
    .await;
    assert_eq!(shown["sql"], "select pg_sleep(60)");
    assert!(shown["duration_us"].is_null(), "{shown}");
    token.cancel_query(NoTls).await.unwrap();
    assert!(running.await.unwrap().is_err());
    let recorded = recorded(place, &person).await;
    assert_eq!(
        (recorded.len(), recorded[0].sqlstate.as_str()),
        (1, "57014"),
        "{recorded:?}"
    );
    assert_eq!(recorded[0].id, shown["id"], "the same record, ended");
}

/// Durations are those of the statement at the target, in both protocols.
async fn times(place: &Place) {
    let (person, login) = place.writer("times").await;
    let client = login.connect().await;
    let started = Instant::now();
    client
        .simple_query("select 'simple', pg_sleep(0.3)")
        .await
        .unwrap();
    client
        .query("select 'extended', pg_sleep(0.3)", &[])
        .await
        .unwrap();
    client
        .query("select n, pg_sleep(0.1) from generate_series(1, 3) n", &[])
        .await
        .unwrap();
    let most = u64::try_from(started.elapsed().as_micros()).unwrap();
    drop(client);
    let recorded = recorded(place, &person).await;
    for record in &recorded {
        let [duration, first_row] =
            ["duration_us", "first_row_us"].map(|name| record.json[name].as_u64().unwrap());
        assert!(
            (300_000..most).contains(&duration),
            "{duration}: {}",
            record.json
        );
        assert!(
            (100_000..=duration).contains(&first_row),
            "{first_row}: {}",
            record.json
        );
    }
    assert_eq!(recorded.len(), 3);
}

/// Larger than anything that is kept: delivered, counted, and said to be missing.
async fn large_value(place: &Place) {
    let (person, login) = place.writer("large").await;
    let client = login.connect().await;
    client
        .batch_execute("create temp table large (v text)")
        .await
        .unwrap();
    let text = "0123456789abcdef".repeat(LARGE_BYTES / 16);
    let sink = client.copy_in("copy large from stdin").await.unwrap();
    pin_mut!(sink);
    sink.send(Bytes::from(text.clone() + "\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 1);
    let row = client.query_one("select v from large", &[]).await.unwrap();
    assert!(row.get::<_, &str>(0) == text, "the value came back changed");

    // What a statement is run with is recorded whole, or its beginning, its length and its digest are.
    let (kept, cut) = (
        &text[..RECORDED_PARAMETER_BYTES],
        &text[..CUT_PARAMETER_BYTES],
    );
    let row = client
        .query_one("select length($1::text)", &[&kept])
        .await
        .unwrap();
    assert_eq!(
        row.get::<_, i32>(0),
        i32::try_from(RECORDED_PARAMETER_BYTES).unwrap()
    );
    let row = client
        .query_one("select octet_length($1::text)", &[&cut])
        .await
        .unwrap();
    assert_eq!(
        row.get::<_, i32>(0),
        i32::try_from(CUT_PARAMETER_BYTES).unwrap()
    );
    client
        .batch_execute("select 'the session goes on'")
        .await
        .unwrap();
    drop(client);

    let recorded = recorded(place, &person).await;
    let (taken, given) = (
        only(&recorded, "copy large from stdin"),
        only(&recorded, "select v from large"),
    );
    assert!(
        taken.json["bytes_in"].as_u64().unwrap() > LARGE_BYTES as u64,
        "{}",
        taken.json
    );
    assert!(
        given.json["bytes_out"].as_u64().unwrap() > LARGE_BYTES as u64,
        "{}",
        given.json
    );
    assert_eq!(
        (given.row_count, given.json["rows_truncated"].as_bool()),
        (1, Some(true))
    );
    assert!(place.api.rows(&given.id).await.is_empty());
    let kept_record = only(&recorded, "select length($1::text)");
    let query = place
        .api
        .get(&format!("/api/queries/{}", kept_record.id))
        .await;
    assert!(
        query["parameters"][0] == kept,
        "the whole parameter is recorded"
    );
    assert!(query["parameter_types"][0].get("value_bytes").is_none());
    let cut_record = only(&recorded, "select octet_length($1::text)");
    let query = place
        .api
        .get(&format!("/api/queries/{}", cut_record.id))
        .await;
    let beginning = query["parameters"][0].as_str().unwrap();
    assert!(
        beginning.len() > RECORDED_PARAMETER_BYTES / 2 && cut.starts_with(beginning),
        "its beginning is recorded: {} bytes",
        beginning.len()
    );
    let of_type = &query["parameter_types"][0];
    assert_eq!(
        of_type["value_bytes"].as_u64(),
        Some(CUT_PARAMETER_BYTES as u64)
    );
    assert_eq!(of_type["value_digest"].as_str().unwrap().len(), 64);
}

async fn cancel(place: &Place) {
    let (person, login) = place.writer("cancel").await;
    let (mine, other) = (login.connect().await, login.connect().await);
    let sleeping = |client: Client| {
        tokio::spawn(async move { (client.batch_execute("select pg_sleep(60)").await, client) })
    };
    let (token, other_token) = (mine.cancel_token(), other.cancel_token());
    let (mine, other) = (sleeping(mine), sleeping(other));
    wait_for_sleepers(place, &person, 2).await;
    let started = Instant::now();
    token.cancel_query(NoTls).await.unwrap();
    let (outcome, mine) = mine.await.unwrap();
    assert_eq!(
        db_error(&outcome.unwrap_err()).code(),
        &SqlState::QUERY_CANCELED
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    // The session goes on, the other was not touched, and a late cancel hits nothing.
    token.cancel_query(NoTls).await.unwrap();
    mine.batch_execute("select 'the next statement'")
        .await
        .unwrap();
    wait_for_sleepers(place, &person, 1).await;
    other_token.cancel_query(NoTls).await.unwrap();
    let (outcome, other) = other.await.unwrap();
    assert_eq!(
        db_error(&outcome.unwrap_err()).code(),
        &SqlState::QUERY_CANCELED
    );
    drop((mine, other));
    let recorded = place.api.recorded(&person, 2).await;
    let canceled = recorded
        .iter()
        .filter(|record| record.sqlstate == "57014")
        .count();
    assert_eq!(canceled, 2);
    assert_eq!(only(&recorded, "select 'the next statement'").sqlstate, "");
}
