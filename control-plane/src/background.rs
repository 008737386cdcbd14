//! Work that goes on beside requests: one task each, ended by the shutdown token.

use std::sync::Arc;
use std::time::Duration;

use pglens_runtime::{Chain, Readiness};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::feed::{self, FeedConfig};
use crate::fleet;
use crate::ingest::{live_fleet, retention, text_index};
use crate::service::stats;

/// The component of `/readyz` that stands for the storage database.
pub const STORAGE: &str = "storage";

/// How often the storage database is asked whether it is there.
const STORAGE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How often sessions of API logins that ended long ago are dropped.
const TOKEN_PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Starts every background task; with `feed`, also that of the feed.
pub fn spawn(app: &Arc<App>, feed: Option<FeedConfig>, readiness: &Readiness, tasks: &TaskTracker) {
    let shutdown = app.shutdown.clone();
    let storage = watch_storage(Arc::clone(app), readiness.clone());
    tasks.spawn(async move { shutdown.run_until_cancelled_owned(storage).await });
    let shutdown = app.shutdown.clone();
    let prune = prune_tokens(Arc::clone(app));
    tasks.spawn(async move { shutdown.run_until_cancelled_owned(prune).await });
    tasks.spawn(fleet::listener::run(Arc::clone(app)));
    tasks.spawn(fleet::look::run(Arc::clone(app)));
    tasks.spawn(fleet::lost::run(Arc::clone(app)));
    tasks.spawn(live_fleet::run(Arc::clone(app)));
    tasks.spawn(stats::keep(Arc::clone(app)));
    tasks.spawn(retention::run(Arc::clone(app)));
    tasks.spawn(text_index::run(Arc::clone(app)));
    match feed {
        Some(config) => tasks.spawn(feed::run(Arc::clone(app), config)),
        None => tasks.spawn(feed::forget(Arc::clone(app))),
    };
}

/// Keeps `/readyz` up to date with the storage database.
async fn watch_storage(app: Arc<App>, readiness: Readiness) {
    let mut ticks = interval(STORAGE_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_there = true;
    loop {
        ticks.tick().await;
        let asked = match app.storage.ping().await {
            // A replica without work to spare is no reason to send its work to the others as well.
            Err(error) if error.is_busy() => Ok(()),
            asked => asked,
        };
        match (&asked, was_there) {
            (Err(error), true) => {
                tracing::warn!(error = %Chain(error), "storage database cannot be reached")
            }
            (Ok(()), false) => tracing::info!("storage database can be reached again"),
            _ => {}
        }
        was_there = asked.is_ok();
        readiness.set(
            STORAGE,
            asked.map_err(|_| "the storage database cannot be reached".to_owned()),
        );
    }
}

async fn prune_tokens(app: Arc<App>) {
    let mut ticks = interval(TOKEN_PRUNE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match app.storage.token_sessions_prune().await {
            Ok(count) => tracing::debug!(count, "ended sessions dropped"),
            Err(error) => tracing::debug!(error = %Chain(&error), "ended sessions not dropped"),
        }
    }
}
