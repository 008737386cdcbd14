//! `/api/users`: life of a user, rules, permissions, paging.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_PASSWORD, Plane, basic};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_lives_and_dies() {
    let plane = Plane::start().await;
    let new = json!({ "username": "ann", "password": "first secret", "is_admin": false });
    let ann = plane.create("/api/users", new.clone()).await;
    let path = format!("/api/users/{}", ann["id"]);
    assert_eq!(ann["username"], "ann");
    assert!(ann["id"].is_i64() && ann["created_at"].is_string() && ann.get("password").is_none());
    assert_eq!(plane.get(&path).await, ann);
    plane
        .admin(Method::POST, "/api/users", new)
        .await
        .is_error(409, "already_exists", None);

    // Users may change their own password; the old one is of no use from that moment on.
    let old = basic("ann", "first secret");
    let changed = plane
        .send(
            Method::PUT,
            &path,
            &old,
            json!({ "password": "second secret" }),
        )
        .await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    plane
        .send(Method::GET, "/api/me", &old, Value::Null)
        .await
        .is_error(401, "authentication_failed", None);
    let new = basic("ann", "second secret");
    assert_eq!(
        plane
            .send(Method::GET, "/api/me", &new, Value::Null)
            .await
            .body["username"],
        "ann"
    );
    plane
        .send(Method::PUT, &path, &new, json!({ "is_admin": true }))
        .await
        .is_error(403, "permission_denied", None);

    let disabled = plane
        .admin(Method::PUT, &path, json!({ "is_disabled": true }))
        .await;
    assert_eq!(disabled.body["is_disabled"], true);
    assert_eq!(
        plane
            .send(Method::GET, "/api/me", &new, Value::Null)
            .await
            .status,
        401
    );
    assert_eq!(
        plane.last_event("user.disabled").await["subject_id"],
        ann["id"].to_string()
    );

    assert_eq!(
        plane.admin(Method::DELETE, &path, Value::Null).await.status,
        204
    );
    plane
        .admin(Method::GET, &path, Value::Null)
        .await
        .is_error(404, "not_found", None);
    plane
        .admin(Method::DELETE, &path, Value::Null)
        .await
        .is_error(404, "not_found", None);
    // The name is free again, and belongs to somebody else now.
    let again = plane
        .create("/api/users", json!({ "username": "ann", "password": "x" }))
        .await;
    assert_ne!(again["id"], ann["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_by_name() {
    let plane = Plane::start().await;
    for (body, field) in [
        (json!({ "username": " ann", "password": "x" }), "username"),
        (
            json!({ "username": "a".repeat(64), "password": "x" }),
            "username",
        ),
        (json!({ "username": "ann" }), "password"),
        (json!({ "username": "ann", "password": "" }), "password"),
        (json!({ "username": "ann", "password": 12_345 }), "password"),
        (
            json!({ "username": "ann", "password": "x", "colour": "red" }),
            "colour",
        ),
    ] {
        let answer = plane.admin(Method::POST, "/api/users", body).await;
        answer.is_error(400, "invalid_argument", Some(field));
        assert!(
            !answer.body.to_string().contains("12345"),
            "{}",
            answer.body
        );
    }
    for (path, field) in [
        ("/api/users?limit=0", "limit"),
        ("/api/users?limit=x", "limit"),
        ("/api/users?cursor=x", "cursor"),
        ("/api/users?name=ann", "name"),
    ] {
        plane.admin(Method::GET, path, Value::Null).await.is_error(
            400,
            "invalid_argument",
            Some(field),
        );
    }
    let huge = json!({ "username": "x".repeat(70_000), "password": "x" });
    plane
        .admin(Method::POST, "/api/users", huge)
        .await
        .is_error(413, "too_large", None);
    plane
        .admin(Method::GET, "/api/users/x", Value::Null)
        .await
        .is_error(404, "not_found", None);
    plane
        .admin(Method::GET, "/api/nothing", Value::Null)
        .await
        .is_error(404, "not_found", None);
    let patched = plane
        .admin(Method::PATCH, "/api/users/1", Value::Null)
        .await;
    patched.is_error(405, "method_not_allowed", None);
    assert_eq!(patched.headers["allow"], "GET, PUT, DELETE");
    let nobody = plane.send(Method::GET, "/api/users", "", Value::Null).await;
    nobody.is_error(401, "unauthenticated", None);
    assert!(
        nobody.headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic ")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_stays() {
    let plane = Plane::start().await;
    let admin = plane.get("/api/me").await;
    let path = format!("/api/users/{}", admin["id"]);
    for change in [json!({ "is_admin": false }), json!({ "is_disabled": true })] {
        plane
            .admin(Method::PUT, &path, change)
            .await
            .is_error(409, "conflict", None);
    }
    plane
        .admin(Method::DELETE, &path, Value::Null)
        .await
        .is_error(409, "conflict", None);

    let second = plane
        .create(
            "/api/users",
            json!({ "username": "b", "password": "b", "is_admin": true }),
        )
        .await;
    let (first, other) = (basic("admin", ADMIN_PASSWORD), basic("b", "b"));
    let second = format!("/api/users/{}", second["id"]);
    // Each takes the other's rights at the same moment: one of them must fail.
    let demote = json!({ "is_admin": false });
    let (one, two) = tokio::join!(
        plane.send(Method::PUT, &second, &first, demote.clone()),
        plane.send(Method::PUT, &path, &other, demote),
    );
    let refused = [&one, &two]
        .iter()
        .filter(|answer| answer.status != 200)
        .count();
    assert_eq!(refused, 1, "{} {}", one.body, two.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_and_show_what_one_may_see() {
    let plane = Plane::start().await;
    let (ann, ann_credentials) = plane.user("ann").await;
    let (bob, _) = plane.user("bob").await;
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = plane
            .get(&format!("/api/users?limit=2&cursor={cursor}"))
            .await;
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 2);
        names.extend(
            users
                .iter()
                .map(|user| user["username"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(names, ["admin", "ann", "bob"]);

    let own = plane
        .send(Method::GET, "/api/users", &ann_credentials, Value::Null)
        .await
        .body;
    assert_eq!(own["users"].as_array().unwrap().len(), 1);
    assert_eq!(own["users"][0]["id"], ann);
    let bob = format!("/api/users/{bob}");
    for (method, path, body, status) in [
        (Method::GET, bob.as_str(), Value::Null, 404),
        (Method::PUT, bob.as_str(), json!({ "password": "x" }), 404),
        (Method::DELETE, bob.as_str(), Value::Null, 403),
        (
            Method::POST,
            "/api/users",
            json!({ "username": "c", "password": "c" }),
            403,
        ),
        (Method::GET, "/api/audit", Value::Null, 403),
    ] {
        let answer = plane
            .send(method.clone(), path, &ann_credentials, body)
            .await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_password_is_told_and_can_be_changed() {
    let storage = pglens_testkit::TestPostgres::shared()
        .await
        .create_database()
        .await;
    let plane = Plane::start_over(storage.clone(), &[("PGL_ADMIN_PASSWORD", "")]).await;
    let default = basic("admin", "admin");
    let me = plane
        .send(Method::GET, "/api/me", &default, Value::Null)
        .await
        .body;
    assert_eq!(me["password_is_default"], true);
    let path = format!("/api/users/{}", me["id"]);
    let changed = plane
        .send(
            Method::PUT,
            &path,
            &default,
            json!({ "password": ADMIN_PASSWORD }),
        )
        .await;
    assert_eq!(changed.body["password_is_default"], false);
    plane.stop().await;
    // The setting makes the first administrator and changes nothing later.
    let plane = Plane::start_over(storage, &[("PGL_ADMIN_PASSWORD", "another")]).await;
    assert_eq!(plane.get("/api/me").await["password_is_default"], false);
}
