//! `/api/audit`: filters and paging.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Plane;

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_what_they_tell() {
    let plane = Plane::start().await;
    let (ann, credentials) = plane.user("ann").await;
    plane.user("bob").await;
    plane
        .send(
            Method::PUT,
            &format!("/api/users/{ann}"),
            &credentials,
            json!({ "password": "x" }),
        )
        .await;

    let count = async |filters: &str| {
        let events = plane.get(&format!("/api/audit?{filters}")).await;
        events["events"].as_array().unwrap().len()
    };
    // The administrator itself was created by PgLens.
    assert_eq!(count("action=user.created").await, 3);
    assert_eq!(
        count(&format!("subject_type=user&subject_id={ann}")).await,
        2
    );
    assert_eq!(count(&format!("actor_id={ann}")).await, 1);
    assert_eq!(count("to=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(count("from=2020-01-01T00:00:00Z").await, 4);
    let first = plane.get("/api/audit?limit=3").await;
    let rest = plane
        .get(&format!(
            "/api/audit?cursor={}",
            first["next_cursor"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (
            rest["events"].as_array().unwrap().len(),
            &rest["next_cursor"]
        ),
        (1, &Value::Null)
    );
    assert_eq!(
        (&rest["events"][0]["actor"], &rest["events"][0]["actor_id"]),
        (&json!("pglens"), &Value::Null)
    );
    let updated = plane.last_event("user.updated").await;
    assert_eq!(
        (&updated["actor"], &updated["after"]["password"]),
        (&json!("ann"), &json!("********"))
    );
    for (filter, field) in [
        ("from=yesterday", "from"),
        ("actor_id=ann", "actor_id"),
        ("user=1", "user"),
    ] {
        let answer = plane
            .admin(Method::GET, &format!("/api/audit?{filter}"), Value::Null)
            .await;
        answer.is_error(400, "invalid_argument", Some(field));
    }
}
