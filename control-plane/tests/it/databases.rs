//! `/api/databases`: life of a database, its secrets, its test.

use pglens_testkit::TestPostgres;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Plane;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_lives_and_dies_without_showing_its_passwords() {
    let plane = Plane::start().await;
    let new = json!({
        "name": "orders", "description": "the orders", "host": "db.example.net", "port": 5433, "database_name": "app",
        "username": "stored", "password": "hunter2", "ssl_mode": "require", "read_username": "reader",
        "read_password": "hunter3",
    });
    let created = plane.create("/api/databases", new.clone()).await;
    assert_eq!(
        (&created["port"], &created["ssl_mode"]),
        (&json!(5433), &json!("require"))
    );
    let path = format!("/api/databases/{}", created["id"]);
    assert_eq!(plane.get(&path).await, created);
    assert_eq!(plane.get("/api/databases").await["databases"][0], created);
    plane
        .admin(Method::POST, "/api/databases", new)
        .await
        .is_error(409, "already_exists", None);

    let change =
        json!({ "description": "all orders", "read_username": null, "password": "hunter4" });
    let changed = plane.admin(Method::PUT, &path, change).await.body;
    assert_eq!(
        (&changed["description"], &changed["read_username"]),
        (&json!("all orders"), &Value::Null)
    );
    assert_eq!(
        (&changed["host"], &changed["username"]),
        (&json!("db.example.net"), &json!("stored"))
    );

    let event = plane.last_event("database.updated").await;
    assert_eq!(
        (&event["actor"], &event["client_address"]),
        (&json!("admin"), &json!("127.0.0.1"))
    );
    assert_eq!(
        (
            &event["before"]["description"],
            &event["after"]["description"]
        ),
        (&json!("the orders"), &json!("all orders"))
    );
    assert_eq!(
        (&event["before"]["password"], &event["after"]["password"]),
        (&Value::Null, &json!("********"))
    );
    assert_eq!(
        plane.last_event("database.created").await["after"]["read_password"],
        "********"
    );

    assert_eq!(
        plane.admin(Method::DELETE, &path, Value::Null).await.status,
        204
    );
    plane
        .admin(Method::GET, &path, Value::Null)
        .await
        .is_error(404, "not_found", None);
    // No answer, no event and no row in storage holds a password.
    let everything = plane.get("/api/audit?limit=1000").await.to_string();
    let rows = plane
        .storage
        .connect()
        .await
        .query_one("select array_agg(d::text)::text from databases d", &[])
        .await;
    let rows: String = rows.unwrap().get(0);
    for secret in ["hunter2", "hunter3", "hunter4"] {
        assert!(!everything.contains(secret) && !rows.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_by_name() {
    let plane = Plane::start().await;
    let good = json!({
        "name": "orders", "host": "db", "database_name": "app", "username": "stored", "password": "hunter2",
    });
    for (field, value) in [
        ("name", json!("a\nb")),
        ("host", json!("a b")),
        ("port", json!(0)),
        ("port", json!(65_536)),
        ("ssl_mode", json!("maybe")),
        ("ssl_root_cert", json!("nonsense")),
        ("read_username", json!("reader")),
        ("read_password", json!("hunter3")),
        ("description", json!("x".repeat(5000))),
    ] {
        let mut body = good.clone();
        body[field] = value;
        plane
            .admin(Method::POST, "/api/databases", body)
            .await
            .is_error(400, "invalid_argument", Some(field));
    }
    let created = plane.create("/api/databases", good).await;
    assert_eq!(
        (&created["port"], &created["ssl_mode"]),
        (&json!(5432), &json!("prefer"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn others_see_the_name_of_what_they_hold_a_grant_for() {
    let plane = Plane::start().await;
    let (ann, credentials) = plane.user("ann").await;
    let (granted, other) = (
        plane.database("orders").await,
        plane.database("payroll").await,
    );
    let grant = plane.grant(ann, granted).await;
    let seen = plane
        .send(Method::GET, "/api/databases", &credentials, Value::Null)
        .await
        .body;
    let summary = json!({ "id": granted, "name": "orders", "description": "a test" });
    assert_eq!(seen["databases"], json!([summary]));
    let one = |id: i64| format!("/api/databases/{id}");
    assert_eq!(
        plane
            .send(Method::GET, &one(granted), &credentials, Value::Null)
            .await
            .body,
        summary
    );
    for (method, path, status) in [
        (Method::GET, one(other), 404),
        (Method::DELETE, one(granted), 403),
        (Method::POST, format!("{}/test", one(granted)), 403),
    ] {
        assert_eq!(
            plane
                .send(method, &path, &credentials, Value::Null)
                .await
                .status,
            status,
            "{path}"
        );
    }
    plane
        .admin(Method::DELETE, &format!("/api/grants/{grant}"), Value::Null)
        .await;
    let seen = plane
        .send(Method::GET, "/api/databases", &credentials, Value::Null)
        .await
        .body;
    assert_eq!(seen["databases"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_tries_both_logins() {
    let plane = Plane::start().await;
    let target = TestPostgres::target().await.create_database().await;
    let admin = target.connect().await;
    admin
        .batch_execute("create role reader login password 'hunter3'")
        .await
        .unwrap();
    let database = json!({
        "name": "orders", "host": target.host, "port": target.port, "database_name": target.name,
        "username": target.user, "password": target.password, "ssl_mode": "prefer", "read_username": "reader",
        "read_password": "hunter2-wrong",
    });
    let path = format!(
        "/api/databases/{}",
        plane.create("/api/databases", database).await["id"]
    );
    let test = format!("{path}/test");
    let tested = plane.admin(Method::POST, &test, Value::Null).await;
    assert_eq!(
        (tested.status, &tested.body["ok"]),
        (200, &json!(false)),
        "{}",
        tested.body
    );
    let (stored, reader) = (&tested.body["logins"][0], &tested.body["logins"][1]);
    assert_eq!(
        (&stored["ok"], &stored["is_superuser"]),
        (&json!(true), &json!(true))
    );
    assert!(stored["server_version"].is_string() && stored["latency_us"].as_u64().unwrap() > 0);
    assert_eq!(
        (&reader["login"], &reader["ok"]),
        (&json!("read_username"), &json!(false))
    );
    assert!(
        reader["error"].as_str().unwrap().contains("reader"),
        "{reader}"
    );
    assert!(!tested.body.to_string().contains("hunter2"));

    plane
        .admin(Method::PUT, &path, json!({ "read_password": "hunter3" }))
        .await;
    let tested = plane.admin(Method::POST, &test, Value::Null).await.body;
    assert_eq!(
        (&tested["ok"], &tested["logins"][1]["is_superuser"]),
        (&json!(true), &json!(false)),
        "{tested}"
    );
    assert_eq!(
        (
            &tested["logins"][0]["can_write"],
            &tested["logins"][1]["can_write"],
            &tested["advice"]
        ),
        (&json!(true), &json!(false), &Value::Null),
        "{tested}"
    );
    admin
        .batch_execute("create table t (a int); grant insert (a) on t to reader")
        .await
        .unwrap();
    let tested = plane.admin(Method::POST, &test, Value::Null).await.body;
    assert_eq!(tested["logins"][1]["can_write"], true, "{tested}");
    assert!(
        tested["advice"]
            .as_str()
            .unwrap()
            .contains("pg_read_all_data")
    );
    // The server has no TLS.
    plane
        .admin(Method::PUT, &path, json!({ "ssl_mode": "require" }))
        .await;
    let tested = plane.admin(Method::POST, &test, Value::Null).await.body;
    assert!(
        tested["logins"][0]["error"]
            .as_str()
            .unwrap()
            .contains("TLS"),
        "{tested}"
    );
    assert_eq!(
        plane.last_event("database.tested").await["after"]["ok"],
        false
    );
}
