//! The life of one client connection.

mod authenticate;
mod cancel;
mod connect;
mod end;
pub(crate) mod relay;
pub(crate) mod report;
mod startup;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pglens_core::RunId;
use pglens_core::limits::HANDSHAKE_TIMEOUT;
use pglens_policy::AnalysisCache;
use pglens_rpc::v1;
use pglens_runtime::Chain;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::audit::{Outbox, Recorder};
use crate::config::{ClientAuth, ServerTls};
use crate::control::registry::Registry;
use crate::control::{ControlPlanes, LeaseClock};
use crate::metrics::Metrics;
use startup::{Negotiated, StartupError};

/// What every session of the proxy works with.
pub(crate) struct SessionDeps {
    pub(crate) run_id: RunId,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) tls_required: bool,
    pub(crate) client_auth: ClientAuth,
    pub(crate) planes: Arc<ControlPlanes>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) lease: Arc<LeaseClock>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) quota_requests: mpsc::Sender<v1::QuotaRequest>,
    pub(crate) analyses: AnalysisCache,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// Serves a connection to its end. `starting` is its place among those that are not logged in.
pub(crate) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    deps: Arc<SessionDeps>,
    starting: OwnedSemaphorePermit,
) {
    let negotiated = tokio::time::timeout(HANDSHAKE_TIMEOUT, startup::negotiate(socket, &deps));
    let client = match negotiated.await {
        Ok(Ok(Negotiated::Session(client))) => client,
        Ok(Ok(Negotiated::Cancel(request))) => {
            drop(starting);
            return cancel::forward(&request, &deps).await;
        }
        // Load balancers knock to see whether somebody is there.
        Ok(Ok(Negotiated::Probe)) => return,
        Ok(Err(error)) => return log_startup(peer, &error),
        Err(_elapsed) => return log_startup(peer, &StartupError::TimedOut),
    };
    if let Err(Reported) = session(client, peer, &deps, starting).await {
        tracing::debug!(client = %peer, "connection ended before its session began");
    }
}

/// An error that the client was told and the log has.
struct Reported;

/// From the startup message to the end: login, target, relay, end.
async fn session(
    client: startup::Client,
    peer: SocketAddr,
    deps: &Arc<SessionDeps>,
    starting: OwnedSemaphorePermit,
) -> Result<(), Reported> {
    let begun = Instant::now();
    let mut login = authenticate::run(client, peer, deps, begun).await?;
    let allowed_at = Instant::now();
    deps.lease.extend(allowed_at, login.allowed.lease);
    let recorder = Recorder::new(
        login.allowed.session_id,
        Arc::clone(&deps.outbox),
        Arc::clone(&deps.metrics),
        login.allowed.capture,
    );
    let _counted = deps.metrics.session();
    let registered = deps.registry.register(login.allowed.session_id, allowed_at);
    let (mut registration, messages) = match registered {
        Ok(registered) => registered,
        Err(termination) => {
            let ending = relay::Ending::terminated(termination);
            end::before_relay(&mut login.client, recorder, &ending).await;
            return Err(Reported);
        }
    };
    let session_id = login.allowed.session_id;
    let connected = connect::run(&mut login, deps, &mut registration).await;
    let target = match connected {
        Ok(target) => target,
        Err(ending) => {
            end::before_relay(&mut login.client, recorder, &ending).await;
            return Err(Reported);
        }
    };
    drop(starting);
    tracing::info!(
        session.id = %session_id,
        user.id = %login.allowed.user_id,
        database.id = %login.allowed.database_id,
        grant.id = %login.allowed.grant.id,
        client = %peer,
        "session began"
    );
    let cancel_key = Arc::clone(&target.cancel_key);
    let (mut relay, mut signals) = connect::relay(
        login,
        target,
        deps,
        recorder,
        &registration,
        messages,
        allowed_at,
    );
    let ending = relay.run(&mut signals).await;
    end::run(relay, &ending, &cancel_key, &mut signals).await;
    tracing::info!(session.id = %session_id, reason = ending.reason, "session ended");
    Ok(())
}

/// What a stranger can cause at will is worth a debug line only.
fn log_startup(peer: SocketAddr, error: &StartupError) {
    tracing::debug!(client = %peer, error = %Chain(error), "startup failed");
}
