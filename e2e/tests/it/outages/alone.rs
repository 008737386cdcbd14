//! A long time without a control plane, under load: sessions go on within their lease, their record grows in the spool
//! and is all there afterwards.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pglens_e2e::client::{Started, db_error};
use pglens_e2e::memory::MemoryWatch;
use pglens_e2e::{Fleet, FleetOptions, Login, eventually, program, wait};

use super::{SETTLE_LIMIT, drained, single};
use crate::load::MARKER;
use crate::oracle::{Closed, exactly_once};

/// How long it is away, unless the person who runs the test wants longer.
const SHORT: Duration = Duration::from_secs(15);
/// Within which the control plane is killed, and comes back, and pgbench ends.
const AROUND: Duration = Duration::from_secs(5);
const CLIENTS: u32 = 4;
const TRANSACTIONS_PER_SECOND: u32 = 150;
/// Of two statements; their numbers make them different from all others.
const TRANSACTION: [&str; 3] = [
    "\\set n random(1, 1000000000000000000)",
    "select :n, 'X one';",
    "select :n, 'X two', repeat('x', 500);",
];
/// Looks at the spool during the outage.
const LOOKS: u32 = 5;
/// What a data plane of a build with debug assertions takes under this load, several times over; a gigabyte of records
/// in memory would be beyond it.
const MEMORY_LIMIT: u64 = 256 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_run_without_a_control_plane_is_recorded_once_when_it_is_back() {
    let outage = program::soak_duration().unwrap_or(SHORT);
    let lease = outage + 4 * AROUND;
    let mut fleet = Fleet::start_with(FleetOptions {
        control_settings: vec![("PGL_LEASE_SECONDS", lease.as_secs().to_string())],
        ..single()
    })
    .await;
    let (person, login) = fleet.place.writer("alone").await;
    let memory = MemoryWatch::start(&[fleet.data_planes[0].process.pid()]);
    let pgbench = start_pgbench(&fleet, &login, outage + AROUND).await;

    let control_plane = &mut fleet.control_planes[0];
    control_plane.process.signal(Signal::SIGKILL);
    control_plane.process.wait(AROUND);
    let spooled = grows(&fleet, &login, outage).await;
    fleet.control_planes[0].restart();
    fleet.control_planes[0].ready().await;

    let ran = pgbench.finish().await;
    let report = ran.success("pgbench");
    assert!(
        report.contains("number of failed transactions: 0 "),
        "{report}"
    );
    wait::within(SETTLE_LIMIT, "logins are possible again", || async {
        let client = login.try_connect().await;
        client.map(drop).map_err(|error| format!("{error:?}"))
    })
    .await;
    drained(&fleet).await;
    let account = exactly_once(&fleet.place, &person, Closed::All, SETTLE_LIMIT).await;
    let memory = memory.most();
    eprintln!("{account:?}, records in the spool: {spooled:?}, memory: {memory:?}");
    assert_eq!(
        (account.executed, account.incomplete),
        (account.recorded, 0)
    );
    assert!(memory[0] < MEMORY_LIMIT, "{memory:?}");
}

/// Returns once all its clients are logged in and at work.
async fn start_pgbench(fleet: &Fleet, login: &Login, lasts: Duration) -> Started {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("transaction.sql");
    std::fs::write(&script, TRANSACTION.join("\n").replace('X', MARKER)).unwrap();
    let (conninfo, script) = (login.conninfo(), script.to_str().unwrap().to_owned());
    let (clients, seconds) = (CLIENTS.to_string(), lasts.as_secs().to_string());
    let rate = TRANSACTIONS_PER_SECOND.to_string();
    let arguments = [
        ["-n", "-M", "simple", "-c", &clients, "-T", &seconds],
        ["-R", &rate, "--random-seed", "1", "-f", &script, &conninfo],
    ];
    let environment = [("PGPASSWORD", login.password.as_str())];
    let pgbench = Started::new("pgbench", arguments.as_flattened(), &environment, "");
    eventually("pgbench is at work", || async {
        let sessions = fleet.data_planes[0].metric("pglens_sessions_active").await;
        let statements = fleet
            .place
            .target
            .value("select count(*) from pg_stat_activity where query like '%marker-%'");
        match sessions == f64::from(CLIENTS) && statements.await.parse::<u32>().unwrap() >= CLIENTS
        {
            true => Ok(()),
            false => Err(format!("{sessions} sessions")),
        }
    })
    .await;
    pgbench
}

/// How many records were in the spool at each look. Nobody can log in meanwhile, and is told so.
async fn grows(fleet: &Fleet, login: &Login, outage: Duration) -> Vec<f64> {
    let begin = Instant::now();
    let mut spooled = Vec::new();
    for look in 1..=LOOKS {
        let refused = login.try_connect().await.unwrap_err();
        let error = db_error(&refused);
        assert_eq!(
            (error.severity(), error.code().code()),
            ("FATAL", "57P03"),
            "{error:?}"
        );
        let next = outage * look / LOOKS;
        tokio::time::sleep(next.saturating_sub(begin.elapsed())).await;
        spooled.push(
            fleet.data_planes[0]
                .metric("pglens_record_outbox_records")
                .await,
        );
    }
    assert!(spooled.is_sorted_by(|one, next| one < next), "{spooled:?}");
    spooled
}
