//! Waiting for a time that there may be.

use tokio::time::Instant;

/// Waits until `due`, for ever without one. Cancel safe.
pub async fn sleep_until(due: Option<impl Into<Instant>>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
