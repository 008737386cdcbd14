//! Access that ends while a statement runs.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use pglens_e2e::{
    GrantSpec, Login, Person, Place, Stack, StackOptions, client::db_error, eventually, step,
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::refusals::assert_tells_nothing;

/// Within which a connected proxy ends what was ended at a control plane.
const REACH: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoke_kill_expiry_and_disabling_end_a_running_statement() {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    step("revoked", revoked(&place)).await;
    step("killed", killed(&place)).await;
    step("disabled", disabled(&place)).await;
    step("expired", expired(&place)).await;
    step(
        "idle session is ended too",
        idle_session_is_ended_too(&place),
    )
    .await;
}

/// A statement that would run for a minute, and how it ended when.
pub(crate) struct Sleeper {
    running: JoinHandle<(tokio_postgres::Error, Instant)>,
}

impl Sleeper {
    /// Starts it and waits until the target runs it.
    pub(crate) async fn start(place: &Place, person: &Person, login: &Login) -> Self {
        let client = login.connect().await;
        let running = tokio::spawn(async move {
            let error = client
                .batch_execute("select pg_sleep(60)")
                .await
                .unwrap_err();
            (error, Instant::now())
        });
        wait_for_sleepers(place, person, 1).await;
        Self { running }
    }

    /// Wants it ended by PgLens within `limit` of `since`, and gone from the target.
    pub(crate) async fn ended(
        self,
        place: &Place,
        person: &Person,
        since: Instant,
        limit: Duration,
    ) {
        let (error, at) = self.running.await.unwrap();
        let error = db_error(&error);
        assert_eq!(
            (error.severity(), error.code().code()),
            ("FATAL", "57P01"),
            "{error:?}"
        );
        assert_tells_nothing(place, error);
        let took = at.saturating_duration_since(since);
        assert!(took < limit, "took {took:?}: {error:?}");
        wait_for_sleepers(place, person, 0).await;
    }
}

/// Waits until exactly `count` sessions of the person sleep at the target.
pub(crate) async fn wait_for_sleepers(place: &Place, person: &Person, count: usize) {
    let sql = format!(
        "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' \
         and application_name like 'pglens/{}%'",
        person.name
    );
    eventually(&format!("{count} sleepers"), || async {
        let seen = place.target.value(&sql).await;
        if seen == count.to_string() {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
}

async fn revoked(place: &Place) {
    let (person, grant_id) = place.granted("revoked", &GrantSpec::write()).await;
    let login = place.login(&person);
    let sleeper = Sleeper::start(place, &person, &login).await;
    let since = Instant::now();
    place.api.revoke(grant_id).await;
    sleeper.ended(place, &person, since, REACH).await;
    let refused = login.try_connect().await.unwrap_err();
    assert_eq!(db_error(&refused).code().code(), "42501");

    let connection = &place.api.ended_connections(&person, 1).await[0];
    assert_eq!(connection["sqlstate"], "57P01", "{connection}");
    assert_eq!(connection["audit_complete"], true, "{connection}");
    let recorded = place.api.recorded(&person, 1).await;
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_ne!(recorded[0].sqlstate, "", "{recorded:?}");
}

async fn killed(place: &Place) {
    let (person, login) = place.writer("killed").await;
    let sleeper = Sleeper::start(place, &person, &login).await;
    let connection = place.api.connections(&person).await.remove(0);
    assert!(connection["ended_at"].is_null(), "{connection}");
    let since = Instant::now();
    place
        .api
        .delete(&format!(
            "/api/connections/{}",
            connection["id"].as_str().unwrap()
        ))
        .await;
    sleeper.ended(place, &person, since, REACH).await;
    // The grant still holds.
    login
        .connect()
        .await
        .batch_execute("select 1")
        .await
        .unwrap();
}

async fn disabled(place: &Place) {
    let (person, login) = place.writer("disabled").await;
    let sleeper = Sleeper::start(place, &person, &login).await;
    let since = Instant::now();
    place
        .api
        .update(
            &format!("/api/users/{}", person.id),
            json!({"is_disabled": true}),
        )
        .await;
    sleeper.ended(place, &person, since, REACH).await;
    let refused = login.try_connect().await.unwrap_err();
    assert_eq!(
        db_error(&refused).code().code(),
        "28P01",
        "as if the password were wrong"
    );
}

async fn expired(place: &Place) {
    // Long enough to log in and start the statement on a busy machine.
    let lasts = TimeDelta::seconds(4);
    let expires_at = Utc::now() + lasts;
    let (person, _) = place
        .granted(
            "expiring",
            &GrantSpec {
                expires_at,
                ..GrantSpec::write()
            },
        )
        .await;
    let login = place.login(&person);
    let sleeper = Sleeper::start(place, &person, &login).await;
    let left = (expires_at - Utc::now())
        .to_std()
        .expect("the statement started before the expiry");
    let expiry = Instant::now() + left;
    sleeper.ended(place, &person, expiry, REACH).await;
    assert!(Utc::now() >= expires_at, "not before its time");
    let refused = login.try_connect().await.unwrap_err();
    assert_eq!(db_error(&refused).code().code(), "42501");
}

async fn idle_session_is_ended_too(place: &Place) {
    let (person, grant_id) = place.granted("idle", &GrantSpec::read()).await;
    let client = place.login(&person).connect().await;
    client.batch_execute("select 1").await.unwrap();
    place.api.revoke(grant_id).await;
    eventually("the idle connection closes", || async {
        if client.is_closed() {
            Ok(())
        } else {
            Err("open".to_owned())
        }
    })
    .await;
    let connection = &place.api.ended_connections(&person, 1).await[0];
    assert_eq!(connection["sqlstate"], "57P01", "{connection}");
}
