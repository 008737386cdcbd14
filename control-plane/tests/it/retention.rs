//! What is past its retention goes, with its keys; rows may go before their statements.

use chrono::{Days, NaiveDate, Utc};
use pglens_control_plane::maintenance::{RETENTION_SETTINGS, drop_past, list_past};
use pglens_runtime::Settings;
use serde_json::json;
use uuid::Uuid;

use crate::record::{Scene, text_parameter};
use crate::records::{ended_with, rows, started_with};

fn day(ago: u64) -> NaiveDate {
    Utc::now().date_naive() - Days::new(ago)
}

fn id_of(day: NaiveDate) -> Uuid {
    let noon = day.and_hms_opt(12, 0, 0).unwrap().and_utc();
    let unix_ms = u64::try_from(noon.timestamp_millis()).unwrap();
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &[7; 10]).into_uuid()
}

fn settings(scene: &Scene, statements: &str, rows: &str) -> Settings {
    let pairs = [
        ("PGL_DSN", scene.plane.fleet.storage.url.clone()),
        ("PGL_RETENTION_DAYS", statements.to_owned()),
        ("PGL_RETENTION_ROWS_DAYS", rows.to_owned()),
    ];
    Settings::from_pairs(RETENTION_SETTINGS, pairs).unwrap()
}

/// Partitions for the last days, as if control planes had been there then.
async fn make_partitions(scene: &Scene, days: u64) {
    let client = scene.plane.fleet.storage.connect().await;
    for ago in 2..=days {
        for table in ["queries", "query_rows"] {
            let (from, to) = (day(ago), day(ago - 1));
            let bound = |day: NaiveDate| {
                let start = day.and_hms_opt(0, 0, 0).unwrap().and_utc();
                Uuid::from_u128(u128::try_from(start.timestamp_millis()).unwrap() << 80)
            };
            let sql = format!(
                "create table {table}_{} partition of {table} for values from ('{}') to ('{}')",
                from.format("%Y%m%d"),
                bound(from),
                bound(to)
            );
            client.batch_execute(&sql).await.unwrap();
        }
    }
}

async fn keep(scene: &mut Scene, ago: u64) -> Uuid {
    let (query, session) = (id_of(day(ago)), scene.session.clone());
    let parameters = vec![text_parameter("bound")];
    let begun = started_with(query, &session, ago, "select $1", parameters);
    let captured = rows(query, &session, 0, 0, &[&[Some("captured")]]);
    let end = ended_with(query, &session, &[("v", 25)], |ended| {
        ended.captured_rows = 1;
    });
    scene.publisher.store(vec![begun, captured, end]).await;
    query
}

#[tokio::test]
async fn rows_go_before_their_statements_and_both_with_their_keys() {
    let mut scene = Scene::new().await;
    make_partitions(&scene, 20).await;
    let today = keep(&mut scene, 0).await;
    let last_week = keep(&mut scene, 7).await;
    let long_ago = keep(&mut scene, 15).await;
    let read = async |id: Uuid| scene.plane.get(&format!("/api/queries/{id}")).await;
    for id in [today, last_week, long_ago] {
        let (status, query) = read(id).await;
        assert_eq!(status, 200, "{query}");
        assert_eq!(query["result_rows"], json!([["captured"]]));
        assert_eq!(query["rows_dropped"], false);
    }

    let settings = settings(&scene, "10", "5");
    let past = list_past(&settings).await.unwrap();
    let named = |purpose: &str| {
        let days = past.iter().filter(|past| past.purpose.as_str() == purpose);
        days.map(|past| past.day).collect::<Vec<_>>()
    };
    assert_eq!(named("statements").len(), 10);
    assert_eq!(named("rows").len(), 15);
    assert!(named("rows").contains(&day(7)) && !named("statements").contains(&day(7)));
    assert_eq!(read(long_ago).await.0, 200, "listing drops nothing");

    let storage = scene.plane.fleet.storage.connect().await;
    let journaled = "insert into record_journal values \
         (gen_random_uuid(), 1, 2, current_date - 7, ''), (gen_random_uuid(), 1, 2, current_date, '')";
    storage.batch_execute(journaled).await.unwrap();
    let kept = drop_past(&settings).await.unwrap().unwrap();
    assert_eq!((kept.dropped.len(), kept.failed.len()), (25, 0));
    let journaled = "select count(*) from record_journal";
    assert_eq!(scene.count(journaled).await, 1, "it goes with its key");
    let (status, query) = read(today).await;
    assert_eq!((status, &query["rows_dropped"]), (200, &json!(false)));
    assert_eq!(query["result_rows"], json!([["captured"]]));
    let (status, query) = read(last_week).await;
    assert_eq!(status, 200, "{query}");
    assert_eq!(query["parameters"], json!(["bound"]));
    assert_eq!(query["result_rows"], json!([]));
    assert_eq!(query["rows_dropped"], true);
    assert_eq!(query["captured_rows"], 1);
    let (status, rows) = scene
        .plane
        .get(&format!("/api/queries/{last_week}/rows"))
        .await;
    assert_eq!((status, &rows["rows"]), (200, &json!([])));
    assert_eq!(read(long_ago).await.0, 404);

    let keys = "select count(*) from data_keys where day = current_date - 7 and purpose = ";
    assert_eq!(scene.count(&format!("{keys}'statements'")).await, 1);
    assert_eq!(scene.count(&format!("{keys}'rows'")).await, 0);
    assert_eq!(
        scene
            .count("select count(*) from data_keys where day < current_date - 10")
            .await,
        0
    );
    let events = scene.plane.fleet.events("records.dropped").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["rows_of"].as_array().unwrap().len(), 15);

    let again = drop_past(&settings).await.unwrap().unwrap();
    assert_eq!(again.dropped, []);
    assert_eq!(scene.plane.fleet.events("records.dropped").await.len(), 1);
}

#[tokio::test]
async fn who_reads_for_long_is_not_waited_for() {
    let scene = Scene::new().await;
    make_partitions(&scene, 4).await;
    let mut reader = scene.plane.fleet.storage.connect().await;
    let reading = reader.transaction().await.unwrap();
    reading.query("select from queries", &[]).await.unwrap();
    let settings = settings(&scene, "2", "2");
    let kept = drop_past(&settings).await.unwrap().unwrap();
    assert!(
        kept.failed.iter().any(|failure| failure.contains("lock")),
        "{kept:?}"
    );
    reading.commit().await.unwrap();
    let kept = drop_past(&settings).await.unwrap().unwrap();
    assert_eq!(kept.failed, Vec::<String>::new());
    assert!(list_past(&settings).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_at_a_time() {
    let scene = Scene::new().await;
    let client = scene.plane.fleet.storage.connect().await;
    let lock = "select pg_advisory_lock(x'7061727469740000'::bit(64)::bigint >> 16)";
    client.query_one(lock, &[]).await.unwrap();
    let settings = settings(&scene, "2", "2");
    assert!(drop_past(&settings).await.unwrap().is_none());
}
