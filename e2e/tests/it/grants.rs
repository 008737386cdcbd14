//! What a grant says inside its session, and its lesser limits: hours, timeouts, numbers of sessions.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use pglens_e2e::{Fleet, GrantSpec, Stack, StackOptions, client::db_error, step};
use serde_json::json;
use tokio_postgres::SimpleQueryMessage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_explained_and_kept_inside_its_session() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    step("shown", shown(&place)).await;
    step("shown in psql", shown_in_psql(&place)).await;
    step("hours", hours(&place)).await;
    step("statement timeout", statement_timeout(&place)).await;
    step("several grants", several_grants(&place)).await;
}

async fn shown(place: &pglens_e2e::Place) {
    let schedule = json!({
        "time_zone": "UTC",
        "windows": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "00:00", "until": "24:00"}]
    });
    let spec = GrantSpec {
        max_queries: Some(5),
        more: vec![("schedule", schedule)],
        ..GrantSpec::read()
    };
    let (person, grant_id) = place.granted("asker", &spec).await;
    let client = place.login(&person).connect().await;
    client.batch_execute("select 1; select 2").await.unwrap();
    let row = client.query_one("show pglens.grant", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>("grant_id"), grant_id);
    assert_eq!(row.get::<_, &str>("access_level"), "read");
    assert_eq!(row.get::<_, i64>("max_queries"), 5);
    assert_eq!(row.get::<_, i64>("queries_left"), 3);
    assert_eq!(row.get::<_, Option<i64>>("bytes_left"), None);
    assert_eq!(
        row.get::<_, &str>("hours"),
        "mon,tue,wed,thu,fri,sat,sun 00:00-24:00 (UTC)"
    );
    // Asking costs nothing, and goes on when nothing is left.
    for _ in 0..3 {
        client.batch_execute("select 3").await.unwrap();
    }
    let spent = client.batch_execute("select 4").await.unwrap_err();
    let error = db_error(&spent);
    assert_eq!(error.code().code(), "53400");
    let detail = error.detail().unwrap();
    assert!(
        detail.starts_with(&format!(
            "Grant {grant_id} allows 5 statements in all, until 20"
        )),
        "{detail}"
    );
    let answer = client.simple_query(" SHOW pglens.Grant; ").await.unwrap();
    let row = answer.iter().find_map(|one| match one {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    assert_eq!(row.unwrap().get("queries_left"), Some("0"));
    drop(client);

    // A transaction that has failed is PostgreSQL's to judge.
    let (person, login) = place.writer("aborted").await;
    let client = login.connect().await;
    client.batch_execute("begin").await.unwrap();
    client.batch_execute("select 1/0").await.unwrap_err();
    let refused = client.batch_execute("show pglens.grant").await.unwrap_err();
    assert_eq!(db_error(&refused).code().code(), "25P02");
    client.batch_execute("rollback").await.unwrap();
    client.batch_execute("show pglens.grant").await.unwrap();
    drop(client);
    let recorded = place.api.recorded(&person, 1).await;
    let shown: Vec<_> = recorded
        .iter()
        .filter(|one| one.sql == "show pglens.grant")
        .map(|one| (one.sqlstate.as_str(), one.row_count))
        .collect();
    assert_eq!(shown, [("25P02", 0), ("", 1)]);
}

async fn shown_in_psql(place: &pglens_e2e::Place) {
    let (_, login) = place.reader("terminal").await;
    let ran = login
        .psql_with(&["-At", "-F", "|"], "show pglens.grant;\n")
        .await;
    let line = ran.success("show pglens.grant");
    assert!(line.contains("|read|20"), "{line}");
}

async fn hours(place: &pglens_e2e::Place) {
    // Hours that ended an hour ago and begin again tomorrow.
    let now = Utc::now();
    let at = |hours: i64| (now + TimeDelta::hours(hours)).format("%H:%M").to_string();
    let window = |from: i64, until: i64| {
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        json!({"time_zone": "UTC", "windows": [{"days": days, "from": at(from), "until": at(until)}]})
    };
    let closed = GrantSpec {
        expires_at: now + TimeDelta::days(9),
        more: vec![("schedule", window(-3, -1))],
        ..GrantSpec::write()
    };
    let (person, grant_id) = place.granted("early", &closed).await;
    let login = place.login(&person);
    let refused = login.try_connect().await.unwrap_err();
    let error = db_error(&refused);
    assert_eq!((error.severity(), error.code().code()), ("FATAL", "42501"));
    let detail = error.detail().unwrap();
    assert!(
        detail.contains(&format!("hours of grant {grant_id} are mon,")),
        "{detail}"
    );
    let tomorrow = (now + TimeDelta::hours(21)).format("They begin again at %Y-%m-%dT%H:%M:00Z");
    assert!(detail.contains(&tomorrow.to_string()), "{detail}");
    let wrong = login
        .with_user(&person.name, "wrong")
        .try_connect()
        .await
        .unwrap_err();
    assert_eq!(
        db_error(&wrong).code().code(),
        "28P01",
        "only after the proof"
    );

    // A grant whose hours are now wins, although the other would let in for longer.
    let open = GrantSpec {
        more: vec![("schedule", window(-1, 1))],
        ..GrantSpec::read()
    };
    let open_id = place.api.grant(&person, place.database_id, &open).await;
    let client = login.connect().await;
    let row = client.query_one("show pglens.grant", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>("grant_id"), open_id);
    assert!(
        row.get::<_, Option<chrono::DateTime<Utc>>>("hours_end_at")
            .is_some()
    );
    drop(client);

    let bad = json!({
        "user_id": person.id, "database_id": place.database_id, "access_level": "read",
        "expires_at": (now + TimeDelta::hours(1)).to_rfc3339(),
        "schedule": {"time_zone": "Mars/Olympus", "windows": []}
    });
    let (status, answer) = place
        .api
        .try_send(reqwest::Method::POST, "/api/grants", Some(&bad))
        .await
        .unwrap();
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("schedule.time_zone"),
        "{answer}"
    );
}

async fn statement_timeout(place: &pglens_e2e::Place) {
    let spec = GrantSpec {
        more: vec![("statement_timeout_ms", json!(700))],
        ..GrantSpec::write()
    };
    let (person, grant_id) = place.granted("slow", &spec).await;
    let client = place.login(&person).connect().await;
    let sleeps = async |what: &str, seconds: u32| {
        let since = Instant::now();
        let ended = client
            .batch_execute(&format!("select pg_sleep({seconds})"))
            .await;
        let error = ended.expect_err(what);
        assert_eq!(db_error(&error).code().code(), "57014", "{what}: {error:?}");
        (
            since.elapsed(),
            db_error(&error).detail().map(str::to_owned),
        )
    };
    let setting = async || -> String {
        client
            .query_one("show statement_timeout", &[])
            .await
            .unwrap()
            .get(0)
    };
    sleeps("as the session began", 20).await;
    client
        .batch_execute("set statement_timeout = 0")
        .await
        .unwrap();
    assert_eq!(setting().await, "700ms", "it is not switched off");
    client
        .batch_execute("set statement_timeout = '1 h'")
        .await
        .unwrap();
    assert_eq!(setting().await, "700ms", "nor raised");
    client
        .batch_execute("set statement_timeout = 300")
        .await
        .unwrap();
    assert_eq!(setting().await, "300ms", "but lowered");
    client
        .batch_execute("reset statement_timeout")
        .await
        .unwrap();
    assert_eq!(setting().await, "700ms");
    // What is not seen is of no use.
    client
        .batch_execute("select set_config('statement_timeout', '0', false)")
        .await
        .unwrap();
    assert_eq!(setting().await, "0");
    let (took, detail) = sleeps("by the proxy's own clock", 20).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(
        detail.unwrap(),
        format!("Grant {grant_id} sets that limit.")
    );
    client.batch_execute("select 'goes on'").await.unwrap();
    drop(client);
    let recorded = place.api.recorded(&person, 1).await;
    let cancelled = recorded
        .iter()
        .filter(|one| one.sqlstate == "57014")
        .count();
    assert_eq!(cancelled, 2, "{recorded:?}");
    assert!(
        recorded
            .iter()
            .any(|one| one.sql == "set statement_timeout = 0")
    );
}

async fn several_grants(place: &pglens_e2e::Place) {
    let narrow = GrantSpec {
        more: vec![("max_connections", json!(2))],
        ..GrantSpec::write()
    };
    let (person, write_id) = place.granted("holder", &narrow).await;
    let longer = GrantSpec {
        expires_at: Utc::now() + TimeDelta::days(3),
        ..GrantSpec::read()
    };
    place.api.grant(&person, place.database_id, &longer).await;
    let login = place.login(&person);
    let first = login.connect().await;
    let row = first.query_one("show pglens.grant", &[]).await.unwrap();
    assert_eq!(
        row.get::<_, i64>("grant_id"),
        write_id,
        "the highest level wins"
    );
    let _second = login.connect().await;
    let refused = login.try_connect().await.unwrap_err();
    let error = db_error(&refused);
    assert_eq!(error.code().code(), "53300");
    assert_eq!(
        error.detail().unwrap(),
        format!("Grant {write_id} allows 2 at once, over all proxies.")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_under_a_grant_are_counted_over_the_fleet() {
    let fleet = Fleet::start().await;
    let spec = GrantSpec {
        more: vec![("max_connections", json!(5))],
        ..GrantSpec::write()
    };
    let (person, _) = fleet.place.granted("crowd", &spec).await;
    let login = fleet.place.login(&person);
    let connecting = (0..20).map(|number| {
        let login = fleet.data_planes[number % 2].login(&login);
        async move { login.try_connect().await }
    });
    let connected = futures_util::future::join_all(connecting).await;
    let (inside, refused): (Vec<_>, Vec<_>) = connected.into_iter().partition(Result::is_ok);
    assert_eq!(inside.len(), 5);
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(db_error(&error).code().code(), "53300");
    }
}
