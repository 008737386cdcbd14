//! `pglens export` against the whole stack.

use std::path::Path;
use std::process::Command;

use chrono::{TimeDelta, Utc};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use pglens_testkit::{DEADLINE, eventually};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use super::command::{Dev, output, pglens};
use super::dev::data_folder;

async fn run_statements(dev: &Dev) {
    let (user, password) = (dev.text("demo_user"), dev.text("demo_password"));
    let (proxy, database) = (dev.text("proxy"), dev.text("demo_database"));
    let url = format!("postgresql://{user}:{password}@{proxy}/{database}?sslmode=disable");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    for number in 0..3 {
        let text = format!("select id, {number} as number from customers order by id limit 2");
        client.simple_query(&text).await.unwrap();
    }
}

/// An administrator's request, with a JSON body or without.
async fn api(dev: &Dev, path: &str, body: Option<Value>) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}{path}", dev.text("api"));
    let request = match &body {
        Some(body) => client.post(url).json(body),
        None => client.get(url),
    };
    let login = request.basic_auth(dev.text("admin_user"), Some(dev.text("admin_password")));
    login.send().await.unwrap().json().await.unwrap()
}

fn export(dev: &Dev, token: &str, args: &[&str]) -> Command {
    let from = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let mut command = pglens(&["export", "--url", dev.text("api"), "--from", &from]);
    command.args(args).env("PGL_API_TOKEN", token);
    command
}

fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_exported_whole_and_again_from_where_it_broke_off() {
    let folder = data_folder();
    let dev = Dev::start(folder.path(), &[]);
    run_statements(&dev).await;
    // The record is there within a moment.
    let found = "/api/queries?q=as%20number&min_rows=2";
    let is_whole = || async {
        let found = api(&dev, found, None).await;
        found["queries"].as_array().unwrap().len() == 3
    };
    eventually(DEADLINE, is_whole).await;
    let found = api(&dev, found, None).await;
    let token = api(&dev, "/api/tokens", Some(json!({ "name": "export" }))).await;
    let token = token["token"].as_str().unwrap();

    let done = output(&mut export(&dev, token, &["--text", "as number", "--rows"]));
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(
        done.status.success() && told.contains("3 statements in "),
        "{told}"
    );
    let lines_seen = lines(&done.stdout);
    let records: Vec<&str> = lines_seen
        .iter()
        .map(|line| line["record"].as_str().unwrap())
        .collect();
    assert_eq!(records, ["statement", "row", "row"].repeat(3));
    assert_eq!(
        lines_seen[0]["id"], found["queries"][2]["id"],
        "the oldest first"
    );
    assert_eq!(lines_seen[0]["username"], "demo");
    assert_eq!(lines_seen[2]["values"]["number"], 0);
    let events = api(&dev, "/api/audit?action=rows.read", None).await;
    let events = events["events"].as_array().unwrap();
    assert!(
        events
            .iter()
            .all(|event| event["after"]["format"] == "ndjson")
    );
    assert_eq!(events.len(), 3);

    resumes(&dev, token, folder.path(), &found);
    parquet_file(&dev, token, folder.path());
    parquet_file_with_rows(&dev, token, folder.path());
    let events = api(&dev, "/api/audit?action=rows.read", None).await;
    assert_eq!(events["events"].as_array().unwrap().len(), 6, "read again");
    let wrong = output(&mut export(&dev, "no-token", &["--quiet"]));
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        told.contains("401") && told.contains("the token is not valid"),
        "{told}"
    );
    assert_eq!(wrong.status.code(), Some(1));
    let unusable = output(&mut export(
        &dev,
        token,
        &["--format", "parquet", "--resume"],
    ));
    assert_eq!(unusable.status.code(), Some(2));
}

/// A file whose last page was torn is cut to the page before and gone on with.
fn resumes(dev: &Dev, token: &str, folder: &Path, found: &Value) {
    use base64::Engine;
    let file = folder.join("record.ndjson");
    let name = file.to_str().unwrap();
    let first = found["queries"][2]["id"].as_str().unwrap();
    let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(first);
    std::fs::write(
        &file,
        "{\"record\":\"statement\",\"id\":\"first\"}\n{\"record\":\"stat",
    )
    .unwrap();
    std::fs::write(format!("{name}.cursor"), format!("36 {cursor}\n")).unwrap();
    let args = ["--text", "as number", "-o", name, "--quiet"];
    let refused = output(&mut export(dev, token, &args));
    assert_eq!(
        refused.status.code(),
        Some(2),
        "a file that is there is not written over"
    );
    let done = output(&mut export(
        dev,
        token,
        &[&args[..], &["--resume"]].concat(),
    ));
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    let ids: Vec<Value> = lines(&std::fs::read(&file).unwrap())
        .iter()
        .map(|line| line["id"].clone())
        .collect();
    let expected = [
        &json!("first"),
        &found["queries"][1]["id"],
        &found["queries"][0]["id"],
    ];
    assert_eq!(ids.iter().collect::<Vec<_>>(), expected);
    assert!(!Path::new(&format!("{name}.cursor")).exists());
}

fn parquet_file(dev: &Dev, token: &str, folder: &Path) {
    let file = folder.join("record.parquet");
    let args = [
        "--text",
        "as number",
        "--format",
        "parquet",
        "--quiet",
        "-o",
        file.to_str().unwrap(),
    ];
    let done = output(&mut export(dev, token, &args));
    assert!(done.status.success(), "{done:?}");
    let reader = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let sqls: Vec<&String> = rows.iter().map(|row| row.get_string(8).unwrap()).collect();
    assert_eq!(sqls.len(), 3);
    assert!(sqls[0].contains("0 as number") && sqls[2].contains("2 as number"));
}

/// Each statement has its rows behind it, as in NDJSON.
fn parquet_file_with_rows(dev: &Dev, token: &str, folder: &Path) {
    let file = folder.join("rows.parquet");
    let name = file.to_str().unwrap();
    let args = ["--text", "as number", "--format", "parquet", "--rows"];
    let done = output(&mut export(
        dev,
        token,
        &[&args[..], &["--quiet", "-o", name]].concat(),
    ));
    assert!(done.status.success(), "{done:?}");
    let reader = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
    let records: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let kinds: Vec<&str> = records
        .iter()
        .map(|record| record.get_string(0).unwrap().as_str())
        .collect();
    assert_eq!(kinds, ["statement", "row", "row"].repeat(3));
    for statement in records.chunks(3) {
        let sql = statement[0].get_string(12).unwrap();
        let id = statement[0].get_string(4).unwrap();
        for (number, row) in statement[1..].iter().enumerate() {
            assert_eq!(row.get_string(1).unwrap(), id);
            assert_eq!(row.get_long(2).unwrap(), i64::try_from(number).unwrap());
            let values: Value = serde_json::from_str(row.get_string(3).unwrap()).unwrap();
            let selected = format!("select id, {} as number", values["number"]);
            assert!(sql.starts_with(&selected), "{values}: {sql}");
        }
    }
}
