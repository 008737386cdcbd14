//! The throw-away server, tried out.

use std::path::PathBuf;

use pglens_testkit::{DEADLINE, TestPostgres, eventually};

#[tokio::test]
async fn databases_are_separate_and_ours() {
    let postgres = TestPostgres::shared().await;
    let (one, other) = (
        postgres.create_database().await,
        postgres.create_database().await,
    );
    let client = one.connect().await;
    client
        .batch_execute("create table only_here ()")
        .await
        .unwrap();
    let row = client
        .query_one("select current_database(), current_user::text", &[])
        .await;
    let row = row.unwrap();
    assert_eq!(
        (row.get(0), row.get(1)),
        (one.name.as_str(), one.user.as_str())
    );
    let missing = other
        .connect()
        .await
        .batch_execute("select from only_here")
        .await;
    assert_eq!(missing.unwrap_err().code().unwrap().code(), "42P01");
}

#[tokio::test]
async fn a_server_of_ones_own_takes_settings_and_leaves_nothing() {
    let postgres = TestPostgres::start(&[("work_mem", "3MB")]).await;
    let client = postgres.database("postgres").connect().await;
    let row = client
        .query_one("select current_setting('work_mem')", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "3MB");
    let folder = PathBuf::from(postgres.server().log_file().parent().unwrap());
    assert!(folder.exists());
    postgres.stop().await;
    eventually(DEADLINE, || async { !folder.exists() }).await;
}
