//! Sessions made up at random, which nobody would write: a fixed set in every run, others with `PGLENS_SEEDS`.

use std::ops::Range;
use std::time::Duration;

use pglens_e2e::differential::random::{Queries, REFUSED, session};
use pglens_e2e::differential::script::{Errors, parse};
use pglens_e2e::differential::{Pace, Step};
use pglens_e2e::{GrantSpec, Stack, StackOptions};

use serde_json::json;

use super::{Heard, Players, SAMPLE, Told, Transport, set_by_hand};

/// `FROM..TO`: these sessions instead, such as `1000..5000`.
const SEEDS: &str = "PGLENS_SEEDS";

const EVERY_TIME: Range<u64> = 0..100;

const QUIET: Duration = Duration::from_millis(2);

/// By turns; small chunks let the proxy and the target see the same messages at other moments.
const MANNERS: [(Pace, Transport); 7] = [
    (Pace::Whole, Transport::Plain),
    (Pace::Chunks(50), Transport::Plain),
    (Pace::Whole, Transport::Tls),
    (Pace::Chunks(3), Transport::Plain),
    (Pace::Messages(QUIET), Transport::Plain),
    (Pace::Chunks(40), Transport::Tls),
    (Pace::Messages(QUIET), Transport::Tls),
];

/// Differences that are made small and shown.
const SHOWN: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_made_up_at_random_are_answered_alike() {
    check(&GrantSpec::write(), Queries::All).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_sessions_made_up_at_random_are_answered_alike() {
    let strict = GrantSpec {
        more: vec![("audit_level", json!("strict"))],
        ..GrantSpec::write()
    };
    check(&strict, Queries::Strict).await;
}

/// What is refused is answered in the same places, with the same transaction status behind, as what PostgreSQL does not
/// understand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_made_up_at_random_are_answered_like_errors() {
    check(&GrantSpec::read(), Queries::Read).await;
}

async fn check(grant: &GrantSpec, queries: Queries) {
    let stack = Stack::start(StackOptions::default()).await;
    let place = stack.place().await;
    place.target.execute(SAMPLE).await;
    let players = Players::of(&place, grant).await;
    let (mut told, mut differing) = (Vec::new(), Vec::new());
    let seeds = seeds();
    for (seed, manner) in seeds.clone().zip(MANNERS.into_iter().cycle()) {
        let text = session(seed, queries);
        match played(&players, &text, manner).await {
            Ok(heard) => told.extend(heard.map(|heard| Told {
                name: text,
                heard,
                has_strays: true,
            })),
            Err(_) if differing.len() == SHOWN => break,
            Err(difference) => {
                differing.push(smallest(&players, (text, difference), manner).await);
            }
        }
    }
    if differing.is_empty() {
        differing = players.check_record(&told).await;
    }
    assert!(
        differing.is_empty(),
        "{} of {seeds:?} differ\n{}",
        differing.len(),
        differing.join("\n")
    );
}

/// Leaves out every step without which the session still differs. One that differs by chance only stays as it was.
async fn smallest(
    players: &Players<'_>,
    (text, mut difference): (String, String),
    manner: (Pace, Transport),
) -> String {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    for index in (1..lines.len()).rev() {
        let mut fewer = lines.clone();
        fewer.remove(index);
        if fewer.len() > 1
            && let Err(still) = played(players, &fewer.join("\n"), manner).await
        {
            (lines, difference) = (fewer, still);
        }
    }
    format!("=== {manner:?}\n{}\n{difference}", lines.join("\n"))
}

async fn played(
    players: &Players<'_>,
    text: &str,
    manner: (Pace, Transport),
) -> Result<Option<Heard>, String> {
    let mut session = parse("random", text).remove(0);
    if !players.is_reader {
        return players.check(&session, manner).await;
    }
    session.errors = Errors::Severity;
    let mut at_target = session.clone();
    for step in &mut at_target.steps {
        match step {
            Step::Query(sql) | Step::Parse { sql, .. } if REFUSED.contains(&sql.as_str()) => {
                "refused".clone_into(sql);
            }
            Step::Call { function, .. } => *function = 0,
            _ => {}
        }
    }
    players.check_against(at_target, &session, manner).await
}

fn seeds() -> Range<u64> {
    let wish = set_by_hand(SEEDS);
    if wish.is_empty() {
        return EVERY_TIME;
    }
    let range = wish.split_once("..").and_then(|(from, to)| {
        let range = from.parse().ok()?..to.parse().ok()?;
        (!range.is_empty()).then_some(range)
    });
    range.unwrap_or_else(|| panic!("{SEEDS} is FROM..TO, not {wish:?}"))
}
