//! psycopg from PyPI: the same script through the proxy and at the target itself tells the same.

use pglens_e2e::{Login, Stack, StackOptions, program};
use serde_json::json;

use crate::compare::record_equals_target_log;
use crate::sample;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_cannot_tell_the_difference() {
    let python = python().await;
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    sample::create(&place).await;
    let (person, login) = place.writer("pythonista").await;
    let direct = run(&python, place.target.login()).await;
    let proxied = run(&python, &login).await;
    assert!(
        direct.lines().count() > 15,
        "the script did its work: {direct}"
    );
    for (one, other) in direct.lines().zip(proxied.lines()) {
        assert_eq!(one, other, "left is direct");
    }
    assert_eq!(direct.lines().count(), proxied.lines().count());
    let connections = place.api.connections(&person).await.len();
    let recorded = place.api.recorded(&person, connections).await;
    assert_eq!(connections, 1);
    record_equals_target_log(&place, &person, &recorded);

    // Parse, Bind, Describe, Execute and Sync in one go: the columns come with the rows.
    let values = recorded
        .iter()
        .find(|record| record.sql.starts_with("select $1::int, $2::text"))
        .unwrap();
    let query = place.api.get(&format!("/api/queries/{}", values.id)).await;
    let row = &query["result_rows"][0];
    assert_eq!(
        (&row[0], &row[1], &row[2]),
        (&json!(42), &json!("wörd 😀"), &json!(true)),
        "{query}"
    );
    assert_eq!(query["columns"].as_array().unwrap().len(), 9, "{query}");
    assert_eq!(query["parameters"].as_array().unwrap().len(), 9, "{query}");
}

async fn run(python: &str, login: &Login) -> String {
    let script = program::workspace().join("e2e/python/everything.py");
    let ran = login
        .run(python, &[script.to_str().unwrap(), &login.conninfo()], "")
        .await;
    ran.success("the Python script").to_owned()
}

/// Python with psycopg in a virtual environment under target/, made once. With the caller's environment: where
/// packages come from is the machine's business.
pub(crate) async fn python() -> String {
    let script = program::workspace().join("scripts/e2e-python.sh");
    let made = tokio::process::Command::new(script).output().await.unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}
