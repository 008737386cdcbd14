//! The feed with collectors that do not want everything, proxies that are lost, and settings that are taken away.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use pglens_testkit::{DEADLINE, TestPostgres, eventually};
use uuid::Uuid;

use crate::collectors::{Attributed, Collector, Mode};
use crate::feed::{Scene, all_differ};
use crate::planes::Fleet;
use crate::records::{ended, started};

#[tokio::test]
async fn records_that_a_collector_rejects_are_counted_and_not_sent_again() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    scene.queue_is_empty().await;
    collector.answer(Mode::RejectSome(1));
    scene.store(&["select 1", "select 2", "select 3"]).await;
    scene.queue_is_empty().await;
    collector.answer(Mode::Take);
    scene.store(&["select 4"]).await;
    collector.wait_for("pglens.statement", 4).await;
    scene.queue_is_empty().await;
    all_differ(&collector.uids());
    let rejected = "pglens_feed_records_total{outcome=\"rejected\"";
    assert_eq!(scene.metric(rejected).await, Some(1.0));
    let taken = collector.records().len() as f64;
    let exported = "pglens_feed_records_total{outcome=\"exported\"";
    assert_eq!(scene.metric(exported).await, Some(taken - 1.0));
}

#[tokio::test]
async fn one_record_that_is_not_understood_does_not_hold_up_the_others() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    scene.queue_is_empty().await;
    collector.answer(Mode::RefuseText("poison"));
    let texts = ["select 1", "select 2", "select 'poison'", "select 3"];
    scene.store(&texts).await;
    scene.queue_is_empty().await;
    assert_eq!(collector.texts(), ["select 1", "select 2", "select 3"]);
    let rejected = "pglens_feed_records_total{outcome=\"rejected\"";
    assert_eq!(scene.metric(rejected).await, Some(1.0));
}

#[tokio::test]
async fn requests_become_as_small_as_the_collector_wants_them() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    scene.queue_is_empty().await;
    collector.answer(Mode::AtMost(3));
    let texts: Vec<String> = (0..40).map(|number| format!("select {number}")).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    scene.store(&all).await;
    scene.queue_is_empty().await;
    assert_eq!(collector.texts(), texts);
    all_differ(&collector.uids());
}

#[tokio::test]
async fn long_texts_are_cut_and_never_make_a_request_too_large() {
    // The server of this collector takes requests of up to 4 MiB, as most do.
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    let (long, medium) = ("é".repeat(1_000_000), "x".repeat(700_000));
    let texts = [&long, &medium, &medium, "select 1", &long];
    scene.store(&texts.map(|text: &str| text)).await;
    let statements = collector.wait_for("pglens.statement", texts.len()).await;
    scene.queue_is_empty().await;
    let sent = |record: &LogRecord| {
        let text = record.text("db.query.text");
        (text.len(), record.flag("pglens.query_text_truncated"))
    };
    let sent: Vec<_> = statements.iter().map(sent).collect();
    let cut = (1024 * 1024, Some(true));
    let expected = [cut, (700_000, None), (700_000, None), (8, None), cut];
    assert_eq!(sent, expected);
    assert_eq!(collector.refused(), 0);
}

#[tokio::test]
async fn a_statement_whose_proxy_is_lost_is_told_and_told_again_when_its_end_comes() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    let (id, session) = (Uuid::now_v7(), scene.session.clone());
    let start = vec![started(id, &session, 1, "select pg_sleep(9)")];
    scene.publisher.store(start).await;
    scene.queue_is_empty().await;
    assert_eq!(collector.texts().len(), 0, "it runs");
    let storage = scene.plane.fleet.storage.connect().await;
    let lost = "update connections set ended_at = now(), end_reason = 'proxy_lost', audit_complete = false";
    storage.batch_execute(lost).await.unwrap();
    let ends = collector.wait_for("pglens.session.end", 1).await;
    assert_eq!(ends[0].flag("pglens.audit_complete"), Some(false));
    let statements = collector.named("pglens.statement");
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0].flag("pglens.outcome_unknown"), Some(true));
    assert_eq!(statements[0].text("pglens.query_id"), id.to_string());

    scene.publisher.store(vec![ended(id, &session)]).await;
    let statements = collector.wait_for("pglens.statement", 2).await;
    assert_eq!(statements[1].text("log.record.uid"), id.to_string());
    assert_eq!(statements[1].number("pglens.duration_us"), Some(1500));
    assert_eq!(statements[1].flag("pglens.outcome_unknown"), None);
    all_differ(&collector.uids());
}

#[tokio::test]
async fn statements_that_retention_took_are_counted() {
    let collector = Collector::start().await;
    let mut scene = Scene::towards(&collector).await;
    scene.queue_is_empty().await;
    collector.answer(Mode::Unavailable("busy"));
    scene.store(&["select 1"]).await;
    let storage = scene.plane.fleet.storage.connect().await;
    storage.batch_execute("delete from queries").await.unwrap();
    // Nothing is left to send: it goes without the collector.
    scene.queue_is_empty().await;
    assert_eq!(collector.texts().len(), 0);
    let dropped = "pglens_feed_records_total{outcome=\"dropped\"";
    eventually(DEADLINE, || async {
        scene.metric(dropped).await == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn without_a_collector_nothing_is_queued() {
    let mut scene = Scene::with(&[]).await;
    scene.store(&["select 1"]).await;
    assert_eq!(scene.count("select count(*) from feed_queue").await, 0);
    assert_eq!(scene.metric("pglens_feed_lag_seconds").await, None);
}

#[tokio::test]
async fn a_feed_that_nobody_wants_any_more_is_forgotten_with_its_queue() {
    let storage = TestPostgres::shared().await.create_database().await;
    let fleet = Fleet::new(storage);
    let first = fleet
        .start_plane_with(&[("PGL_FEED_ENDPOINT", "http://127.0.0.1:1")])
        .await;
    first.admin().await.create_database("shop").await;
    let queued = "select count(*) from feed_queue";
    assert!(fleet.count(queued).await > 0);
    let rest = "select count(*) from feed_state where leader is null";
    drop(first);
    eventually(DEADLINE, || async { fleet.count(rest).await == 1 }).await;

    let second = fleet.start_plane().await;
    second.admin().await.create_database("yard").await;
    let both = fleet.count(queued).await;
    assert!(
        both > 1,
        "an upgrade may leave a replica without it for a while"
    );
    drop(second);
    let client = fleet.storage.connect().await;
    let long_ago = "update feed_state set wanted_at = now() - interval '25 hours'";
    client.batch_execute(long_ago).await.unwrap();
    let third = fleet.start_plane().await;
    eventually(DEADLINE, || async { fleet.count(queued).await == 0 }).await;
    third.admin().await.create_database("barn").await;
    assert_eq!(fleet.count(queued).await, 0);
}
