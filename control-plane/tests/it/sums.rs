//! Numbers about what ran: each statement counts once, whenever its end comes in, and folding changes nothing.

use chrono::{TimeDelta, Utc};
use pglens_rpc::v1::record::Event;
use pglens_testkit::{DEADLINE, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::reading::Scene;
use crate::records::{ended, ended_with, session_ended, started};

async fn totals(scene: &Scene) -> [i64; 6] {
    totals_of(&scene.ok("/api/stats?bucket=86400").await)
}

fn totals_of(stats: &Value) -> [i64; 6] {
    let buckets = stats["buckets"].as_array().unwrap();
    [
        "statements",
        "errors",
        "refusals",
        "rows",
        "bytes_in",
        "duration_us",
    ]
    .map(|name| {
        buckets
            .iter()
            .map(|bucket| bucket[name].as_i64().unwrap())
            .sum()
    })
}

/// The fingerprints of `/api/stats`, and how many statements each has.
async fn fingerprints(scene: &Scene) -> Vec<(String, i64)> {
    let stats = scene.ok("/api/stats").await;
    let tops = stats["top_fingerprints"].as_array().unwrap().iter();
    tops.map(|top| {
        let name = top["fingerprint"].as_str().unwrap().to_owned();
        (name, top["statements"].as_i64().unwrap())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_counts_for_the_fingerprint_that_its_end_brings() {
    let mut scene = Scene::new().await;
    let session = scene.session.clone();
    let [whole, split] = std::array::from_fn(|_| Uuid::now_v7());
    let unnamed = |query, sequence| {
        let mut record = started(query, &session, sequence, "select 1");
        if let Some(Event::StatementStarted(start)) = &mut record.event {
            start.fingerprint.clear();
        }
        record
    };
    let named = |query| {
        ended_with(query, &session, &[], |end| {
            "abc".clone_into(&mut end.fingerprint);
        })
    };
    let records = vec![unnamed(whole, 1), named(whole), unnamed(split, 2)];
    scene.publisher.store(records).await;
    assert_eq!(fingerprints(&scene).await, [("abc".to_owned(), 1)]);
    scene.publisher.store(vec![named(split)]).await;
    assert_eq!(fingerprints(&scene).await, [("abc".to_owned(), 2)]);
    assert_eq!(totals(&scene).await[0], 2);
    let found = scene.ok("/api/queries?fingerprint=abc").await;
    assert_eq!(found["queries"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_count_once_whenever_they_end() {
    let mut scene = Scene::new().await;
    let session = scene.session.clone();
    let [whole, split, refused, failed] = std::array::from_fn(|_| Uuid::now_v7());
    let ended_so = |query, sqlstate: &str, refusal: &str| {
        ended_with(query, &session, &[], |ended| {
            (ended.sqlstate, ended.refusal) = (sqlstate.to_owned(), refusal.to_owned());
            ended.row_count = 0;
        })
    };
    let records = vec![
        started(whole, &session, 1, "select 1"),
        ended(whole, &session),
        started(split, &session, 2, "select 2"),
        started(refused, &session, 3, "delete from t"),
        ended_so(refused, "25006", "read_only"),
        started(failed, &session, 4, "select x"),
        ended_so(failed, "42703", ""),
    ];
    scene.publisher.store(records).await;
    assert_eq!(totals(&scene).await, [4, 1, 1, 1, 60, 4500]);
    let end = ended(split, &session);
    scene.publisher.store(vec![end.clone()]).await;
    assert_eq!(totals(&scene).await, [4, 1, 1, 2, 80, 6000]);

    // In the background, all of it moves from one table to another.
    let deltas = "select count(*) from stats_deltas";
    let are_folded = || async { scene.plane.fleet.count(deltas).await == 0 };
    eventually(DEADLINE, are_folded).await;
    assert_eq!(totals(&scene).await, [4, 1, 1, 2, 80, 6000]);

    // This hour and this day are whole ones of a longer time.
    let day = |days| {
        let day = Utc::now() + TimeDelta::days(days);
        day.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let longer = format!("/api/stats?from={}&to={}", day(-10), day(2));
    let longer = scene.ok(&longer).await;
    assert_eq!(totals_of(&longer), [4, 1, 1, 2, 80, 6000]);
    for top in ["top_users", "top_databases", "top_fingerprints"] {
        assert_eq!(longer[top][0]["statements"], 4, "{top}");
    }

    let stats = scene.ok("/api/stats").await;
    assert_eq!(stats["top_users"][0]["username"], "ann");
    assert_eq!(stats["top_databases"][0]["database"], "shop");
    let top = &stats["top_fingerprints"][0];
    assert_eq!(
        (&top["fingerprint"], &top["statements"]),
        (&json!("abc"), &json!(4))
    );
    assert_eq!(top["sql"], "select 1");
    let last = |stats: &Value| stats["buckets"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last(&stats)["active_sessions"], 1);
    assert_eq!(stats["active_connections"], 1);
    scene
        .publisher
        .store(vec![session_ended(&session, 4, 0)])
        .await;
    assert_eq!(scene.ok("/api/stats").await["active_connections"], 0);
    for wrong in [
        "bucket=90",
        "top=0",
        "top=101",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
    ] {
        assert_eq!(
            scene.plane.get(&format!("/api/stats?{wrong}")).await.0,
            400,
            "{wrong}"
        );
    }
}
