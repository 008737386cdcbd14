//! The audit level `strict`, when everything that knew of a statement is lost but the storage database.

use std::time::Duration;

use nix::sys::signal::Signal;
use pglens_e2e::{Fleet, FleetOptions, GrantSpec, eventually};
use serde_json::json;

use crate::load::{Load, LoadOptions};
use crate::oracle::{Closed, exactly_once};

const ROUNDS: u64 = 3;
const STATEMENTS_OF_A_ROUND: u64 = 300;
const LEASE: &str = "15";
/// For a process to be gone that was killed.
const END_LIMIT: Duration = Duration::from_secs(10);
/// The lease, until the control plane gives a silent proxy up, and a busy machine.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ran_is_on_record_though_both_planes_die_at_once_and_the_spool_is_lost() {
    let mut fleet = Fleet::start_with(FleetOptions {
        control_planes: 1,
        data_planes: 1,
        control_settings: vec![("PGL_LEASE_SECONDS", LEASE.to_owned())],
        ..FleetOptions::default()
    })
    .await;
    let strict = GrantSpec {
        more: vec![("audit_level", json!("strict"))],
        ..GrantSpec::write()
    };
    let (person, _) = fleet.place.granted("strict_lost", &strict).await;
    let login = fleet.place.login(&person);
    let load = Load::start(&[login], &LoadOptions::default());
    for round in 1..=ROUNDS {
        eventually("enough was run", || async {
            match load.counts().0 {
                run if run >= round * STATEMENTS_OF_A_ROUND => Ok(()),
                run => Err(format!("{run} statements")),
            }
        })
        .await;
        let (data, control) = (&mut fleet.data_planes[0], &mut fleet.control_planes[0]);
        data.process.signal(Signal::SIGKILL);
        control.process.signal(Signal::SIGKILL);
        data.process.wait(END_LIMIT);
        control.process.wait(END_LIMIT);
        data.lose_spool();
        control.restart();
        control.ready().await;
        data.restart();
        data.ready().await;
    }
    let answers = load.stop().await;
    eprintln!("{answers:?}");
    let account = exactly_once(&fleet.place, &person, Closed::All, SETTLE_LIMIT).await;
    eprintln!("{account:?}");
    assert!(
        account.executed as u64 >= ROUNDS * STATEMENTS_OF_A_ROUND,
        "{account:?}"
    );
    assert!(
        account.incomplete > 0,
        "it hides what it cannot know: {account:?}"
    );
}
