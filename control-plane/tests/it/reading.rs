//! Reading the record over REST and gRPC: who may, what they see, and that it is written down.

use pglens_rpc::v1;
use pglens_testkit::TestPostgres;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::planes::{Admin, Fleet, Plane, read_grant};
use crate::proxies::{Client, Proxy};
use crate::records::{copy_lines, ended, ended_with, rows, session_ended, started, started_with};
use crate::streams::{Attachment, Publisher};

const INT4: u32 = 23;
const TEXT: u32 = 25;

pub(crate) struct Scene {
    pub(crate) plane: Plane,
    pub(crate) admin: Admin,
    pub(crate) proxy: Proxy,
    pub(crate) attachment: Attachment,
    pub(crate) publisher: Publisher,
    pub(crate) session: Vec<u8>,
    pub(crate) user_id: i64,
}

impl Scene {
    pub(crate) async fn new() -> Self {
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

    pub(crate) fn session_id(&self) -> Uuid {
        Uuid::from_slice(&self.session).unwrap()
    }

    /// Stores a statement with a result of a few rows, in two chunks.
    pub(crate) async fn store_result(&mut self, sql: &str) -> Uuid {
        let (query, records) = self.result(sql);
        self.publisher.store(records).await;
        query
    }

    /// The same, of a statement that began in an earlier batch: its chunks lie apart.
    pub(crate) async fn store_result_later(&mut self, sql: &str) -> Uuid {
        let (query, mut records) = self.result(sql);
        let rest = records.split_off(1);
        self.publisher.store(records).await;
        self.publisher.store(rest).await;
        query
    }

    fn result(&self, sql: &str) -> (Uuid, Vec<v1::Record>) {
        let (query, session) = (Uuid::now_v7(), self.session.clone());
        let parameters = vec![
            v1::Parameter {
                type_oid: INT4,
                format: 1,
                value: Some(vec![0, 0, 0, 7]),
                ..Default::default()
            },
            v1::Parameter {
                type_oid: TEXT,
                format: 0,
                value: None,
                ..Default::default()
            },
        ];
        let columns = [("id", INT4), ("name", TEXT)];
        let records = vec![
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
        ];
        (query, records)
    }

    pub(crate) async fn ok(&self, path: &str) -> Value {
        let (status, body) = self.plane.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn sqls(&self, filter: &str) -> Vec<String> {
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
        body["parameter_types"],
        json!([{ "type_oid": 23, "type": "int4" }, { "type_oid": 25, "type": "text" }])
    );
    assert_eq!(
        (&body["username"], &body["database"]),
        (&json!("ann"), &json!("shop"))
    );
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
    assert_eq!(
        events,
        [json!({ "first_row": 0, "row_count": 3, "format": "json" })]
    );

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
        Some(&json!({ "first_row": 2, "row_count": 1, "format": "json" }))
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
    let types = shown.parameter_types.iter();
    let types: Vec<_> = types
        .map(|one| (one.type_oid, one.type_name.as_str()))
        .collect();
    assert_eq!(types, [(23, "int4"), (25, "text")]);
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
    let moved = "update query_rows r set data_sealed = o.data_sealed from query_rows o, queries r_of, queries o_of \
                 where r_of.id = $1 and o_of.id = $2 and r.query_id = r_of.rows_block and o.query_id = o_of.rows_block";
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
    assert_eq!(scene.sqls("min_duration_ms=1").await, [""; 0]);
    assert_eq!(
        scene.sqls("q=500&until=2090-01-01T00:00:00Z").await,
        all[1..2]
    );
    let oldest: Vec<&str> = all.iter().rev().copied().collect();
    assert_eq!(scene.sqls("order=oldest").await, oldest);
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
        "sqlstate=4",
        "text=",
        "order=up",
        "min_rows=-1",
        "min_duration_ms=1&min_duration_us=1000",
        "q=a&text=a",
        "from=2026-01-01T00:00:00Z&until=2026-01-01T00:00:00Z",
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
