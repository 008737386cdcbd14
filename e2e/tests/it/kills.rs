//! Anything may be killed at any moment: what the target executed is what is recorded, each statement once.
//!
//! Clients run statements that no two of them share, while data plane, control plane and storage are killed at random.
//! The target's own log then says what was executed. A statement whose outcome nobody knows may be on record without
//! having run; its session says that it is not complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pglens_e2e::{Login, Person, Place, Stack, StackOptions, process, program, wait};
use serde_json::Value;
use tokio::task::JoinSet;

const CLIENTS: u64 = 6;
/// Between two kills.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(2500);
/// For everything to be restarted and all that was left to be sent.
const SETTLE_LIMIT: Duration = Duration::from_secs(100);

/// What a client run does.
struct Load {
    login: Login,
    next: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    fn marker(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("select 'marker-{number:08}'")
    }

    /// Connects again and again, and runs statements until something breaks.
    async fn client(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(client) = self.login.try_connect().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            for turn in 0..200 {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let ran = match turn % 3 {
                    0 => client.batch_execute(&self.marker()).await,
                    1 => client.query(&self.marker(), &[]).await.map(drop),
                    _ => self.pipeline(&client).await,
                };
                if ran.is_err() {
                    break;
                }
            }
        }
    }

    /// Several statements are under way at once, prepared before.
    async fn pipeline(&self, client: &tokio_postgres::Client) -> Result<(), tokio_postgres::Error> {
        let mut prepared = Vec::new();
        for _ in 0..4 {
            prepared.push(client.prepare(&self.marker()).await?);
        }
        let runs = prepared
            .iter()
            .map(|statement| client.query(statement, &[]));
        for ran in futures_util::future::join_all(runs).await {
            ran?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_executed_is_recorded_once_whatever_is_killed() {
    let duration = program::soak_duration().unwrap_or(Duration::from_secs(20));
    let stack = Stack::start(StackOptions::processes()).await;
    let place = stack.place().await;
    let (person, login) = place.writer("killed").await;
    let load = Arc::new(Load {
        login,
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(Arc::clone(&load).client());
    }
    let kills = kill_at_random(&stack, duration).await;
    load.stop.store(true, Ordering::Relaxed);
    let stopped = tokio::time::timeout(SETTLE_LIMIT, clients.join_all()).await;
    assert!(stopped.is_ok(), "a client hangs without an answer");
    compare(&place, &person, kills).await;
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

async fn compare(place: &Place, person: &Person, kills: BTreeMap<&'static str, u32>) {
    let connections = wait::within(
        SETTLE_LIMIT,
        "every session is closed on record",
        || async {
            let answer = place
                .api
                .try_send(reqwest::Method::GET, "/api/me", None)
                .await;
            answer.map_err(|error| error.to_string())?;
            let connections = place.api.connections(person).await;
            let open = connections
                .iter()
                .filter(|connection| connection["ended_at"].is_null())
                .count();
            match open {
                0 => Ok(connections),
                open => Err(format!("{open} of {} are open", connections.len())),
            }
        },
    )
    .await;
    let incomplete: BTreeSet<&str> = connections
        .iter()
        .filter(|connection| connection["audit_complete"] == false)
        .filter_map(|connection| connection["id"].as_str())
        .collect();
    let executed = place.target.executed(person);
    let executed: BTreeMap<&str, u32> = count(executed.iter().map(String::as_str));
    let queries = format!("/api/queries?user_id={}", person.id);
    let listed = place.api.list(&queries, "queries").await;
    let recorded = count(listed.iter().filter_map(|query| query["sql"].as_str()));
    eprintln!(
        "{} executed, {} recorded, {} sessions, {} of them incomplete, kills: {kills:?}",
        executed.len(),
        recorded.len(),
        connections.len(),
        incomplete.len()
    );
    assert!(executed.len() > 100, "too little was run to say anything");
    assert!(kills.values().sum::<u32>() > 3, "{kills:?}");
    let missing: Vec<_> = executed
        .keys()
        .filter(|text| text.contains("marker-") && !recorded.contains_key(*text))
        .collect();
    assert!(missing.is_empty(), "executed and not recorded: {missing:?}");
    let twice: Vec<_> = recorded
        .iter()
        .filter(|(text, count)| text.contains("marker-") && **count != 1)
        .collect();
    assert!(twice.is_empty(), "recorded more than once: {twice:?}");
    let invented: Vec<&Value> = listed
        .iter()
        .filter(|query| {
            let text = query["sql"].as_str().unwrap_or_default();
            let failed = query["sqlstate"]
                .as_str()
                .is_some_and(|state| !state.is_empty());
            text.contains("marker-")
                && !executed.contains_key(text)
                && query["outcome_unknown"] != true
                && !failed
        })
        .collect();
    assert!(
        invented.is_empty(),
        "recorded and not executed: {invented:?}"
    );
    let unmarked: Vec<&Value> = listed
        .iter()
        .filter(|query| query["duration_us"].is_null())
        .filter(|query| !incomplete.contains(query["connection_id"].as_str().unwrap_or_default()))
        .collect();
    assert!(
        unmarked.is_empty(),
        "without an end in a session that says it is complete: {unmarked:?}"
    );
}

fn count<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut counts = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    counts
}
