//! `pglens retention` and `pglens reseal` against a storage database.

use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pglens_control_plane::storage::{Dsn, Storage, migrate};
use pglens_testkit::TestPostgres;
use tokio::process::Command;

/// Ids of the first day of 2020.
const OLD_DAY: &str = "create table queries_20200101 partition of queries for values \
     from ('016f5e66-e800-0000-0000-000000000000') to ('016f638d-4400-0000-0000-000000000000')";

async fn pglens(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pglens"))
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .output()
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_drops_what_is_past_and_seals_again() {
    let database = TestPostgres::shared().await.create_database().await;
    let storage = Storage::connect(Dsn::parse(&database.url).unwrap(), 1)
        .await
        .unwrap();
    migrate::migrate(&storage).await.unwrap();
    let client = database.connect().await;
    client.batch_execute(OLD_DAY).await.unwrap();

    let dsn = ("PGL_DSN", database.url.as_str());
    let named = "statements of 2020-01-01 (queries_20200101, ";
    for (arguments, expected) in [
        (
            &["retention", "--dry-run"][..],
            format!("would drop {named}"),
        ),
        (&["retention", "--dry-run"], format!("would drop {named}")),
        (&["retention"], format!("dropped {named}")),
        (&["retention"], "nothing is past its retention".to_owned()),
    ] {
        let output = pglens(arguments, &[dsn]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let told = text(&output.stdout);
        assert!(told.starts_with(&expected), "{arguments:?}: {told}");
    }
    let too_long = [
        dsn,
        ("PGL_RETENTION_DAYS", "5"),
        ("PGL_RETENTION_ROWS_DAYS", "6"),
    ];
    let refused = pglens(&["retention"], &too_long).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("PGL_RETENTION_ROWS_DAYS"));

    let keys = format!("{},{}", STANDARD.encode([2; 32]), STANDARD.encode([1; 32]));
    let output = pglens(&["reseal"], &[dsn, ("PGL_KEY", &keys)]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(
        told.contains("databases.password_sealed: 0 sealed again, 0 cannot be opened"),
        "{told}"
    );
    client
        .batch_execute("insert into data_keys (day, purpose, key_sealed) values (current_date, 'rows', '\\x01')")
        .await
        .unwrap();
    let output = pglens(&["reseal"], &[dsn, ("PGL_KEY", &keys)]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("data_keys.key_sealed: 0 sealed again, 1 cannot"));
}
