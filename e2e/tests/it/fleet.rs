//! Two control planes and two data planes: the same end-to-end test, and what only several can get wrong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pglens_e2e::{
    Fleet, GrantSpec, Login, Person, client::db_error, eventually, fleet::ADMIN, step,
};

use crate::endings::Sleeper;
use crate::refusals::assert_tells_nothing;
use crate::{psql, sample};

/// Within which a change reaches every connected proxy.
const REACH: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_planes_are_one_installation() {
    let mut fleet = Fleet::start().await;
    sample::create(&fleet.place).await;
    step("reader", psql::reader(&fleet.place)).await;
    step("both proxies take part", both_proxies_take_part(&fleet)).await;
    step(
        "a change at one control plane reaches every proxy",
        a_change_at_one_control_plane_reaches_every_proxy(&fleet),
    )
    .await;
    step("one control plane dies", one_control_plane_dies(&mut fleet)).await;
    step("all control planes die", all_control_planes_die(&mut fleet)).await;
}

/// `login` at one proxy instead of at the balancer.
fn at(fleet: &Fleet, proxy: usize, person: &Person) -> Login {
    let (host, port) = fleet.data_planes[proxy].proxy.rsplit_once(':').unwrap();
    Login {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        ..fleet.place.login(person)
    }
}

async fn both_proxies_take_part(fleet: &Fleet) {
    let (person, login) = fleet.place.reader("balanced").await;
    for n in 0..6 {
        login
            .connect()
            .await
            .batch_execute(&format!("select {n} as turn"))
            .await
            .unwrap();
    }
    let recorded = fleet.place.api.recorded(&person, 6).await;
    let texts: BTreeSet<&str> = recorded.iter().map(|record| record.sql.as_str()).collect();
    assert_eq!(texts.len(), 6, "{texts:?}");
    let connections = fleet.place.api.connections(&person).await;
    let proxies: BTreeSet<_> = connections
        .iter()
        .map(|one| one["proxy"].as_str().unwrap())
        .collect();
    assert_eq!(proxies, BTreeSet::from(["proxy-1", "proxy-2"]));
    // Both control planes tell the same.
    let other = fleet.control_planes[1].api.connections(&person).await;
    assert_eq!(connections, other);
}

async fn a_change_at_one_control_plane_reaches_every_proxy(fleet: &Fleet) {
    for control_plane in &fleet.control_planes {
        for proxy in 0..fleet.data_planes.len() {
            let (person, grant_id) = fleet.place.granted("crossing", &GrantSpec::write()).await;
            let sleeper = Sleeper::start(&fleet.place, &person, &at(fleet, proxy, &person)).await;
            let since = Instant::now();
            control_plane.api.revoke(grant_id).await;
            sleeper.ended(&fleet.place, &person, since, REACH).await;
        }
    }
}

async fn one_control_plane_dies(fleet: &mut Fleet) {
    let (person, grant_id) = fleet.place.granted("survivor", &GrantSpec::write()).await;
    let sessions = [
        at(fleet, 0, &person).connect().await,
        at(fleet, 1, &person).connect().await,
    ];
    let died = &mut fleet.control_planes[0].process;
    died.signal(Signal::SIGKILL);
    died.wait(Duration::from_secs(5));
    fleet.place.api = fleet.control_planes[1].api.clone();

    for session in &sessions {
        session.batch_execute("select 'still here'").await.unwrap();
    }
    let (newcomer, login) = fleet.place.reader("newcomer").await;
    for proxy in 0..2 {
        let client = at(fleet, proxy, &newcomer).connect().await;
        client.batch_execute("select 'welcome'").await.unwrap();
    }
    login
        .connect()
        .await
        .batch_execute("select 'welcome'")
        .await
        .unwrap();
    let recorded = fleet.place.api.recorded(&newcomer, 3).await;
    assert_eq!(recorded.len(), 3, "{recorded:?}");

    fleet.place.api.revoke(grant_id).await;
    eventually("both sessions end", || async {
        let open = sessions
            .iter()
            .filter(|session| !session.is_closed())
            .count();
        if open == 0 {
            Ok(())
        } else {
            Err(format!("{open} open"))
        }
    })
    .await;
    let recorded = fleet.place.api.recorded(&person, 2).await;
    assert_eq!(recorded.len(), 2, "{recorded:?}");
}

async fn all_control_planes_die(fleet: &mut Fleet) {
    let (person, login) = fleet.place.reader("alone").await;
    let session = login.connect().await;
    let last = &mut fleet.control_planes[1].process;
    last.signal(Signal::SIGKILL);
    last.wait(Duration::from_secs(5));
    session
        .batch_execute("select 'within the lease'")
        .await
        .unwrap();
    for proxy in 0..2 {
        let refused = at(fleet, proxy, &person).try_connect().await.unwrap_err();
        let error = db_error(&refused);
        assert_eq!(
            (error.severity(), error.code().code()),
            ("FATAL", "57P03"),
            "{error:?}"
        );
        assert_tells_nothing(&fleet.place, error);
    }
    session.batch_execute("select 'still'").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_well_known_password_is_good_for_the_api_only() {
    let fleet = Fleet::start().await;
    let me = fleet.place.api.get("/api/me").await;
    assert_eq!(me["username"], ADMIN.0, "{me}");
    let users = fleet.place.api.list("/api/users", "users").await;
    let id = users
        .iter()
        .find(|user| user["username"] == ADMIN.0)
        .unwrap()["id"]
        .as_i64()
        .unwrap();
    let admin = Person {
        id,
        name: ADMIN.0.to_owned(),
        password: ADMIN.1.to_owned(),
    };
    fleet
        .place
        .api
        .grant(&admin, fleet.place.database_id, &GrantSpec::read())
        .await;
    let login = fleet.place.login(&admin);
    let refused = login.try_connect().await.unwrap_err();
    let error = db_error(&refused);
    assert_eq!(
        (error.severity(), error.code().code()),
        ("FATAL", "42501"),
        "{error:?}"
    );
    assert!(
        error.message().contains("default password"),
        "says why: {error:?}"
    );

    let changed = serde_json::json!({"password": "no longer well known"});
    fleet
        .place
        .api
        .update(&format!("/api/users/{id}"), changed)
        .await;
    let login = login.with_user(ADMIN.0, "no longer well known");
    login
        .connect()
        .await
        .batch_execute("select 1")
        .await
        .unwrap();
}
