//! What is kept of results is the server's to say, unless a database says otherwise; a database that keeps none says so.

use pglens_rpc::v1;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::records::{ended_with, started};
use crate::scene::{Scene, ann};
use crate::support::Plane;

fn kept(limits: &v1::Limits) -> (bool, u64, u64) {
    (
        limits.capture_rows,
        limits.capture_max_rows,
        limits.capture_max_bytes,
    )
}

impl Scene {
    async fn limits(&self) -> (bool, u64, u64) {
        kept(&self.proxy.allowed(&ann()).await.limits.unwrap())
    }

    async fn change(&mut self, change: v1::UpdateDatabaseRequest) -> v1::Database {
        let change = v1::UpdateDatabaseRequest {
            id: self.database_id,
            ..change
        };
        let changed = self.admin.databases.update_database(change).await;
        changed.unwrap().into_inner()
    }
}

#[tokio::test]
async fn a_database_has_limits_of_its_own() {
    let mut scene = Scene::new().await;
    scene.grant(|_| {}).await;
    let server = scene.limits().await;
    assert_eq!(server, (true, 100_000, 64 * 1024 * 1024));
    let changed = scene
        .change(v1::UpdateDatabaseRequest {
            record_max_rows: Some(50),
            ..Default::default()
        })
        .await;
    assert_eq!(
        (changed.record_max_rows, changed.record_max_bytes),
        (Some(50), None)
    );
    assert_eq!(scene.limits().await, (true, 50, server.2));
    scene
        .change(v1::UpdateDatabaseRequest {
            record_max_rows: Some(0),
            record_max_bytes: Some(4096),
            ..Default::default()
        })
        .await;
    assert_eq!(scene.limits().await, (true, server.1, 4096));
}

#[tokio::test]
async fn a_database_without_rows_says_so_in_each_query() {
    let mut scene = Scene::new().await;
    let (_, recorded) = scene.session(|_| {}).await;
    scene
        .change(v1::UpdateDatabaseRequest {
            record_rows: Some(false),
            ..Default::default()
        })
        .await;
    let allow = scene.proxy.allowed(&ann()).await;
    assert!(!allow.limits.unwrap().capture_rows);
    let mut publisher = scene.proxy.publish().await.unwrap();
    for (session, expected) in [(recorded, true), (allow.session_id, false)] {
        let query = Uuid::now_v7();
        let end = ended_with(query, &session, &[("id", 23)], |ended| {
            ended.row_count = 7;
            ended.rows_truncated = true;
            ended.result_digest = vec![7; 32];
        });
        publisher
            .store(vec![started(query, &session, 1, "select id from t"), end])
            .await;
        let (status, shown) = scene.plane.get(&format!("/api/queries/{query}")).await;
        assert_eq!(status, 200, "{shown}");
        assert_eq!(
            shown["rows_recorded"], expected,
            "as it was when the session began"
        );
        assert_eq!(shown["row_count"], 7);
        assert_eq!(shown["result_digest"], "07".repeat(32));
        assert_eq!(shown["rows_dropped"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_positive_numbers_or_null() {
    let plane = Plane::start().await;
    let id = plane.database("shop").await;
    let path = format!("/api/databases/{id}");
    let shown = plane.get(&path).await;
    assert!(shown["record_max_rows"].is_null() && shown["record_max_bytes"].is_null());
    let change = async |body| plane.admin(Method::PUT, &path, body).await;
    let changed = change(json!({ "record_max_rows": 5, "record_max_bytes": 7 })).await;
    assert_eq!(changed.body["record_max_rows"], 5);
    let changed = change(json!({ "record_max_rows": null, "description": "x" })).await;
    assert!(changed.body["record_max_rows"].is_null());
    assert_eq!(changed.body["record_max_bytes"], 7);
    for field in ["record_max_rows", "record_max_bytes"] {
        for bad in [0, -1] {
            change(json!({ field: bad }))
                .await
                .is_error(400, "invalid_argument", Some(field));
        }
    }
    let event = plane.last_event("database.updated").await;
    assert_eq!(event["before"]["record_max_rows"], 5);
}
