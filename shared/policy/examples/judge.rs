//! Reads one SQL text from standard input and prints what the guards make of it, and what that costs.
#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::hint::black_box;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_policy::{AllowedFunctions, Catalog, ControlGuard, Rules, VerdictCache, analyze};

const ROUNDS: u32 = 200;

fn per_round(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    start.elapsed() / ROUNDS
}

fn main() -> std::io::Result<()> {
    let mut sql = String::new();
    std::io::stdin().read_to_string(&mut sql)?;
    let analysis = analyze(&sql);
    if let Err(failure) = &analysis.parse {
        println!("not understood: {failure}");
    }
    for statement in &analysis.statements {
        match &statement.read_verdict {
            Ok(()) => println!("{}: may run under a read grant", statement.kind),
            Err(refusal) => {
                let detail = refusal.detail.as_deref().unwrap_or_default();
                println!(
                    "{}: {} ({}; {detail})",
                    statement.kind, refusal.rule, refusal.message
                );
            }
        }
    }
    let cache = VerdictCache::new();
    let catalog = Arc::new(Catalog::unavailable(AllowedFunctions::default()));
    let rules = Rules::Read(Arc::clone(&catalog), ControlGuard::default());
    let first = per_round(|| drop(black_box(catalog.check(&analyze(&sql)))));
    let again = per_round(|| drop(black_box(cache.judge(sql.as_bytes(), &rules))));
    println!(
        "{} bytes: {first:?} to analyse, {again:?} when seen before",
        sql.len()
    );
    Ok(())
}
