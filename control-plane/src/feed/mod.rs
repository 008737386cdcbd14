//! The feed: what is recorded, sent to a collector of OpenTelemetry logs (OTLP over gRPC).
//!
//! What happens is queued in storage, in the transaction that stores it. One replica at a time, the leader, sends the
//! head of the queue and takes it off when the collector has taken it. So nothing is lost while the collector or every
//! control plane is away, and what is sent twice, because its sender died in between, carries the same id.

pub mod collector;
pub mod config;
mod export;
mod gather;
mod message;
mod value;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pglens_runtime::Chain;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::app::App;
use crate::storage::feed::FeedStanding;
pub use config::FeedConfig;

/// How often it is looked how the feed stands, and said that it is wanted.
const STANDING_INTERVAL: Duration = Duration::from_secs(5);
/// How often a replica without a collector looks whether anybody still has one.
const FORGET_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// A feed that no replica has been there for is forgotten, so that its queue does not grow for ever. Longer than any
/// upgrade takes.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How the feed stood when somebody last looked; for metrics.
#[derive(Debug, Default)]
pub struct Standing {
    seen: Mutex<Option<(Instant, FeedStanding)>>,
    leading: Mutex<Option<bool>>,
}

impl Standing {
    fn set(&self, standing: FeedStanding) {
        *self.seen.lock() = Some((Instant::now(), standing));
    }

    fn set_leading(&self, leading: bool) {
        *self.leading.lock() = Some(leading);
    }

    /// Whether this replica is the one that sends. `None`: it has no collector.
    #[must_use]
    pub fn is_leading(&self) -> Option<bool> {
        *self.leading.lock()
    }

    /// Age in seconds of the oldest record that has not been sent; 0 when all have. `None`: nothing is known.
    #[must_use]
    pub fn lag_seconds(&self) -> Option<f64> {
        let seen = *self.seen.lock();
        seen.map(|(at, standing)| match standing.oldest {
            Some(oldest) => (oldest + at.elapsed()).as_secs_f64(),
            None => 0.0,
        })
    }

    /// When the collector last took something, in seconds since 1970.
    #[must_use]
    pub fn exported_unix_seconds(&self) -> Option<f64> {
        let (_, standing) = (*self.seen.lock())?;
        let at = standing.exported_at?.timestamp_micros();
        Some(Duration::from_micros(u64::try_from(at).ok()?).as_secs_f64())
    }
}

/// Sends what is queued until the process is to end.
pub async fn run(app: Arc<App>, config: FeedConfig) {
    if config.sends_secrets_in_clear() {
        tracing::warn!(
            endpoint = %config.endpoint,
            "headers of the feed travel in clear, use an https endpoint"
        );
    }
    tracing::info!(endpoint = %config.endpoint, query_text = config.has_query_text, "feed is on");
    let watched = app
        .shutdown
        .run_until_cancelled(watch(&app, Arc::clone(&app.feed)));
    tokio::join!(watched, export::run(&app, &config));
}

/// Keeps the queue wanted, and the metrics up to date.
async fn watch(app: &App, standing: Arc<Standing>) {
    let mut ticks = interval(STANDING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looked = async {
            app.storage.feed_want(STANDING_INTERVAL).await?;
            app.storage.feed_standing().await
        };
        match looked.await {
            Ok(found) => standing.set(found),
            // The task that watches storage says so at a level that is seen.
            Err(error) => {
                tracing::debug!(error = %Chain(&error), "standing of the feed not known")
            }
        }
    }
}

/// Forgets a feed that no replica is there for any more, until the process is to end.
pub async fn forget(app: Arc<App>) {
    let mut ticks = interval(FORGET_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match app.storage.feed_forget(FORGOTTEN_AFTER).await {
            Ok(None) => {}
            Ok(Some(entries)) => {
                tracing::warn!(
                    entries,
                    "no replica has a collector, feed and queue forgotten"
                )
            }
            Err(error) => tracing::debug!(error = %Chain(&error), "feed not forgotten"),
        }
    }
}
