//! Holds the fleet together: which proxies are attached, what they are told, and what becomes of those that fall
//! silent.

pub mod attach;
pub mod cancel;
pub mod desk;
pub mod endings;
pub mod listener;
pub mod look;
pub mod lost;
pub mod quota;
pub mod recover;
pub mod registry;
pub mod terminate;

use std::time::Duration;

use pglens_core::RunId;
use pglens_core::limits::HEARTBEAT_INTERVAL;

use crate::app::App;
use crate::storage::StoreError;
use crate::storage::notify::Change;
use crate::storage::session_check::DoomedSession;
use registry::Delivery;

/// A proxy that missed this many heartbeats is not shown as attached.
const MISSED_HEARTBEATS: u32 = 3;

/// Behind the lease, before a silent run is given up: its heartbeat may be on its way, and clocks differ.
const SILENCE_MARGIN: Duration = Duration::from_secs(15);

/// A proxy heard of within this time is attached, to this replica or another.
#[must_use]
pub fn attached_within() -> Duration {
    HEARTBEAT_INTERVAL.saturating_mul(MISSED_HEARTBEATS)
}

/// A run that was silent for this long has no sessions any more: their lease is over.
#[must_use]
pub fn silence_of_the_lost(lease: Duration) -> Duration {
    lease.saturating_add(SILENCE_MARGIN)
}

/// Tells the proxies attached here which of their sessions must end; with a `change`, only among those it can concern.
///
/// # Errors
/// When storage is not available.
pub async fn end_doomed(app: &App, change: Option<&Change>) -> Result<(), StoreError> {
    let runs = app.fleet.runs();
    if runs.is_empty() {
        return Ok(());
    }
    end_doomed_of(app, &runs, change).await
}

async fn end_doomed_of(
    app: &App,
    runs: &[RunId],
    change: Option<&Change>,
) -> Result<(), StoreError> {
    let doomed = app.storage.session_list_doomed(runs, change).await?;
    for session in &doomed {
        note_told(app, session);
    }
    tell(app, &doomed);
    Ok(())
}

/// Whether it is the first time that the session's proxy is told.
fn note_told(app: &App, session: &DoomedSession) -> bool {
    let is_first = app.endings.told(session);
    if is_first {
        app.metrics.terminated(session.reason.as_str(), 1);
    }
    is_first
}

fn tell(app: &App, doomed: &[DoomedSession]) {
    for (run_id, message) in terminate::messages(doomed) {
        if app.fleet.send(run_id, message) == Delivery::Detached {
            tracing::warn!(run.id = %run_id, "proxy does not keep up with its messages, detached");
        }
    }
}
