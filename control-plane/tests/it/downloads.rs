//! Captured rows as CSV and NDJSON: what is in the file, who may have it, and that it is written down.

use pglens_rpc::v1;
use pglens_testkit::TestPostgres;
use serde_json::json;
use uuid::Uuid;

use crate::reading::Scene;
use crate::records::{copy_lines, ended, ended_with, rows, started};
use crate::support::{ADMIN_PASSWORD, basic};

const INT4: u32 = 23;
const TEXT: u32 = 25;

async fn get(scene: &Scene, path: &str, accept: &str) -> reqwest::Response {
    let url = format!("http://{}{path}", scene.plane.bound.api);
    let request = reqwest::Client::new().get(url).header("accept", accept);
    let request = request.header("authorization", basic("admin", ADMIN_PASSWORD));
    request.send().await.unwrap()
}

#[tokio::test]
async fn rows_are_downloaded_as_copy_and_row_to_json_write_them() {
    let mut scene = Scene::new().await;
    let query = scene.store_result("select id, name from customers").await;
    let path = format!("/api/queries/{query}/rows");
    let answer = get(&scene, &format!("{path}?format=csv"), "*/*").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["content-type"],
        "text/csv; charset=utf-8; header=present"
    );
    let disposition = answer.headers()["content-disposition"].to_str().unwrap();
    assert_eq!(disposition, format!("attachment; filename=\"{query}.csv\""));
    let csv = answer.text().await.unwrap();

    // PostgreSQL's own word on the same rows.
    let storage = TestPostgres::shared()
        .await
        .create_database()
        .await
        .connect()
        .await;
    let copy = "copy (select * from (values (1, 'ann'), (2, null), (3, 'b\"ob')) t (id, name)) to stdout (format csv, header)";
    let copied = storage.copy_out(copy).await.unwrap();
    let copied: Vec<_> = futures_util::StreamExt::collect(Box::pin(copied)).await;
    let copied: Vec<u8> = copied
        .into_iter()
        .flat_map(|piece| piece.unwrap())
        .collect();
    assert_eq!(csv, String::from_utf8(copied).unwrap());

    let ndjson = get(&scene, &path, "application/x-ndjson").await;
    assert_eq!(ndjson.headers()["content-type"], "application/x-ndjson");
    assert_eq!(
        ndjson.text().await.unwrap(),
        "{\"id\":1,\"name\":\"ann\"}\n{\"id\":2,\"name\":null}\n{\"id\":3,\"name\":\"b\\\"ob\"}\n"
    );
    let events = scene.plane.fleet.events("rows.read").await;
    assert_eq!(
        events,
        [
            json!({ "first_row": 0, "row_count": 3, "format": "csv" }),
            json!({ "first_row": 0, "row_count": 3, "format": "ndjson" }),
        ]
    );
}

#[tokio::test]
async fn names_stay_apart_and_copy_lines_are_one_column() {
    let mut scene = Scene::new().await;
    let (query, session) = (Uuid::now_v7(), scene.session.clone());
    let columns = [("?column?", INT4), ("?column?", TEXT)];
    scene
        .publisher
        .store(vec![
            started(query, &session, 1, "select 1, ''"),
            rows(query, &session, 0, 0, &[&[Some("1"), Some("")]]),
            ended_with(query, &session, &columns, |_| {}),
        ])
        .await;
    let path = format!("/api/queries/{query}/rows?format=");
    let csv = get(&scene, &format!("{path}csv"), "").await.text().await;
    assert_eq!(csv.unwrap(), "?column?,?column?\n1,\"\"\n");
    let copy = Uuid::now_v7();
    scene
        .publisher
        .store(vec![
            started(copy, &session, 2, "copy customers to stdout"),
            copy_lines(copy, &session, &["1\tann\n", "2\t\\N\n"]),
            ended(copy, &session),
        ])
        .await;
    let path = format!("/api/queries/{copy}/rows?format=");
    let csv = get(&scene, &format!("{path}csv"), "").await.text().await;
    assert_eq!(csv.unwrap(), "line\n1\tann\n2\t\\N\n");
    for wrong in ["xml", "csv&limit=2", "ndjson&cursor=MQ"] {
        assert_eq!(
            get(&scene, &format!("{path}{wrong}"), "").await.status(),
            400
        );
    }
}

#[tokio::test]
async fn rows_go_to_administrators_and_broken_ones_to_nobody() {
    let mut scene = Scene::new().await;
    let query = scene.store_result_later("select 1").await;
    let url = format!(
        "http://{}/api/queries/{query}/rows?format=csv",
        scene.plane.bound.api
    );
    let request = reqwest::Client::new().get(&url);
    let request = request.header("authorization", basic("ann", "ann-password"));
    assert_eq!(request.send().await.unwrap().status(), 403);
    assert!(scene.plane.fleet.events("rows.read").await.is_empty());
    let missing = format!("/api/queries/{}/rows?format=csv", Uuid::now_v7());
    assert_eq!(get(&scene, &missing, "").await.status(), 404);

    let storage = scene.plane.fleet.storage.connect().await;
    let broken = "update query_rows set data_sealed = data_sealed || '\\x00' where chunk = 1";
    storage.execute(broken, &[]).await.unwrap();
    let answer = get(&scene, &format!("/api/queries/{query}/rows?format=csv"), "").await;
    assert_eq!(answer.status(), 200, "the first chunk is fine");
    answer
        .text()
        .await
        .expect_err("a file that is cut short looks it");
}

/// 200,000 rows pass through a process that holds a chunk of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_great_result_is_streamed() {
    const CHUNKS: u32 = 40;
    const ROWS: usize = 5000;
    let mut scene = Scene::new().await;
    let (query, session) = (Uuid::now_v7(), scene.session.clone());
    let value = "x".repeat(60);
    let row: &[Option<&str>] = &[Some("1"), Some(&value)];
    let chunk_rows = vec![row; ROWS];
    scene
        .publisher
        .store(vec![started(query, &session, 1, "select * from large")])
        .await;
    for chunk in 0..CHUNKS {
        let first_row = u64::from(chunk) * ROWS as u64;
        let record: v1::Record = rows(query, &session, chunk, first_row, &chunk_rows);
        scene.publisher.store(vec![record]).await;
    }
    let path = format!("/api/queries/{query}/rows?format=ndjson");
    let mut answer = get(&scene, &path, "").await;
    assert!(answer.content_length().is_none(), "nobody knew its length");
    let (mut lines, mut pieces) = (0, 0);
    while let Some(piece) = answer.chunk().await.unwrap() {
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
        pieces += 1;
    }
    assert_eq!(lines, ROWS * CHUNKS as usize);
    assert!(pieces >= CHUNKS, "{pieces} pieces");
}
