//! `/api/login`, `/api/logout`, `/api/tokens`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Plane, basic, bearer};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_lasts_until_logout_or_another_password() {
    let plane = Plane::start().await;
    let (ann, _) = plane.user("ann").await;
    let given = json!({ "username": "ann", "password": "ann secret" });
    let login = async || {
        plane
            .send(Method::POST, "/api/login", "", given.clone())
            .await
            .body
    };
    let me = async |token: &Value| {
        plane
            .send(Method::GET, "/api/me", &bearer(token), Value::Null)
            .await
            .status
    };

    let session = login().await;
    assert_eq!(
        (&session["user"]["id"], me(&session["token"]).await),
        (&json!(ann), 200),
        "{session}"
    );
    assert_eq!(
        plane
            .send(
                Method::POST,
                "/api/logout",
                &bearer(&session["token"]),
                Value::Null
            )
            .await
            .status,
        204
    );
    assert_eq!(me(&session["token"]).await, 401);
    let no_session = plane
        .send(
            Method::POST,
            "/api/logout",
            &basic("ann", "ann secret"),
            Value::Null,
        )
        .await;
    no_session.is_error(409, "conflict", None);

    let (own, other) = (login().await, login().await);
    let change = json!({ "password": "another" });
    let path = format!("/api/users/{ann}");
    assert_eq!(
        plane
            .send(Method::PUT, &path, &bearer(&own["token"]), change)
            .await
            .status,
        200
    );
    assert_eq!(
        (me(&own["token"]).await, me(&other["token"]).await),
        (200, 401)
    );
    assert_eq!(plane.last_event("session.login").await["actor"], "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_look_the_same_and_are_recorded_once() {
    let plane = Plane::start().await;
    plane.user("ann").await;
    let mut answers = Vec::new();
    for username in ["ann", "ann", "nobody"] {
        let given = json!({ "username": username, "password": "hunter2" });
        let answer = plane.send(Method::POST, "/api/login", "", given).await;
        answer.is_error(401, "authentication_failed", None);
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let events = plane.get("/api/audit?action=login.refused").await;
    let names: Vec<&Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["subject_id"])
        .collect();
    assert_eq!(names, [&json!("nobody"), &json!("ann")]);
    assert!(!events.to_string().contains("hunter2"));
    for (authorization, code) in [
        ("Basic ???", "unauthenticated"),
        ("Digest x", "unauthenticated"),
        ("Bearer pgl_x", "authentication_failed"),
        (&format!("Bearer {}", "x".repeat(5000)), "unauthenticated"),
    ] {
        plane
            .send(Method::GET, "/api/me", authorization, Value::Null)
            .await
            .is_error(401, code, None);
    }
    let (_, metrics) = plane.operations("/metrics").await;
    assert!(
        metrics.contains(r#"pglens_api_logins_total{outcome="refused"} 4"#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"route="/api/login""#)
            && metrics.contains("pglens_storage_pool_connections ")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_can_be_revoked() {
    let plane = Plane::start().await;
    let (ann, credentials) = plane.user("ann").await;
    let created = plane
        .send(
            Method::POST,
            "/api/tokens",
            &credentials,
            json!({ "name": "ci" }),
        )
        .await;
    let token = &created.body["token"];
    assert_eq!(created.status, 201, "{}", created.body);
    assert!(token.as_str().unwrap().starts_with("pgl_"));
    let me = plane
        .send(Method::GET, "/api/me", &bearer(token), Value::Null)
        .await
        .body;
    assert_eq!(me["id"], ann);
    let listed = plane
        .send(Method::GET, "/api/tokens", &credentials, Value::Null)
        .await
        .body;
    assert_eq!(
        (&listed["tokens"][0]["name"], &listed["tokens"][0]["token"]),
        (&json!("ci"), &Value::Null)
    );
    assert!(listed["tokens"][0]["last_used_at"].is_string(), "{listed}");
    assert_eq!(
        plane.get(&format!("/api/tokens?user_id={ann}")).await,
        listed
    );

    let path = format!("/api/tokens/{}", created.body["id"]);
    let (_, bob) = plane.user("bob").await;
    assert_eq!(
        plane
            .send(Method::DELETE, &path, &bob, Value::Null)
            .await
            .status,
        404
    );
    assert_eq!(
        plane
            .send(Method::DELETE, &path, &credentials, Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        plane
            .send(Method::GET, "/api/me", &bearer(token), Value::Null)
            .await
            .status,
        401
    );
    let past = json!({ "name": "ci", "expires_at": "2020-01-01T00:00:00Z" });
    let refused = plane
        .send(Method::POST, "/api/tokens", &credentials, past)
        .await;
    refused.is_error(400, "invalid_argument", Some("expires_at"));
    let events = plane.get("/api/audit?subject_type=token").await;
    assert!(!events.to_string().contains(token.as_str().unwrap()));
}
