//! Reading the record over REST and gRPC: who may, what they see, and that it is written down.

use pglens_rpc::v1;
use pglens_rpc::v1::TerminateReason;
use pglens_testkit::{DEADLINE, TestPostgres};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::planes::{Admin, Fleet, Plane, read_grant};
use crate::proxies::{Attachment, Client, Proxy, Publisher};
use crate::records::{copy_lines, ended, ended_with, rows, session_ended, started, started_with};
use crate::support::{ADMIN_PASSWORD, basic};

const INT4: u32 = 23;
const TEXT: u32 = 25;

struct Scene {
    plane: Plane,
    admin: Admin,
    proxy: Proxy,
    attachment: Attachment,
    publisher: Publisher,
    session: Vec<u8>,
    user_id: i64,
}

impl Scene {
    async fn new() -> Self {
        let storage = TestPostgres::shared().await.create_database().await;
        let plane = Fleet::new(storage).start_plane().await;
        let mut admin = plane.admin().await;
        let user_id = admin.create_user("ann", "ann-password").await;
        let database_id = admin.create_database("shop").await;
        admin.create_grant(read_grant(user_id, database_id)).await;
        let proxy = Proxy::new(&plane, "proxy-1").await;
        let attachment = proxy.attach().await;
        let session = proxy
            .allowed(&Client::new("ann", "ann-password", "shop"))
            .await
            .session_id;
        let publisher = proxy.publish().await.unwrap();
        Self {
            plane,
            admin,
            proxy,
            attachment,
            publisher,
            session,
            user_id,
        }
    }

    fn session_id(&self) -> Uuid {
        Uuid::from_slice(&self.session).unwrap()
    }

    /// Stores a statement with a result of a few rows, in two chunks.
    async fn store_result(&mut self, sql: &str) -> Uuid {
        let (query, session) = (Uuid::now_v7(), self.session.clone());
        let parameters = vec![
            v1::Parameter {
                type_oid: INT4,
                format: 1,
                value: Some(vec![0, 0, 0, 7]),
            },
            v1::Parameter {
                type_oid: TEXT,
                format: 0,
                value: None,
            },
        ];
        let columns = [("id", INT4), ("name", TEXT)];
        self.publisher
            .store(vec![
                started_with(query, &session, 1, sql, parameters),
                rows(
                    query,
                    &session,
                    0,
                    0,
                    &[&[Some("1"), Some("ann")], &[Some("2"), None]],
                ),
                rows(query, &session, 1, 2, &[&[Some("3"), Some("b\"ob")]]),
                ended_with(query, &session, &columns, |ended| {
                    (ended.row_count, ended.captured_rows) = (3, 3);
                }),
            ])
            .await;
        query
    }

    async fn ok(&self, path: &str) -> Value {
        let (status, body) = self.plane.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn sqls(&self, filter: &str) -> Vec<String> {
        let body = self.ok(&format!("/api/queries?{filter}")).await;
        let queries = body["queries"].as_array().unwrap();
        queries
            .iter()
            .map(|query| query["sql"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn a_query_shows_its_parameters_columns_and_rows_and_that_is_recorded() {
    let mut scene = Scene::new().await;
    let query = scene
        .store_result("select id, name from customers where id > $1")
        .await;
    let body = scene.ok(&format!("/api/queries/{query}")).await;
    assert_eq!(body["sql"], "select id, name from customers where id > $1");
    assert_eq!(body["connection_id"], scene.session_id().to_string());
    assert_eq!(
        (&body["row_count"], &body["duration_us"]),
        (&json!(3), &json!(1500))
    );
    assert_eq!(
        (&body["bytes_in"], &body["first_row_us"]),
        (&json!(20), &json!(900))
    );
    assert_eq!(
        (&body["sqlstate"], &body["refusal"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(body["parameters"], json!([7, null]));
    assert_eq!(
        body["columns"][0],
        json!({ "name": "id", "type_oid": 23, "type": "int4" })
    );
    assert_eq!(
        body["result_rows"],
        json!([[1, "ann"], [2, null], [3, "b\"ob"]])
    );
    assert_eq!(body["next_cursor"], Value::Null);
    let events = scene.plane.fleet.events("rows.read").await;
    assert_eq!(events, [json!({ "first_row": 0, "row_count": 3 })]);

    let first = scene
        .ok(&format!("/api/queries/{query}/rows?limit=2"))
        .await;
    assert_eq!(first["rows"], json!([[1, "ann"], [2, null]]));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = scene
        .ok(&format!(
            "/api/queries/{query}/rows?limit=2&cursor={cursor}"
        ))
        .await;
    assert_eq!(
        (&second["rows"], &second["next_cursor"]),
        (&json!([[3, "b\"ob"]]), &Value::Null)
    );
    let events = scene.plane.fleet.events("rows.read").await;
    assert_eq!(
        events.last(),
        Some(&json!({ "first_row": 2, "row_count": 1 }))
    );

    let request = v1::GetQueryRequest {
        id: query.to_string(),
    };
    let shown = scene
        .admin
        .observability
        .get_query(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (shown.parameters_json, shown.columns[0].type_name.as_str()),
        (vec!["7".to_owned(), "null".to_owned()], "int4")
    );
    let request = v1::ListQueryRowsRequest {
        id: query.to_string(),
        limit: 1,
        ..Default::default()
    };
    let shown = scene
        .admin
        .observability
        .list_query_rows(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.rows_json, ["[1,\"ann\"]"]);
}

#[tokio::test]
async fn lines_of_a_copy_are_rows_of_one_text() {
    let mut scene = Scene::new().await;
    let (query, session) = (Uuid::now_v7(), scene.session.clone());
    scene
        .publisher
        .store(vec![
            started(query, &session, 1, "copy customers to stdout"),
            copy_lines(query, &session, &["1\tann\n", "2\t\\N\n"]),
            ended(query, &session),
        ])
        .await;
    let body = scene.ok(&format!("/api/queries/{query}")).await;
    assert_eq!(body["result_rows"], json!([["1\tann"], ["2\t\\N"]]));
}

#[tokio::test]
async fn values_moved_to_another_place_do_not_open() {
    let mut scene = Scene::new().await;
    let (one, other) = (
        scene.store_result("select 1").await,
        scene.store_result("select 2").await,
    );
    let storage = scene.plane.fleet.storage.connect().await;
    let moved = "update query_rows r set data_sealed = o.data_sealed from query_rows o \
                 where r.query_id = $1 and o.query_id = $2 and r.chunk = o.chunk";
    storage.execute(moved, &[&one, &other]).await.unwrap();
    let (status, body) = scene.plane.get(&format!("/api/queries/{one}")).await;
    assert_eq!(status, 500);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("cannot be decrypted"),
        "{body}"
    );
    scene.ok(&format!("/api/queries/{other}")).await;
    let moved = "update queries r set parameters_sealed = o.parameters_sealed from queries o \
                 where r.id = $2 and o.id = $1";
    storage.execute(moved, &[&one, &other]).await.unwrap();
    let (status, _) = scene.plane.get(&format!("/api/queries/{other}")).await;
    assert_eq!(status, 500);

    storage
        .batch_execute("delete from data_keys")
        .await
        .unwrap();
    let second = scene.plane.fleet.start_plane().await;
    let (status, body) = second.get(&format!("/api/queries/{one}")).await;
    assert_eq!(status, 404);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .contains("past its retention"),
        "{body}"
    );
}

#[tokio::test]
async fn statements_are_found_by_what_is_known_of_them() {
    let mut scene = Scene::new().await;
    let session = scene.session.clone();
    let mut records = Vec::new();
    for (sequence, sql, sqlstate, refusal, duration_us) in [
        (1, "select '50%' as a", "", "", 10),
        (2, "select 500 as b", "42703", "", 20),
        (3, "delete from t", "25006", "read_only", 30),
    ] {
        let query = Uuid::now_v7();
        records.push(started(query, &session, sequence, sql));
        records.push(ended_with(query, &session, &[], |ended| {
            ended.sqlstate = sqlstate.to_owned();
            ended.refusal = refusal.to_owned();
            (ended.duration_us, ended.row_count) = (duration_us, sequence);
        }));
    }
    scene.publisher.store(records).await;
    let all = ["delete from t", "select 500 as b", "select '50%' as a"];
    assert_eq!(scene.sqls("").await, all);
    assert_eq!(scene.sqls("text=50%25").await, all[2..]);
    assert_eq!(scene.sqls("text=SELECT").await, all[1..]);
    assert_eq!(scene.sqls("sqlstate=42703").await, all[1..2]);
    assert_eq!(scene.sqls("refused=true").await, all[..1]);
    assert_eq!(
        scene.sqls("refused=false&min_duration_us=20").await,
        all[1..2]
    );
    assert_eq!(scene.sqls("min_rows=2").await, all[..2]);
    assert_eq!(scene.sqls("fingerprint=abc").await, all);
    assert_eq!(
        scene
            .sqls(&format!("connection_id={}", scene.session_id()))
            .await,
        all
    );
    assert_eq!(
        scene.sqls(&format!("user_id={}", scene.user_id + 1)).await,
        [""; 0]
    );
    assert_eq!(
        scene
            .sqls("from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z")
            .await,
        all
    );
    assert_eq!(scene.sqls("to=2020-01-01T00:00:00Z").await, [""; 0]);

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let body = scene
            .ok(&format!("/api/queries?limit=1&cursor={cursor}"))
            .await;
        seen.push(body["queries"][0]["sql"].as_str().unwrap().to_owned());
        match body["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, all);
    for wrong in [
        "colour=red",
        "user_id=x",
        "refused=maybe",
        "from=yesterday",
        "connection_id=7",
    ] {
        assert_eq!(
            scene.plane.get(&format!("/api/queries?{wrong}")).await.0,
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn what_nobody_will_ever_know_is_said_to_be_unknown() {
    let mut scene = Scene::new().await;
    let (query, session) = (Uuid::now_v7(), scene.session.clone());
    scene
        .publisher
        .store(vec![started(query, &session, 1, "select pg_sleep(9)")])
        .await;
    let path = format!("/api/queries/{query}");
    let running = scene.ok(&path).await;
    assert_eq!(
        (&running["outcome_unknown"], &running["duration_us"]),
        (&json!(false), &Value::Null)
    );
    scene
        .publisher
        .store(vec![session_ended(&session, 1, 0)])
        .await;
    assert_eq!(scene.ok(&path).await["outcome_unknown"], true);
}

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
    assert_eq!(events, [json!({ "days": ["2025-01-01"] })]);
}
