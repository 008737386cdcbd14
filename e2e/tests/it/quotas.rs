//! Quotas over a fleet: many sessions on several proxies and control planes race for one grant, and the target's own log
//! says what was let through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, pin_mut};
use nix::sys::signal::Signal;
use pglens_e2e::{
    Fleet, FleetOptions, GrantSpec, Login, Person, client::db_error, eventually, step,
};
use tokio_postgres::Client;

const SESSIONS: usize = 100;
/// One of the statements that are counted.
const RACE: &str = "select 'quota race'";
const ROW_TEXT_BYTES: u64 = 1000;
/// Type, length, number of columns, length of the column.
const ROW_BYTES: u64 = ROW_TEXT_BYTES + 1 + 4 + 2 + 4;

fn options() -> FleetOptions {
    let settings = [("max_connections", "300")];
    FleetOptions {
        data_planes: 3,
        target_settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..FleetOptions::default()
    }
}

/// A write grant, whose user may do `max_queries` statements or get `max_bytes`.
async fn granted(
    fleet: &Fleet,
    role: &str,
    max_queries: Option<u64>,
    max_bytes: Option<u64>,
) -> (Person, i64) {
    let spec = GrantSpec {
        max_queries,
        max_bytes,
        ..GrantSpec::write()
    };
    fleet.place.granted(role, &spec).await
}

fn login_at(fleet: &Fleet, person: &Person, number: usize) -> Login {
    let proxy = &fleet.data_planes[number % fleet.data_planes.len()];
    proxy.login(&fleet.place.login(person))
}

async fn connected(fleet: &Fleet, person: &Person, count: usize) -> Vec<Client> {
    // A login costs a proof on both sides: a hundred at once would be a test of that.
    const AT_ONCE: usize = 8;
    let connecting = (0..count).map(|number| {
        let login = login_at(fleet, person, number);
        async move { login.connect().await }
    });
    futures_util::stream::iter(connecting)
        .buffered(AT_ONCE)
        .collect()
        .await
}

fn executed(fleet: &Fleet, person: &Person) -> usize {
    let executed = fleet.place.target.executed(person);
    executed
        .iter()
        .filter(|text| text.contains("quota race"))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_sessions_on_three_proxies_share_a_quota_to_its_end() {
    let fleet = Fleet::start_with(options()).await;
    step("statements", statements(&fleet)).await;
    step("bytes", bytes(&fleet)).await;
    step("copied bytes", copied_bytes(&fleet)).await;
}

async fn statements(fleet: &Fleet) {
    let (person, grant_id) = granted(fleet, "racer", Some(1000), None).await;
    let clients = connected(fleet, &person, SESSIONS).await;
    let racing = clients.iter().map(|client| async move {
        let mut succeeded = 0;
        loop {
            match client.batch_execute(RACE).await {
                Ok(()) => succeeded += 1,
                Err(error) => {
                    let error = db_error(&error);
                    assert_eq!((error.severity(), error.code().code()), ("ERROR", "53400"));
                    // A machine that is too busy to call back in time says so; then it is tried again.
                    if error.message().contains("is spent") {
                        return succeeded;
                    }
                }
            }
        }
    });
    let succeeded: Vec<usize> = join_all(racing).await;
    assert_eq!(succeeded.iter().sum::<usize>(), 1000);
    assert_eq!(executed(fleet, &person), 1000);
    assert!(clients.iter().all(|client| !client.is_closed()));
    for client in &clients[..6] {
        let refused = client.batch_execute(RACE).await.unwrap_err();
        assert_eq!(db_error(&refused).code().code(), "53400");
    }
    let grant = fleet
        .place
        .api
        .get(&format!("/api/grants/{grant_id}"))
        .await;
    assert_eq!(grant["queries_used"], 1000, "{grant}");
    drop(clients);
    let refused = login_at(fleet, &person, 1).try_connect().await.unwrap_err();
    assert_eq!(db_error(&refused).code().code(), "53400");
    let recorded = fleet.place.api.recorded(&person, SESSIONS).await;
    let ran = recorded.iter().filter(|one| one.refusal.is_empty()).count();
    assert_eq!(ran, 1000, "the record agrees");
    assert!(recorded.len() >= 1000 + SESSIONS, "refusals are in it");
}

/// Rows until the session is ended for the quota.
async fn rows_until_spent(client: &Client, rows_at_once: u64) -> u64 {
    let sql =
        format!("select repeat('x', {ROW_TEXT_BYTES}) from generate_series(1, {rows_at_once})");
    let mut received = 0;
    loop {
        let none: [&str; 0] = [];
        let answer = match client.query_raw(&sql, none).await {
            Ok(answer) => answer,
            Err(error) => {
                assert_spent(&error);
                return received;
            }
        };
        pin_mut!(answer);
        while let Some(row) = answer.next().await {
            match row {
                Ok(_) => received += 1,
                Err(error) => {
                    assert_spent(&error);
                    return received;
                }
            }
        }
    }
}

fn assert_spent(error: &tokio_postgres::Error) {
    let error = db_error(error);
    assert_eq!(
        (error.severity(), error.code().code()),
        ("FATAL", "53400"),
        "{error:?}"
    );
}

async fn bytes(fleet: &Fleet) {
    const MAX: u64 = 2_000_000;
    let (person, grant_id) = granted(fleet, "eater", None, Some(MAX)).await;
    let clients = connected(fleet, &person, 40).await;
    let eating = clients.iter().map(|client| rows_until_spent(client, 7));
    let received: u64 = join_all(eating).await.into_iter().sum();
    assert_eq!(received, MAX / ROW_BYTES, "not one more, and not one less");
    eventually("the target stops", || async {
        let sql = format!(
            "select count(*) from pg_stat_activity where application_name like 'pglens/{}%'",
            person.name
        );
        let seen = fleet.place.target.value(&sql).await;
        if seen == "0" { Ok(()) } else { Err(seen) }
    })
    .await;
    let _all_ended = fleet.place.api.ended_connections(&person, 40).await;
    let grant = fleet
        .place
        .api
        .get(&format!("/api/grants/{grant_id}"))
        .await;
    assert_eq!(grant["bytes_used"], MAX / ROW_BYTES * ROW_BYTES, "{grant}");
}

async fn copied_bytes(fleet: &Fleet) {
    const MAX: u64 = 5_000_000;
    let (person, _) = granted(fleet, "copier", None, Some(MAX)).await;
    let clients = connected(fleet, &person, 3).await;
    let copying = clients.iter().map(|client| async move {
        let sql = "copy (select repeat('x', 999) from generate_series(1, 1000000)) to stdout";
        let stream = client.copy_out(sql).await.unwrap();
        pin_mut!(stream);
        let mut received = 0;
        loop {
            match stream.next().await {
                // Type and length come on top of the line.
                Some(Ok(line)) => received += line.len() as u64 + 5,
                Some(Err(error)) => {
                    assert_spent(&error);
                    return received;
                }
                None => panic!("a million lines are more than the quota"),
            }
        }
    });
    let received: u64 = join_all(copying).await.into_iter().sum();
    assert!(received <= MAX && received > MAX - 1005, "{received}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_and_partitions_never_lead_above_a_quota() {
    let mut fleet = Fleet::start_with(options()).await;
    let max = 1500;
    let (person, _) = granted(&fleet, "survivor", Some(max), None).await;
    let done = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(25);
    let racers: Vec<_> = (0..30)
        .map(|number| {
            let login = login_at(&fleet, &person, number);
            let done = Arc::clone(&done);
            tokio::spawn(race_on(login, done, deadline))
        })
        .collect();
    step("chaos", chaos(&mut fleet, deadline)).await;
    for racer in racers {
        racer.await.unwrap();
    }
    let executed = executed(&fleet, &person) as u64;
    eprintln!(
        "executed {executed} of {max}, {} seen by clients",
        done.load(Ordering::Relaxed)
    );
    assert!(executed <= max, "{executed} statements reached the target");
    assert!(
        executed > max / 3,
        "{executed}: the race did not take place"
    );
}

/// Runs statements, connecting again whenever the session is gone, until the time is over or the quota is spent.
async fn race_on(login: Login, done: Arc<AtomicU64>, deadline: Instant) {
    while Instant::now() < deadline {
        let Ok(client) = login.try_connect().await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        while Instant::now() < deadline {
            match client.batch_execute(RACE).await {
                Ok(()) => _ = done.fetch_add(1, Ordering::Relaxed),
                Err(_) if client.is_closed() => break,
                Err(_refused) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Kills and stops planes in turns, and lets them come back.
async fn chaos(fleet: &mut Fleet, deadline: Instant) {
    let pause = || tokio::time::sleep(Duration::from_millis(1300));
    let mut turn = 0;
    while Instant::now() + Duration::from_secs(4) < deadline {
        pause().await;
        let proxy = turn % fleet.data_planes.len();
        let control = turn % fleet.control_planes.len();
        match turn % 4 {
            0 => {
                let plane = &mut fleet.data_planes[proxy];
                plane.process.signal(Signal::SIGKILL);
                plane.process.wait(Duration::from_secs(5));
                plane.restart();
            }
            1 => {
                let plane = &mut fleet.control_planes[control];
                plane.process.signal(Signal::SIGKILL);
                plane.process.wait(Duration::from_secs(5));
                pause().await;
                plane.restart();
            }
            2 => {
                let process = &mut fleet.control_planes[control].process;
                process.signal(Signal::SIGSTOP);
                pause().await;
                process.signal(Signal::SIGCONT);
            }
            _ => {
                let process = &mut fleet.data_planes[proxy].process;
                process.signal(Signal::SIGSTOP);
                pause().await;
                process.signal(Signal::SIGCONT);
            }
        }
        turn += 1;
    }
}
