//! Watching what goes on: connections, proxies, numbers, the live stream; and what becomes of old days.

use pglens_rpc::v1::TerminateReason;
use pglens_testkit::DEADLINE;
use reqwest::Method;
use serde_json::json;

use crate::proxies::Client;
use crate::reading::Scene;
use crate::records::session_ended;
use crate::support::{ADMIN_PASSWORD, basic};

#[tokio::test]
async fn connections_are_seen_by_their_user_and_ended_by_request() {
    let mut scene = Scene::new().await;
    let id = scene.session_id();
    let (ann, bob) = (basic("ann", "ann-password"), basic("bob", "bob-password"));
    scene.admin.create_user("bob", "bob-password").await;
    let query = scene.store_result("select 1").await;

    let body = scene.ok("/api/connections?active=true").await;
    let connection = &body["connections"][0];
    assert_eq!(
        (&connection["username"], &connection["database"]),
        (&json!("ann"), &json!("shop"))
    );
    assert_eq!(
        (&connection["query_count"], &connection["proxy"]),
        (&json!(1), &json!("proxy-1"))
    );
    assert_eq!(connection["client_address"], "192.0.2.7:51234");
    let path = format!("/api/connections/{id}");
    assert_eq!(scene.plane.rest(Method::GET, &path, &ann).await.0, 200);
    assert_eq!(scene.plane.rest(Method::GET, &path, &bob).await.0, 404);
    assert_eq!(scene.plane.rest(Method::DELETE, &path, &bob).await.0, 404);
    let (_, others) = scene
        .plane
        .rest(Method::GET, "/api/connections", &bob)
        .await;
    assert_eq!(others["connections"], json!([]));
    let of_ann = format!("/api/connections?user_id={}", scene.user_id);
    assert_eq!(scene.plane.rest(Method::GET, &of_ann, &bob).await.0, 403);
    for admins_only in ["/api/queries", "/api/proxies", "/api/stats", "/api/stream"] {
        assert_eq!(
            scene.plane.rest(Method::GET, admins_only, &ann).await.0,
            403,
            "{admins_only}"
        );
    }
    let rows = format!("/api/queries/{query}/rows");
    assert_eq!(scene.plane.rest(Method::GET, &rows, &ann).await.0, 403);

    let (status, body) = scene.plane.rest(Method::DELETE, &path, &ann).await;
    assert_eq!(status, 200);
    assert!(body["kill_requested_at"].is_string(), "{body}");
    let terminate = scene.attachment.terminated().await;
    assert_eq!(
        (terminate.reason(), terminate.session_ids),
        (TerminateReason::Killed, vec![scene.session.clone()])
    );
    assert!(
        terminate
            .detail
            .starts_with("The connection was ended by ann at 20"),
        "{}",
        terminate.detail
    );
    assert_eq!(
        scene.plane.rest(Method::DELETE, &path, &ann).await.0,
        200,
        "again"
    );
    assert_eq!(scene.plane.fleet.events("connection.killed").await.len(), 1);
    let session = scene.session.clone();
    scene
        .publisher
        .store(vec![session_ended(&session, 1, 0)])
        .await;
    assert_eq!(
        scene.ok("/api/connections?active=true").await["connections"],
        json!([])
    );
    let ended = scene.ok(&path).await;
    assert_eq!(
        (&ended["end_reason"], &ended["audit_complete"]),
        (&json!("client_closed"), &json!(true))
    );
}

#[tokio::test]
async fn proxies_and_numbers_are_shown() {
    let mut scene = Scene::new().await;
    scene.store_result("select 1").await;
    let proxies = scene.ok("/api/proxies").await;
    let proxy = &proxies["proxies"][0];
    assert_eq!(
        (&proxy["name"], &proxy["status"]),
        (&json!("proxy-1"), &json!("attached"))
    );
    assert_eq!(
        (&proxy["active_sessions"], &proxy["committed_sequence"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(proxy["run_id"], scene.proxy.run_id.to_string());

    let stats = scene.ok("/api/stats?bucket=3600").await;
    assert_eq!(
        (&stats["active_connections"], &stats["attached_proxies"]),
        (&json!(1), &json!(1))
    );
    let bucket = &stats["buckets"][0];
    assert_eq!(
        (&bucket["statements"], &bucket["rows"], &bucket["errors"]),
        (&json!(1), &json!(3), &json!(0))
    );
    assert_eq!(scene.plane.get("/api/stats?bucket=0").await.0, 400);
}

#[tokio::test]
async fn the_stream_tells_what_happens() {
    let mut scene = Scene::new().await;
    let url = format!("http://{}/api/stream", scene.plane.bound.api);
    let request = reqwest::Client::new()
        .get(url)
        .header("authorization", basic("admin", ADMIN_PASSWORD));
    let mut answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    scene
        .proxy
        .allowed(&Client::new("ann", "ann-password", "shop"))
        .await;
    scene.store_result("select 42").await;
    let session = scene.session.clone();
    scene
        .publisher
        .store(vec![session_ended(&session, 1, 0)])
        .await;
    let mut text = String::new();
    while !text.contains("event:connection_ended") {
        let chunk = tokio::time::timeout(DEADLINE, answer.chunk()).await;
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
    }
    for expected in [
        "event:connection_started",
        "event:query_started",
        "select 42",
        "\"client_closed\"",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[tokio::test]
async fn days_past_the_retention_go_with_their_keys() {
    let scene = Scene::new().await;
    let partitions = "select count(*) from pg_inherits where inhparent = 'queries'::regclass";
    assert_eq!(
        scene.plane.fleet.count(partitions).await,
        10,
        "nine days and the default"
    );
    let storage = scene.plane.fleet.storage.connect().await;
    storage
        .batch_execute(
            "create table queries_20250101 partition of queries for values \
                 from ('01941f29-7c00-0000-0000-000000000000') to ('01942450-7800-0000-0000-000000000000'); \
             insert into data_keys (day, key_sealed) values ('2025-01-01', ''), (current_date, '')",
        )
        .await
        .unwrap();
    let _second = scene.plane.fleet.start_plane().await;
    assert_eq!(scene.plane.fleet.count(partitions).await, 10);
    assert_eq!(
        scene
            .plane
            .fleet
            .count("select count(*) from data_keys")
            .await,
        1
    );
    let events = scene.plane.fleet.events("records.dropped").await;
    assert_eq!(
        events,
        [json!({ "statements_of": ["2025-01-01"], "rows_of": [] })]
    );
}

#[tokio::test]
async fn a_day_that_cannot_have_its_partition_stays_in_the_default_one() {
    let scene = Scene::new().await;
    let storage = scene.plane.fleet.storage.connect().await;
    let last = "select inhrelid::regclass::text from pg_inherits where inhparent = 'queries'::regclass \
                and inhrelid::regclass::text <> 'queries_default' order by 1 desc limit 1";
    let name: String = storage.query_one(last, &[]).await.unwrap().get(0);
    let digits = name.strip_prefix("queries_").unwrap();
    let taken = format!(
        "drop table {name}; \
         insert into queries (id, connection_id, user_id, database_id, grant_id, sequence, sql, kind, key_day, started_at) \
         select (lpad(to_hex((extract(epoch from '{digits} 12:00+00'::timestamptz) * 1000)::bigint), 12, '0') \
                 || '70008000000000000000')::uuid, gen_random_uuid(), 1, 1, 1, 1, 'select 1', 'SELECT', \
             current_date, now()"
    );
    storage.batch_execute(&taken).await.unwrap();
    let second = scene.plane.fleet.start_plane().await;
    let (status, body) = second.get("/api/queries").await;
    assert_eq!(
        (status, &body["queries"][0]["sql"]),
        (200, &json!("select 1"))
    );
    let partitions = "select count(*) from pg_inherits where inhparent = 'queries'::regclass";
    assert_eq!(scene.plane.fleet.count(partitions).await, 9);
}
