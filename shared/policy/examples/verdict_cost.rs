//! Measures what the read guard's verdict costs: on a text seen before, and on texts that are all new.
//!
//! `cargo run --release -p pglens-policy --example verdict_cost`
#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_policy::{AllowedFunctions, Catalog, ControlGuard, Rules, VerdictCache, analyze};

/// Texts of each kind: few enough for the cache to hold them all.
const TEXTS: u32 = 5_000;
/// Lookups of one text that was seen before.
const LOOKUPS: u32 = 1_000_000;
/// The median of so many runs is printed, with the fastest and the slowest.
const RUNS: usize = 7;

/// Kinds of plain SELECT; `{}` is a number that makes each text new.
const SHAPES: [(&str, &str); 3] = [
    (
        "pgbench -S",
        "SELECT abalance FROM pgbench_accounts WHERE aid = {};",
    ),
    (
        "by key, five columns",
        "SELECT id, name, email, created_at, status FROM app.customers WHERE id = {} AND status = 'active'",
    ),
    (
        "join, group, order",
        "SELECT c.name, count(*), sum(o.total) FROM orders o JOIN customers c ON c.id = o.customer_id \
         WHERE o.created_at > now() - interval '7 days' AND o.id > {} GROUP BY c.name ORDER BY 3 DESC LIMIT 20",
    ),
];

/// Median, fastest and slowest time for one of `count` steps of `work`.
fn spread(count: u32, mut work: impl FnMut()) -> [Duration; 3] {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed() / count
        })
        .collect();
    times.sort_unstable();
    [RUNS / 2, 0, RUNS - 1].map(|index| times.get(index).copied().unwrap_or_default())
}

fn report(shape: &str, what: &str, [median, fastest, slowest]: [Duration; 3]) {
    let mut line = format!("{shape:<22} {what:<32}");
    // Writing to a String does not fail.
    let _ = write!(line, "{median:>10.2?}  ({fastest:.2?} to {slowest:.2?})");
    println!("{line}");
}

fn main() {
    let catalog = Arc::new(Catalog::unavailable(AllowedFunctions::default()));
    let rules = Rules::Read(catalog, ControlGuard::default());
    for (shape, template) in SHAPES {
        let texts: Vec<String> = (0..TEXTS)
            .map(|number| template.replace("{}", &number.to_string()))
            .collect();
        let first = texts.first().map_or("", String::as_str);
        let parse = spread(TEXTS, || {
            for text in &texts {
                black_box(analyze(text));
            }
        });
        report(shape, "new: parsed and analysed", parse);
        let new = spread(TEXTS, || {
            let cache = VerdictCache::new();
            for text in &texts {
                black_box(cache.judge(text.as_bytes(), &rules));
            }
        });
        report(shape, "new: judged, with the cache", new);
        let cache = VerdictCache::new();
        let _ = cache.judge(first.as_bytes(), &rules);
        let again = spread(LOOKUPS, || {
            for _ in 0..LOOKUPS {
                black_box(cache.judge(black_box(first.as_bytes()), &rules));
            }
        });
        report(shape, "seen before", again);
    }
}
