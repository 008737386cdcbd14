//! Who is not let in, what is not run, and what the client is told: the SQLSTATE, words that help, and nothing else.

use chrono::{TimeDelta, Utc};
use futures_util::{TryStreamExt, pin_mut};
use pglens_e2e::{
    GrantSpec, Login, Place, Stack, StackOptions, client::db_error, eventually, step,
};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::DbError;

use crate::sample;

/// A DataRow of one text column of 1000 bytes: tag, length, column count, value length, value.
const ROW_BYTES: u64 = 1 + 4 + 2 + 4 + 1000;
const ROWS_ALLOWED: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_code_and_words_and_tells_nothing() {
    let stack = Stack::start(StackOptions::default()).await;
    let mut place = stack.place().await;
    sample::create(&place).await;
    step(
        "wrong password and unknown user",
        wrong_password_and_unknown_user(&place),
    )
    .await;
    step(
        "no grant and unknown database",
        no_grant_and_unknown_database(&place),
    )
    .await;
    step(
        "not yet started and expired",
        not_yet_started_and_expired(&place),
    )
    .await;
    step("statements spent", statements_spent(&place)).await;
    step("bytes spent", bytes_spent(&place)).await;
    step(
        "replication and broken options",
        replication_and_broken_options(&place),
    )
    .await;
    step(
        "target refuses the stored login",
        target_refuses_the_stored_login(&place),
    )
    .await;
    step("target down", target_down(&mut place)).await;
}

/// Nothing of the target, of the storage or of the inside is in what the client sees.
#[track_caller]
pub(crate) fn assert_tells_nothing(place: &Place, error: &DbError) {
    let told = format!("{error:?}").to_lowercase();
    let target = place.target.login();
    let port = target.port.to_string();
    let secrets = [
        &target.user,
        &target.password,
        &target.database,
        &target.host,
        &port,
    ];
    for secret in secrets {
        assert!(
            !told.contains(&secret.to_lowercase()),
            "{secret} is told: {error:?}"
        );
    }
    for inside in [
        "grpc",
        "tonic",
        "tokio",
        "panicked",
        "select ",
        "relation",
        "h2 ",
        "os error",
        "control-plane:",
    ] {
        assert!(!told.contains(inside), "{inside:?} is told: {error:?}");
    }
    assert!(
        error.file().is_none_or(|file| !file.ends_with(".rs")),
        "{error:?}"
    );
}

/// The refusal of a login: FATAL with `sqlstate`, telling nothing.
async fn refused(place: &Place, login: &Login, sqlstate: &str) -> DbError {
    let error = match login.try_connect().await {
        Ok(_) => panic!("{} is let into {}", login.user, login.database),
        Err(error) => error,
    };
    let error = db_error(&error).clone();
    assert_eq!(
        (error.severity(), error.code().code()),
        ("FATAL", sqlstate),
        "{error:?}"
    );
    assert!(error.message().len() > 10, "words that help: {error:?}");
    assert_tells_nothing(place, &error);
    error
}

/// All that a client sees, with the names it gave itself taken out.
fn words(error: &DbError, login: &Login) -> [String; 3] {
    [Some(error.message()), error.detail(), error.hint()].map(|text| {
        let text = text.unwrap_or_default().replace(&login.user, "USER");
        text.replace(&login.database, "DATABASE")
    })
}

async fn wrong_password_and_unknown_user(place: &Place) {
    let (person, login) = place.reader("known").await;
    let wrong = login.with_user(&person.name, "not it");
    let unknown = login.with_user("nobody_of_that_name", "not it");
    let wrong_words = words(&refused(place, &wrong, "28P01").await, &wrong);
    let unknown_words = words(&refused(place, &unknown, "28P01").await, &unknown);
    assert_eq!(wrong_words, unknown_words);
    // The order of the checks: the password comes before anything about databases.
    let elsewhere = wrong.with_database("no_such_database");
    assert_eq!(
        words(&refused(place, &elsewhere, "28P01").await, &elsewhere),
        wrong_words
    );
    let empty = login.with_user(&person.name, "");
    let told = empty.psql("select 1").await;
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(
        place.api.connections(&person).await.is_empty(),
        "no session was opened"
    );
}

async fn no_grant_and_unknown_database(place: &Place) {
    let person = place.api.person("ungranted").await;
    let here = place.login(&person);
    let nowhere = here.with_database("no_such_database");
    let own_name = here.with_database("e2e_target");
    let no_grant = words(&refused(place, &here, "42501").await, &here);
    assert_eq!(
        words(&refused(place, &nowhere, "42501").await, &nowhere),
        no_grant
    );
    let target_name = login_error(&own_name).await;
    assert_eq!(
        target_name.code().code(),
        "42501",
        "the target's own name is not a name here"
    );
}

async fn login_error(login: &Login) -> DbError {
    db_error(&login.try_connect().await.unwrap_err()).clone()
}

async fn not_yet_started_and_expired(place: &Place) {
    let spec = GrantSpec {
        starts_at: Utc::now() + TimeDelta::minutes(30),
        ..GrantSpec::read()
    };
    let (person, _) = place.granted("early", &spec).await;
    refused(place, &place.login(&person), "42501").await;

    let spec = GrantSpec {
        expires_at: Utc::now() + TimeDelta::seconds(2),
        ..GrantSpec::read()
    };
    let (person, _) = place.granted("late", &spec).await;
    let login = place.login(&person);
    eventually("the grant expires", || async {
        match login.try_connect().await {
            Ok(_) => Err("let in".to_owned()),
            Err(error) if error.as_db_error().is_some() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    refused(place, &login, "42501").await;
    assert!(Utc::now() >= spec.expires_at);
}

async fn statements_spent(place: &Place) {
    let spec = GrantSpec {
        max_queries: Some(3),
        ..GrantSpec::read()
    };
    let (person, _) = place.granted("frugal", &spec).await;
    let client = place.login(&person).connect().await;
    for n in 0..3 {
        client
            .batch_execute(&format!("select {n} as allowed"))
            .await
            .unwrap();
    }
    for n in 0..2 {
        let error = client
            .batch_execute(&format!("select {n} as too_many"))
            .await
            .unwrap_err();
        let error = db_error(&error);
        assert_eq!(
            (error.severity(), error.code().code()),
            ("ERROR", "53400"),
            "{error:?}"
        );
        assert_tells_nothing(place, error);
    }
    assert!(!client.is_closed(), "the session stays");
    drop(client);
    let recorded = place.api.recorded(&person, 1).await;
    let seen: Vec<_> = recorded
        .iter()
        .map(|one| (one.sqlstate.as_str(), one.refusal.is_empty()))
        .collect();
    assert_eq!(
        seen,
        [
            ("", true),
            ("", true),
            ("", true),
            ("53400", false),
            ("53400", false)
        ]
    );
    assert_eq!(
        place.target.executed(&person).len(),
        3,
        "the target never saw the others"
    );
}

async fn bytes_spent(place: &Place) {
    let spec = GrantSpec {
        max_bytes: Some(ROWS_ALLOWED * ROW_BYTES + ROW_BYTES / 2),
        ..GrantSpec::read()
    };
    let (person, _) = place.granted("thirsty", &spec).await;
    let client = place.login(&person).connect().await;
    let rows = client
        .simple_query_raw("select repeat('x', 1000) from generate_series(1, 100000)")
        .await
        .unwrap();
    pin_mut!(rows);
    let mut delivered = 0;
    let error = loop {
        match rows.try_next().await {
            Ok(Some(SimpleQueryMessage::Row(_))) => delivered += 1,
            Ok(Some(_)) => {}
            Ok(None) => panic!("all rows came, {delivered} of them"),
            Err(error) => break error,
        }
    };
    let error = db_error(&error);
    assert_eq!(
        (error.severity(), error.code().code()),
        ("FATAL", "53400"),
        "{error:?}"
    );
    assert_tells_nothing(place, error);
    assert_eq!(delivered, ROWS_ALLOWED, "exactly the rows that fit");
    let connection = &place.api.ended_connections(&person, 1).await[0];
    assert_eq!(connection["sqlstate"], "53400", "{connection}");
    let recorded = place.api.recorded(&person, 1).await;
    assert_eq!(
        (recorded.len(), recorded[0].sqlstate.as_str()),
        (1, "53400"),
        "{recorded:?}"
    );
    assert_eq!(
        place.api.rows(&recorded[0].id).await.len(),
        10,
        "no row is recorded that was not delivered"
    );
    let grant = &place
        .api
        .list(&format!("/api/grants?user_id={}", person.id), "grants")
        .await[0];
    let used = grant["bytes_used"]
        .as_u64()
        .unwrap_or_else(|| panic!("{grant}"));
    assert!(used <= spec.max_bytes.unwrap(), "{grant}");
}

async fn replication_and_broken_options(place: &Place) {
    let (_person, login) = place.reader("options").await;
    let told = login
        .with_options("replication=database")
        .psql("select 1")
        .await;
    assert_eq!(told.code, Some(2), "{told:?}");
    let options = "options='-c default_transaction_read_only=off'";
    let told = login
        .with_options(options)
        .psql("insert into written values (1, 'x')")
        .await;
    assert_ne!(told.code, Some(0), "{told:?}");
    assert_eq!(
        place.target.value("select count(*) from written").await,
        "0"
    );
}

async fn target_refuses_the_stored_login(place: &Place) {
    let mistaken = place
        .target
        .login()
        .with_user("stored_owner", "changed since");
    let database_id = place.api.database("mistaken", &mistaken).await;
    let person = place.api.person("unlucky").await;
    place
        .api
        .grant(&person, database_id, &GrantSpec::read())
        .await;
    refused(
        place,
        &place.login(&person).with_database("mistaken"),
        "08001",
    )
    .await;
}

async fn target_down(place: &mut Place) {
    let (person, login) = place.reader("patient").await;
    let client = login.connect().await;
    place.target.stop().await;
    refused(place, &login, "08001").await;
    // A session that was open hears of it as PostgreSQL says it, or by the end of the connection.
    let error = client.batch_execute("select 1").await.unwrap_err();
    if let Some(error) = error.as_db_error() {
        assert!(
            ["57P01", "08001", "08006"].contains(&error.code().code()),
            "{error:?}"
        );
    }
    let connections = place.api.ended_connections(&person, 2).await;
    let states: Vec<_> = connections
        .iter()
        .map(|one| one["sqlstate"].clone())
        .collect();
    assert!(states.contains(&"08001".into()), "{connections:?}");
}
