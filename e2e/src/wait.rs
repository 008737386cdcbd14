//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than any part of a test takes on a busy machine.
pub const STEP_LIMIT: Duration = Duration::from_secs(90);

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Tries `attempt` until it answers `Ok`, and panics with its last `Err` after [`PATIENCE`].
pub async fn eventually<T, F>(what: &str, attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    within(PATIENCE, what, attempt).await
}

/// Tries `attempt` until it answers `Ok`, and panics with its last `Err` after `limit`.
pub async fn within<T, F>(limit: Duration, what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let missing = match attempt().await {
            Ok(value) => return value,
            Err(missing) => missing,
        };
        assert!(
            Instant::now() < deadline,
            "{what}: not within {limit:?}; last seen: {missing}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Runs a part of a test; one that hangs fails under its name, with everything there is to see, before the test
/// runner ends the process without a word.
pub async fn step<T>(name: &str, part: impl Future<Output = T>) -> T {
    step_within(STEP_LIMIT, name, part).await
}

/// The same for a part that takes longer.
pub async fn step_within<T>(limit: Duration, name: &str, part: impl Future<Output = T>) -> T {
    println!("step: {name}");
    tokio::time::timeout(limit, part)
        .await
        .unwrap_or_else(|_| panic!("step {name} hangs: not done within {limit:?}"))
}
