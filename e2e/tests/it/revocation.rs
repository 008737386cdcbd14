//! How fast access ends on every proxy, whatever the reason and whatever the session does, and that nothing follows.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, pin_mut};
use nix::sys::signal::Signal;
use pglens_e2e::{Fleet, FleetOptions, GrantSpec, Login, Person, Tap, eventually, step};
use serde_json::json;
use tokio_postgres::Client;

/// Within which a change reaches every connected proxy.
const REACH: Duration = Duration::from_secs(1);
/// How late a lease may be noticed to be over, on a machine that does many other things.
const LEASE_REACH: Duration = Duration::from_secs(5);
/// Of each kind but the flooded, for each reason: one on each proxy.
const SESSIONS: usize = 3;

/// What a session is doing when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    /// Rows come as slowly as they are made.
    Streaming,
    InTransaction,
    /// Rows come faster than they are read: what the proxy's system has not delivered soon, the reason among it, is taken
    /// back.
    Flooded,
}

struct Session {
    tap: Tap,
    // The session ends with it.
    _client: Option<Client>,
}

impl Session {
    async fn start(fleet: &Fleet, person: &Person, number: usize, doing: Doing) -> Self {
        let proxy = &fleet.data_planes[number % fleet.data_planes.len()];
        let tap = Tap::start(proxy.proxy.clone()).await;
        let login = Login {
            host: tap.address.ip().to_string(),
            port: tap.address.port(),
            ..fleet.place.login(person)
        };
        let client = login.connect().await;
        let client = match doing {
            Doing::Nothing => Some(client),
            Doing::InTransaction => {
                client.batch_execute("begin; select 1").await.unwrap();
                Some(client)
            }
            Doing::Streaming => {
                stream(
                    client,
                    "select pg_sleep(0.005), generate_series(1, 100000000)",
                )
                .await;
                None
            }
            Doing::Flooded => {
                // In FROM the series would be made, and written to the disk, before the first row.
                let rows = "select repeat('x', 500), generate_series(1, 100000000)";
                stream(client, rows).await;
                None
            }
        };
        Self {
            tap,
            _client: client,
        }
    }
}

/// Reads rows without end in the background; returns when they flow.
async fn stream(client: Client, sql: &'static str) {
    let (began, begun) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let none: [&str; 0] = [];
        let rows = client.query_raw(sql, none).await.unwrap();
        pin_mut!(rows);
        rows.next().await.unwrap().unwrap();
        began.send(()).unwrap();
        while let Some(Ok(_)) = rows.next().await {}
    });
    begun.await.unwrap();
}

fn options() -> FleetOptions {
    FleetOptions {
        data_planes: 3,
        target_settings: vec![("max_connections".to_owned(), "200".to_owned())],
        ..FleetOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_access_ends_every_session_within_a_second_and_nothing_follows() {
    let fleet = Fleet::start_with(options()).await;
    let mut took = Vec::new();
    for (number, reason) in [
        "revoked",
        "user disabled",
        "user deleted",
        "password changed",
        "killed",
        "database disabled",
    ]
    .into_iter()
    .enumerate()
    {
        let ended = step(reason, ends(&fleet, reason, number)).await;
        assert_reached_in_time(reason, &ended);
        took.extend(ended);
    }

    eventually("both control planes measure their proxies", || async {
        let mut measured = 0;
        for plane in &fleet.control_planes {
            let metrics = plane.metrics().await;
            measured += sum(&metrics, "pglens_termination_seconds_count");
        }
        if measured == took.len() {
            Ok(())
        } else {
            Err(format!("{measured} of {} measured", took.len()))
        }
    })
    .await;
}

#[track_caller]
fn assert_reached_in_time(reason: &str, ended: &[(Doing, Duration)]) {
    let mut took: Vec<Duration> = ended.iter().map(|(_, took)| *took).collect();
    took.sort_unstable();
    // The nearest rank: of less than a hundred, the 99th percentile is the slowest.
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100) - 1];
    eprintln!(
        "{reason}: {} sessions ended, p50 {:?}, p99 {:?}",
        took.len(),
        at(50),
        at(99)
    );
    assert!(at(99) <= REACH, "{reason}: {ended:?}");
}

/// The values of the lines that begin with `name`, together.
fn sum(metrics: &str, name: &str) -> usize {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    let values = lines.map(|line| line.rsplit(' ').next().unwrap());
    values.map(|value| value.parse::<usize>().unwrap()).sum()
}

/// Starts sessions of every kind, ends them for `reason`, and tells how long each took.
async fn ends(fleet: &Fleet, reason: &str, number: usize) -> Vec<(Doing, Duration)> {
    let (person, grant_id) = fleet.place.granted("leaver", &GrantSpec::write()).await;
    let kinds = [
        Doing::Nothing,
        Doing::Streaming,
        Doing::InTransaction,
        Doing::Flooded,
    ];
    // One is flooded: the record of more would keep the machine busy.
    let count = SESSIONS * (kinds.len() - 1) + 1;
    let starting = (0..count)
        .map(|index| Session::start(fleet, &person, index + number, kinds[index / SESSIONS]));
    let sessions = join_all(starting).await;
    // Either control plane may be asked.
    let api = &fleet.control_planes[number % fleet.control_planes.len()].api;
    let user = format!("/api/users/{}", person.id);
    let database = format!("/api/databases/{}", fleet.place.database_id);
    let connections = fleet.place.api.connections(&person).await;
    let since = Instant::now();
    match reason {
        "revoked" => api.revoke(grant_id).await,
        "user disabled" => _ = api.update(&user, json!({"is_disabled": true})).await,
        "user deleted" => api.delete(&user).await,
        "password changed" => _ = api.update(&user, json!({"password": "another one"})).await,
        "database disabled" => _ = api.update(&database, json!({"is_disabled": true})).await,
        "killed" => {
            let kill = connections.iter().map(|one| async move {
                api.delete(&format!("/api/connections/{}", one["id"].as_str().unwrap()))
                    .await;
            });
            join_all(kill).await;
        }
        other => panic!("{other}"),
    }
    let mut took = Vec::new();
    for (index, session) in sessions.iter().enumerate() {
        let said = eventually("the session ends", || async {
            let said = session.tap.said();
            if said.ended.is_some() {
                Ok(said)
            } else {
                Err(format!("{reason}: still open"))
            }
        })
        .await;
        let doing = kinds[index / SESSIONS];
        match said.fatal {
            Some(fatal) => assert!(fatal.contains("57P01"), "{reason}: {fatal:?}"),
            None => assert_eq!(doing, Doing::Flooded, "{reason}: no FATAL"),
        }
        assert_eq!(said.bytes_after_fatal, 0, "{reason}");
        let after = said.ended.unwrap().saturating_duration_since(since);
        took.push((doing, after));
    }
    nothing_runs(fleet, &person).await;
    let ended = fleet
        .place
        .api
        .ended_connections(&person, sessions.len())
        .await;
    for connection in ended {
        let why = connection["end_reason"].as_str().unwrap();
        let expected = reason.replace(' ', "_").replace("deleted", "disabled");
        assert_eq!(why, expected);
        assert_eq!(connection["sqlstate"], "57P01");
    }
    took
}

async fn nothing_runs(fleet: &Fleet, person: &Person) {
    let sql = format!(
        "select count(*) from pg_stat_activity where application_name like 'pglens/{}:%'",
        person.name
    );
    eventually("the target is rid of the sessions", || async {
        let seen = fleet.place.target.value(&sql).await;
        if seen == "0" { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_cut_off_ends_its_sessions_with_their_lease() {
    let lease = Duration::from_secs(15);
    let mut fleet = Fleet::start_with(FleetOptions {
        control_settings: vec![("PGL_LEASE_SECONDS", lease.as_secs().to_string())],
        ..FleetOptions::default()
    })
    .await;
    let (person, _) = fleet.place.granted("islander", &GrantSpec::write()).await;
    let sessions = [
        Session::start(&fleet, &person, 0, Doing::Nothing).await,
        Session::start(&fleet, &person, 1, Doing::Streaming).await,
    ];
    for plane in &mut fleet.control_planes {
        plane.process.signal(Signal::SIGKILL);
    }
    let since = Instant::now();
    for session in &sessions {
        let said = eventually("the session ends with its lease", || async {
            let said = session.tap.said();
            if said.ended.is_some() {
                Ok(said)
            } else {
                Err("open".to_owned())
            }
        })
        .await;
        let took = said.ended.unwrap().saturating_duration_since(since);
        assert!(took < lease + LEASE_REACH, "{took:?}");
        assert!(
            took > lease / 2,
            "{took:?}: it goes on without a control plane for a while"
        );
        let fatal = said.fatal.unwrap();
        assert!(
            fatal.contains("57P01") && fatal.contains("no control plane confirms it"),
            "{fatal:?}"
        );
        assert_eq!(said.bytes_after_fatal, 0);
    }
}
