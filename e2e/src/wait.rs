//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

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
