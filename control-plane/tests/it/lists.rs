//! Lists of the record: cursors that hold while records come in, and the same filters over gRPC.

use pglens_rpc::v1;
use serde_json::Value;
use uuid::Uuid;

use crate::reading::Scene;
use crate::records::{ended_with, session_ended, started};

async fn store(scene: &mut Scene, sequence: u64, sql: &str) {
    let (query, session) = (Uuid::now_v7(), scene.session.clone());
    let end = ended_with(query, &session, &[], |ended| {
        (ended.duration_us, ended.row_count) = (sequence * 1000, sequence);
    });
    scene
        .publisher
        .store(vec![started(query, &session, sequence, sql), end])
        .await;
}

fn sqls(page: &Value) -> Vec<String> {
    let queries = page["queries"].as_array().unwrap();
    let sql = |query: &Value| query["sql"].as_str().unwrap().to_owned();
    queries.iter().map(sql).collect()
}

#[tokio::test]
async fn pages_hold_while_records_come_in() {
    let mut scene = Scene::new().await;
    for number in 1..=6 {
        store(&mut scene, number, &format!("select {number}")).await;
    }
    for order in ["newest", "oldest"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        let before = scene.sqls(&format!("order={order}")).await;
        loop {
            let path = format!("/api/queries?limit=2&order={order}&cursor={cursor}");
            let page = scene.ok(&path).await;
            seen.extend(sqls(&page));
            // In the middle of the reading, somebody runs something.
            let number = 10 + seen.len() as u64;
            if number < 15 {
                store(&mut scene, number, &format!("{order} {number}")).await;
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        // The newest first: what came later is in front. The oldest first: it is met at the end.
        assert_eq!(seen[..before.len()], before);
        let later = seen.len() - before.len();
        assert_eq!(later, if order == "newest" { 0 } else { 2 }, "{seen:?}");
    }
}

#[tokio::test]
async fn grpc_has_the_same_filters() {
    let mut scene = Scene::new().await;
    for number in 1..=3 {
        store(&mut scene, number, &format!("select {number}")).await;
    }
    let admin = &mut scene.admin.observability;
    for (request, expected) in [
        (
            v1::ListQueriesRequest {
                min_rows: Some(2),
                ..Default::default()
            },
            vec!["select 3", "select 2"],
        ),
        (
            v1::ListQueriesRequest {
                min_duration_us: Some(2500),
                ..Default::default()
            },
            vec!["select 3"],
        ),
        (
            v1::ListQueriesRequest {
                fingerprint: "abc".into(),
                oldest_first: true,
                limit: 1,
                ..Default::default()
            },
            vec!["select 1"],
        ),
        (
            v1::ListQueriesRequest {
                fingerprint: "other".into(),
                ..Default::default()
            },
            vec![],
        ),
    ] {
        let found = admin
            .list_queries(request)
            .await
            .unwrap()
            .into_inner()
            .queries;
        let sqls: Vec<&str> = found.iter().map(|query| query.sql.as_str()).collect();
        assert_eq!(sqls, expected);
        assert!(
            found
                .iter()
                .all(|query| query.username == "ann" && query.database == "shop")
        );
    }
    let wrong = v1::ListQueriesRequest {
        sqlstate: "x".into(),
        ..Default::default()
    };
    let refused = admin.list_queries(wrong).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let request = v1::ListConnectionsRequest {
        client_address: "192.0.2.7".into(),
        ..Default::default()
    };
    let found = admin.list_connections(request).await.unwrap().into_inner();
    assert_eq!(found.connections.len(), 1);
}

#[tokio::test]
async fn connections_are_found_by_what_is_known_of_them() {
    let mut scene = Scene::new().await;
    let id = scene.session_id().to_string();
    let count = async |scene: &Scene, filter: &str| {
        let body = scene.ok(&format!("/api/connections?{filter}")).await;
        let found = body["connections"].as_array().unwrap();
        assert!(found.iter().all(|connection| connection["id"] == *id));
        found.len()
    };
    for (filter, expected) in [
        ("", 1),
        ("active=true&order=oldest", 1),
        ("client_address=192.0.2.7", 1),
        ("client_address=192.0.2.70", 0),
        ("proxy=proxy-1&audit_complete=true", 1),
        ("proxy=proxy-2", 0),
        ("audit_complete=false", 0),
        ("from=2020-01-01T00:00:00Z&until=2090-01-01T00:00:00Z", 1),
        ("to=2020-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(count(&scene, filter).await, expected, "{filter}");
    }
    let session = scene.session.clone();
    scene
        .publisher
        .store(vec![session_ended(&session, 0, 0)])
        .await;
    assert_eq!(count(&scene, "active=false").await, 1);
    for wrong in [
        "client_address=here",
        "proxy=",
        "audit_complete=1",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
    ] {
        let path = format!("/api/connections?{wrong}");
        assert_eq!(scene.plane.get(&path).await.0, 400, "{wrong}");
    }
}
