//! Gives up the sessions of proxies that do not come back. Their lease is over, so they run no more; what is missing of
//! their record is said, never hidden.

use std::sync::Arc;
use std::time::Duration;

use pglens_core::{RunId, SessionId};
use pglens_runtime::Chain;
use serde_json::json;

use super::silence_of_the_lost;
use crate::app::App;
use crate::error::ServiceError;
use crate::ingest::journal;
use crate::service::audit::{Action, Actor, AuditEntry};
use crate::storage::proxy_run::{LostRun, close_lost_in_txn, close_unheld_in_txn};
use crate::storage::quota::settle_withheld_in_txn;
use crate::storage::record_journal::journal_delete_in_txn;
use crate::storage::{StoreError, audit};

/// How often silent runs are looked for.
const INTERVAL: Duration = Duration::from_secs(5);
/// Runs given up in one round; more wait for the next.
const MAX_RUNS: i64 = 100;
/// A session this young may be one whose login is still under way.
const LOGIN_UNDER_WAY: Duration = Duration::from_secs(60);
/// Sessions named in the audit event; their number is always told.
const MAX_SESSIONS_NAMED: usize = 100;

/// Looks for silent runs until the process is to end.
pub async fn run(app: Arc<App>) {
    let silence = silence_of_the_lost(app.session_defaults.lease);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = sweep(&app, silence).await {
            tracing::warn!(error = %Chain(&error), "silent proxies not looked for");
        }
    }
}

/// Gives up every run that was silent for `silence`, and returns them. Replicas that do so at once take a run each. A run that
/// cannot be given up is left for the next time.
///
/// # Errors
/// When storage is not available.
pub async fn sweep(app: &App, silence: Duration) -> Result<Vec<RunId>, StoreError> {
    let mut lost = Vec::new();
    for run_id in app.storage.proxy_run_list_silent(silence, MAX_RUNS).await? {
        let given_up = match give_up(app, run_id, silence).await {
            Ok(given_up) => given_up,
            // The others are not to wait for it.
            Err(error) => {
                tracing::warn!(run.id = %run_id, error = %Chain(&error), "lost proxy not given up yet");
                continue;
            }
        };
        if let Some(run) = given_up {
            tracing::error!(
                run.id = %run.run_id,
                proxy.name = run.proxy_name,
                sessions = run.sessions.len(),
                committed_sequence = run.committed_sequence,
                "proxy lost, its sessions are closed and their record may be incomplete"
            );
            app.metrics.proxy_lost();
            lost.push(run_id);
        }
    }
    Ok(lost)
}

/// Closes the sessions of a run that its proxy does not hold any more, or never did.
///
/// # Errors
/// When storage is not available.
pub async fn close_unheld(app: &App, run_id: RunId, held: &[SessionId]) -> Result<(), StoreError> {
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await?;
    let closed = close_unheld_in_txn(&txn, run_id, held, LOGIN_UNDER_WAY).await?;
    if closed.is_empty() {
        return Ok(());
    }
    txn.commit().await?;
    tracing::warn!(run.id = %run_id, sessions = closed.len(), "sessions that their proxy does not hold are closed");
    Ok(())
}

/// Gives back what closed sessions of a run did not spend, now that all it had to tell is on record.
///
/// # Errors
/// When storage is not available.
pub async fn settle(app: &App, run_id: RunId) -> Result<(), StoreError> {
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await?;
    let settled = settle_withheld_in_txn(&txn, run_id).await?;
    if settled > 0 {
        txn.commit().await?;
        tracing::info!(run.id = %run_id, sessions = settled, "quotas of closed sessions settled from their record");
    }
    Ok(())
}

async fn give_up(
    app: &App,
    run_id: RunId,
    silence: Duration,
) -> Result<Option<LostRun>, ServiceError> {
    // What was promised to be durable is on record before anybody is told what is missing.
    let folded = journal::fold(app, run_id).await?;
    Ok(close(app, run_id, silence, folded.unreadable_from).await?)
}

async fn close(
    app: &App,
    run_id: RunId,
    silence: Duration,
    unreadable_from: Option<u64>,
) -> Result<Option<LostRun>, StoreError> {
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await?;
    let Some(run) = close_lost_in_txn(&txn, run_id, silence).await? else {
        return Ok(None);
    };
    if unreadable_from.is_some() {
        journal_delete_in_txn(&txn, run_id).await?;
    }
    audit::insert_in_txn(&txn, &event(&run, unreadable_from)).await?;
    txn.commit().await?;
    Ok(Some(run))
}

fn event(run: &LostRun, unreadable_from: Option<u64>) -> AuditEntry {
    let sessions: Vec<String> = run
        .sessions
        .iter()
        .take(MAX_SESSIONS_NAMED)
        .map(ToString::to_string)
        .collect();
    AuditEntry::of(Actor::System, Action::ProxyLost, "proxy_run", run.run_id).after(json!({
        "proxy": run.proxy_name,
        "hostname": run.hostname,
        "last_seen_at": run.last_seen_at,
        "committed_sequence": run.committed_sequence,
        "journal_unreadable_from": unreadable_from,
        "connection_count": run.sessions.len(),
        "connections": sessions,
    }))
}
