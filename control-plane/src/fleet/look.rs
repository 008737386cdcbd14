//! Looks for sessions that must end without being told to: a notification can be lost with a connection that fell silent,
//! and a revocation holds within a second all the same.

use std::sync::Arc;
use std::time::Duration;

use pglens_runtime::Chain;
use tokio::time::{MissedTickBehavior, interval};

use super::{note_told, tell};
use crate::app::App;
use crate::storage::StoreError;

/// Half of what a revocation may take. One short query each time, and none while no proxy is attached.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Looks until the process is to end.
pub async fn run(app: Arc<App>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_failed = false;
    loop {
        let looked = tokio::select! {
            () = app.shutdown.cancelled() => return,
            looked = async { ticks.tick().await; look(&app).await } => looked,
        };
        // Those that watch storage itself say how long it is away.
        if let Err(error) = &looked
            && !has_failed
        {
            tracing::warn!(error = %Chain(error), "cannot look for sessions that must end");
        }
        has_failed = looked.is_err();
    }
}

/// Tells proxies of sessions they were not told of before; of those they were, heartbeats remind them.
async fn look(app: &App) -> Result<(), StoreError> {
    let runs = app.fleet.runs();
    if runs.is_empty() {
        return Ok(());
    }
    let mut doomed = app.storage.session_list_doomed(&runs, None).await?;
    doomed.retain(|session| note_told(app, session));
    tell(app, &doomed);
    Ok(())
}
