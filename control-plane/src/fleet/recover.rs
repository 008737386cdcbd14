//! A proxy that returns: it gets the key of what its earlier run has left, publishes that, and the run's sessions are
//! closed as complete as their record is.

use pglens_core::{ErrorCode, RunId, Secret};
use pglens_rpc::convert;
use pglens_rpc::status::status;
use pglens_rpc::v1;
use pglens_runtime::Chain;
use serde_json::json;
use tonic::Status;

use super::attach::record_key_context;
use crate::app::App;
use crate::error::ServiceError;
use crate::ingest::journal;
use crate::service::audit::{Action, Actor, AuditEntry};
use crate::storage::quota::{settle_withheld_in_txn, signed};
use crate::storage::recovery::{ClosedRun, close_recovered_in_txn};
use crate::storage::{StoreError, audit};

/// Gives the record key of a run to the proxy it belongs to.
///
/// # Errors
/// `NOT_FOUND` without such a run, `PERMISSION_DENIED` when it is another proxy's.
pub async fn begin(
    app: &App,
    proxy_name: &str,
    request: &v1::RecoverRequest,
) -> Result<v1::RecoverResponse, Status> {
    let run_id = convert::run_id(&request.run_id)?;
    let record_key = own_run(app, proxy_name, run_id).await?;
    // After a crash of its machine the proxy may have less than what was made durable here.
    let folded = journal::fold(app, run_id).await?;
    if let Some(first_sequence) = folded.unreadable_from {
        tracing::warn!(run.id = %run_id, first_sequence, "journal not readable, the proxy sends what it has");
    }
    tracing::info!(proxy.name = proxy_name, run.id = %run_id, "proxy came back with the record of an earlier run");
    Ok(v1::RecoverResponse {
        record_key: record_key.expose().clone(),
    })
}

/// Closes the sessions of a run whose record is published.
///
/// # Errors
/// As of [`begin`], and `FAILED_PRECONDITION` when the record ends elsewhere.
pub async fn finish(
    app: &App,
    proxy_name: &str,
    request: &v1::FinishRecoveryRequest,
) -> Result<v1::FinishRecoveryResponse, Status> {
    let run_id = convert::run_id(&request.run_id)?;
    own_run(app, proxy_name, run_id).await?;
    let closed = close(app, proxy_name, run_id, request)
        .await
        .map_err(ServiceError::from)?;
    let closed = closed.ok_or_else(|| {
        status(
            ErrorCode::Conflict,
            "the record of the run is not committed up to there",
        )
    })?;
    Ok(v1::FinishRecoveryResponse {
        sessions_closed: closed.sessions.len() as u64,
        sessions_incomplete: closed.incomplete as u64,
    })
}

async fn own_run(app: &App, proxy_name: &str, run_id: RunId) -> Result<Secret<Vec<u8>>, Status> {
    let run = app.storage.proxy_run_record_key(run_id).await;
    let run = run.map_err(ServiceError::from)?;
    let (owner, sealed) = run.ok_or_else(|| status(ErrorCode::NotFound, "the run is not known"))?;
    if owner != proxy_name {
        tracing::warn!(proxy.name = proxy_name, run.id = %run_id, "record of another proxy's run asked for");
        return Err(status(
            ErrorCode::PermissionDenied,
            "the run belongs to another proxy",
        ));
    }
    let row = run_id.to_string();
    app.keys
        .open(record_key_context(&row), &sealed)
        .map_err(|error| {
            tracing::error!(run.id = %run_id, error = %Chain(&error), "record key does not open");
            status(ErrorCode::Internal, "the run's record key does not open")
        })
}

async fn close(
    app: &App,
    proxy_name: &str,
    run_id: RunId,
    request: &v1::FinishRecoveryRequest,
) -> Result<Option<ClosedRun>, StoreError> {
    let last_sequence = signed(request.last_sequence);
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await?;
    let closed = close_recovered_in_txn(&txn, run_id, last_sequence, request.complete).await?;
    let Some(closed) = closed else {
        return Ok(None);
    };
    if !closed.sessions.is_empty() {
        settle_withheld_in_txn(&txn, run_id).await?;
        let event = AuditEntry::of(Actor::System, Action::ProxyRecovered, "proxy_run", run_id);
        let event = event.after(json!({
            "proxy": proxy_name,
            "committed_sequence": request.last_sequence,
            "complete": request.complete,
            "connection_count": closed.sessions.len(),
            "incomplete_count": closed.incomplete,
        }));
        audit::insert_in_txn(&txn, &event).await?;
    }
    txn.commit().await?;
    Ok(Some(closed))
}
