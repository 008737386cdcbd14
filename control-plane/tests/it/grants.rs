//! `/api/grants`: life of a grant, its window, who sees it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Plane;

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_given_and_taken_back() {
    let plane = Plane::start().await;
    let ((ann, credentials), database) = (plane.user("ann").await, plane.database("orders").await);
    let new = json!({
        "user_id": ann, "database_id": database, "access_level": "read", "starts_at": "2020-01-01T00:00:00Z",
        "expires_at": "2090-01-01T00:00:00Z", "max_queries": 100, "max_bytes": 1_000_000, "block_copy": true,
        "statement_timeout_ms": 5000, "max_connections": 2, "reason": "ticket 7",
    });
    let grant = plane.create("/api/grants", new).await;
    let path = format!("/api/grants/{}", grant["id"]);
    let status = (
        &grant["status"],
        &grant["queries_used"],
        &grant["audit_level"],
    );
    assert_eq!(status, (&json!("active"), &json!(0), &json!("spooled")));
    assert_eq!(
        plane
            .send(Method::GET, &path, &credentials, Value::Null)
            .await
            .body,
        grant
    );
    plane
        .send(Method::DELETE, &path, &credentials, Value::Null)
        .await
        .is_error(403, "permission_denied", None);

    let revoked = plane.admin(Method::DELETE, &path, Value::Null).await;
    assert_eq!(
        (revoked.status, &revoked.body["status"]),
        (200, &json!("revoked"))
    );
    assert_eq!(revoked.body["revoked_by"], plane.get("/api/me").await["id"]);
    // Again: the same answer, and no second event.
    assert_eq!(
        plane.admin(Method::DELETE, &path, Value::Null).await.body,
        revoked.body
    );
    let events = plane.get("/api/audit?action=grant.revoked").await;
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
    assert_eq!(events["events"][0]["before"]["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_limits_are_checked() {
    let plane = Plane::start().await;
    let ((ann, _), database) = (plane.user("ann").await, plane.database("orders").await);
    let good = json!({
        "user_id": ann, "database_id": database, "access_level": "write", "expires_at": "2090-01-01T00:00:00Z",
    });
    for (field, value) in [
        ("user_id", json!(999)),
        ("database_id", json!(999)),
        ("user_id", json!("1")),
        ("access_level", json!("admin")),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
        ("expires_at", json!("tomorrow")),
        ("max_queries", json!(-1)),
        ("max_bytes", json!(u64::MAX)),
        ("max_connections", json!(0)),
        ("statement_timeout_ms", json!(0)),
        ("audit_level", json!("none")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        plane
            .admin(Method::POST, "/api/grants", body)
            .await
            .is_error(400, "invalid_argument", Some(field));
    }
    let mut strict = good.clone();
    strict["audit_level"] = json!("strict");
    let strict = plane.create("/api/grants", strict).await;
    assert_eq!(strict["audit_level"], "strict");
    let revoked = format!("/api/grants/{}", strict["id"]);
    plane.admin(Method::DELETE, &revoked, json!(null)).await;
    let with = |starts_at: &str, expires_at: &str| {
        let mut body = good.clone();
        body["starts_at"] = json!(starts_at);
        body["expires_at"] = json!(expires_at);
        body
    };
    let statuses = [
        ("active", good.clone()),
        (
            "pending",
            with("2080-01-01T00:00:00Z", "2090-01-01T00:00:00Z"),
        ),
        (
            "expired",
            with("2019-01-01T00:00:00Z", "2020-01-01T00:00:00+02:00"),
        ),
    ];
    for (status, body) in statuses {
        let grant = plane.create("/api/grants", body).await;
        assert_eq!(grant["status"], status);
        let listed = plane
            .get(&format!("/api/grants?user_id={ann}&status={status}"))
            .await;
        assert_eq!(listed["grants"], json!([grant]));
    }
    plane
        .admin(Method::GET, "/api/grants?status=lost", Value::Null)
        .await
        .is_error(400, "invalid_argument", Some("status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_their_own_and_deletion_takes_grants_back() {
    let plane = Plane::start().await;
    let ((ann, credentials), (bob, _)) = (plane.user("ann").await, plane.user("bob").await);
    let database = plane.database("orders").await;
    let (own, foreign) = (
        plane.grant(ann, database).await,
        plane.grant(bob, database).await,
    );
    let seen = plane
        .send(Method::GET, "/api/grants", &credentials, Value::Null)
        .await
        .body;
    assert_eq!(
        (
            seen["grants"].as_array().unwrap().len(),
            &seen["grants"][0]["id"]
        ),
        (1, &json!(own))
    );
    let foreign_list = plane
        .send(
            Method::GET,
            &format!("/api/grants?user_id={bob}"),
            &credentials,
            Value::Null,
        )
        .await;
    assert_eq!(foreign_list.body["grants"], json!([]));
    let foreign = format!("/api/grants/{foreign}");
    assert_eq!(
        plane
            .send(Method::GET, &foreign, &credentials, Value::Null)
            .await
            .status,
        404
    );

    plane
        .admin(Method::DELETE, &format!("/api/users/{bob}"), Value::Null)
        .await;
    assert_eq!(plane.get(&foreign).await["status"], "revoked");
    plane
        .admin(
            Method::DELETE,
            &format!("/api/databases/{database}"),
            Value::Null,
        )
        .await;
    assert_eq!(
        plane.get(&format!("/api/grants/{own}")).await["status"],
        "revoked"
    );
    assert_eq!(
        plane.last_event("database.deleted").await["after"]["revoked_grants"],
        json!([own])
    );
}
