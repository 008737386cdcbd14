//! Cancel requests: each carries the key of one session, which may be one of ours.

use std::net::SocketAddr;
use std::time::Instant;

use pglens_runtime::Chain;
use pglens_wire::startup::CancelRequest;

use super::SessionDeps;

/// Hands a cancel request to the target of its session. The client gets no answer either way, as from PostgreSQL.
pub(crate) async fn forward(
    request: &CancelRequest,
    _peer: SocketAddr,
    _accepted_at: Instant,
    deps: &SessionDeps,
) {
    let cancel = deps
        .registry
        .begin_cancel(request.process_id, &request.secret);
    deps.metrics.cancel_request(cancel.is_some());
    let Some(cancel) = cancel else {
        return;
    };
    if let Err(error) = cancel.target.cancel().await {
        tracing::warn!(error = %Chain(&error), "cancel request not delivered");
    }
}
