//! Networks are cut at random under load, in each way there is: the two planes, storage and the target are never
//! killed, so no session has an excuse for a gap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pglens_e2e::fleet::DataPlane;
use pglens_e2e::{Fleet, FleetOptions, Flow, GrantSpec, Link, program};
use serde_json::json;

use super::{SETTLE_LIMIT, chance, drained, single};
use crate::load::{Load, LoadOptions};
use crate::oracle::{Closed, exactly_once};

/// Between two cuts.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(800)];
/// How long one lasts.
const CUT: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(1500)];
/// How long one in ten lasts when there is time: longer than keep-alives wait.
const LONG_CUT: [Duration; 2] = [Duration::from_secs(12), Duration::from_secs(25)];
/// How long the test cuts, unless the person who runs it wants longer.
const SHORT: Duration = Duration::from_secs(12);
/// How much longer it cuts on a busy machine, until enough has been run to say anything.
const LONGER: Duration = Duration::from_secs(48);
/// Clients of each person.
const CLIENTS_OF_EACH: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_executed_is_recorded_once_whatever_network_is_cut() {
    let soak = program::soak_duration();
    let fleet = Fleet::start_with(FleetOptions {
        networks: true,
        ..single()
    })
    .await;
    let person = fleet.place.api.person("cut_off").await;
    let database = fleet.place.database_id;
    let strict = GrantSpec {
        more: vec![("audit_level", json!("strict"))],
        ..GrantSpec::write()
    };
    let (other, _) = fleet.place.granted("cut_off_strict", &strict).await;
    fleet
        .place
        .api
        .grant(&person, database, &GrantSpec::write())
        .await;
    let options = LoadOptions {
        clients: CLIENTS_OF_EACH,
        ..LoadOptions::default()
    };
    let load = |person| Load::start(&[fleet.place.login(person)], &options);
    // Under `strict` nothing is run while storage or its control plane is away, and that is most of the time.
    let loads = [(load(&person), 100), (load(&other), 10)];
    let enough = || loads.iter().all(|(load, enough)| load.counts().0 > *enough);
    let cuts = cut_at_random(&fleet, soak.unwrap_or(SHORT), soak.is_some(), enough).await;
    eprintln!("cuts: {cuts:?}");
    for (load, _) in loads {
        eprintln!("{:?}", load.stop().await);
    }
    drained(&fleet).await;
    let closed = match soak {
        Some(_) => Closed::All,
        None => Closed::WithStatements,
    };
    for (person, enough) in [(&person, 100), (&other, 10)] {
        let account = exactly_once(&fleet.place, person, closed, SETTLE_LIMIT).await;
        eprintln!("{}: {account:?}", person.name);
        assert!(
            account.executed > enough,
            "too little was run to say anything: {account:?}"
        );
        assert_eq!(account.incomplete, 0, "no process died: {account:?}");
    }
    assert!(cuts.values().sum::<u32>() > 5, "{cuts:?}");
    served_again(&fleet.data_planes[0]).await;
}

/// Cuts for `duration`, and longer until there was `enough`. Returns how often each network was cut in which way.
async fn cut_at_random(
    fleet: &Fleet,
    duration: Duration,
    has_time: bool,
    enough: impl Fn() -> bool,
) -> BTreeMap<String, u32> {
    let networks = fleet.networks.as_ref().expect("asked for");
    let links = [
        ("control", &networks.control[0]),
        ("storage", &networks.storage),
        ("target", &networks.target),
    ];
    let flows = [Flow::Reset, Flow::Stalled, Flow::Deaf];
    let end = Instant::now() + duration;
    let mut cuts = BTreeMap::new();
    while Instant::now() < end || (!enough() && Instant::now() < end + LONGER) {
        tokio::time::sleep(between(PAUSE)).await;
        let ((name, link), flow) = (any(&links), any(&flows));
        let lasts = match has_time && chance() < 0.1 {
            true => between(LONG_CUT),
            false => between(CUT),
        };
        cut(link, flow, lasts).await;
        *cuts.entry(format!("{name} {flow:?}")).or_default() += 1;
    }
    cuts
}

async fn cut(link: &Link, flow: Flow, lasts: Duration) {
    link.set(flow);
    tokio::time::sleep(lasts).await;
    // What was held back arrives late, or never.
    if chance() < 0.5 {
        link.reset_all();
    }
    link.set(Flow::Open);
}

fn between([shortest, longest]: [Duration; 2]) -> Duration {
    shortest + (longest - shortest).mul_f64(chance())
}

fn any<T: Copy>(choices: &[T]) -> T {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a small number"
    )]
    let index = (chance() * choices.len() as f64) as usize;
    choices[index.min(choices.len() - 1)]
}

/// Nothing is left of it all.
async fn served_again(plane: &DataPlane) {
    assert_eq!(plane.metric("pglens_control_plane_attached").await, 1.0);
}
