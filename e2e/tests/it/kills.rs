//! Anything may be killed at any moment: what the target executed is what is recorded, each statement once.
//!
//! Clients run statements that no two of them share, while data plane, control plane and storage are killed at random.
//! The target's own log then says what was executed. A statement whose outcome nobody knows may be on record without
//! having run; its session says that it is not complete.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pglens_e2e::{Stack, StackOptions, process, program};

use crate::load::{Load, LoadOptions};
use crate::oracle::{Closed, exactly_once};

/// Between two kills.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(2500);
/// For everything to be restarted and all that was left to be sent.
const SETTLE_LIMIT: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_executed_is_recorded_once_whatever_is_killed() {
    let duration = program::soak_duration().unwrap_or(Duration::from_secs(20));
    let stack = Stack::start(StackOptions::processes()).await;
    let place = stack.place().await;
    let (person, login) = place.writer("killed").await;
    let load = Load::start(&[login], &LoadOptions::default());
    let kills = kill_at_random(&stack, duration).await;
    let answers = load.stop().await;
    let account = exactly_once(&place, &person, Closed::All, SETTLE_LIMIT).await;
    eprintln!("{account:?}, kills: {kills:?}, {answers:?}");
    assert!(
        account.executed > 100,
        "too little was run to say anything: {account:?}"
    );
    assert!(kills.values().sum::<u32>() > 3, "{kills:?}");
}

/// Returns how often each part was killed.
async fn kill_at_random(stack: &Stack, duration: Duration) -> BTreeMap<&'static str, u32> {
    let end = Instant::now() + duration;
    let mut kills = BTreeMap::new();
    for victim in ["data-plane", "control-plane", "data-plane", "storage"]
        .into_iter()
        .cycle()
    {
        let spread = LONGEST_PAUSE - SHORTEST_PAUSE;
        let chance = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        let pause = SHORTEST_PAUSE + spread.mul_f64(chance);
        tokio::time::sleep(pause).await;
        if Instant::now() > end {
            break;
        }
        let found = match victim {
            // Its end makes PostgreSQL restart as after a crash, with all its connections.
            "storage" => process::children(stack.pid_of("postgres"))
                .into_iter()
                .find(|child| child.1.contains("pglens")),
            plane => process::children(stack.process.pid())
                .into_iter()
                .find(|child| child.1.contains(plane)),
        };
        // It may be down from the last time.
        if let Some((pid, _)) = found {
            process::try_signal(pid, Signal::SIGKILL);
            *kills.entry(victim).or_default() += 1;
        }
    }
    kills
}
