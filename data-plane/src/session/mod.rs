//! The life of one client connection.

mod authenticate;
pub(crate) mod cancel;
mod connect;
mod end;
mod proxy_header;
pub(crate) mod relay;
pub(crate) mod report;
mod startup;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use pglens_core::RunId;
use pglens_core::limits::HANDSHAKE_TIMEOUT;
use pglens_policy::VerdictCache;
use pglens_rpc::v1;
use pglens_runtime::Chain;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::audit::{Outbox, Recorder};
use crate::config::ClientAuth;
use crate::control::registry::Registry;
use crate::control::{CancelExchange, ControlPlanes, LeaseClock};
use crate::listener::starting::Starting;
use crate::metrics::{Metrics, NotServed};
use crate::policy::Catalogs;
use crate::tls::ClientTls;
use cancel::WrongKeys;
use report::ClientError;
use startup::{Negotiated, StartupError};

/// What every session of the proxy works with.
pub(crate) struct SessionDeps {
    pub(crate) run_id: RunId,
    pub(crate) tls: Arc<ClientTls>,
    pub(crate) tls_required: bool,
    /// Load balancers, whose connections begin with a PROXY header.
    pub(crate) proxy_protocol_networks: Vec<IpNet>,
    /// One for each session that there may be.
    pub(crate) session_places: Semaphore,
    pub(crate) client_auth: ClientAuth,
    pub(crate) planes: Arc<ControlPlanes>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) cancels: Arc<CancelExchange>,
    pub(crate) wrong_keys: WrongKeys,
    pub(crate) lease: Arc<LeaseClock>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) quota_requests: mpsc::Sender<v1::QuotaRequest>,
    pub(crate) verdicts: VerdictCache,
    pub(crate) catalogs: Catalogs,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// Serves a connection to its end. `starting` is its place among those that are not logged in.
pub(crate) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    deps: Arc<SessionDeps>,
    starting: Starting,
) {
    let accepted_at = Instant::now();
    // What a stage needs is given back when it is over: an idle session is little more than its relay.
    let negotiating = Box::pin(startup::negotiate(socket, peer, &deps));
    let negotiated = tokio::select! {
        negotiated = tokio::time::timeout(HANDSHAKE_TIMEOUT, negotiating) => {
            negotiated.unwrap_or(Err(StartupError::TimedOut))
        }
        () = starting.evicted() => Err(StartupError::Evicted),
    };
    match negotiated {
        Ok(Negotiated::Session(client)) => {
            let peer = client.peer;
            // The future of a session is large: only those that want one pay for it.
            if let Err(Reported) = Box::pin(session(client, &deps, starting)).await {
                tracing::debug!(client = %peer, "connection ended before its session began");
            }
        }
        Ok(Negotiated::Cancel(asked)) => {
            drop(starting);
            cancel::forward(&asked, accepted_at, &deps).await;
            drop(asked.connection);
        }
        // Load balancers knock to see whether somebody is there.
        Ok(Negotiated::Probe) => {}
        Err(error) => log_startup(peer, &error),
    }
}

/// An error that the client was told and the log has.
struct Reported;

/// From the startup message to the end: login, target, relay, end.
async fn session(
    client: startup::Client,
    deps: &Arc<SessionDeps>,
    starting: Starting,
) -> Result<(), Reported> {
    let begun = Instant::now();
    let peer = client.peer;
    let mut login = tokio::select! {
        login = Box::pin(authenticate::run(client, deps, begun)) => login?,
        () = starting.evicted() => return Err(Reported),
    };
    let allowed_at = Instant::now();
    deps.lease.extend(allowed_at, login.allowed.lease);
    let recorder = Recorder::new(
        login.allowed.session_id,
        Arc::clone(&deps.outbox),
        Arc::clone(&deps.metrics),
        login.allowed.capture,
        login.allowed.grant.audit_level,
    );
    // Only those who have proved who they are take a place among the sessions.
    let Ok(_place) = deps.session_places.try_acquire() else {
        deps.metrics.not_served(NotServed::TooManySessions);
        let ending = relay::Ending::startup_refused(ClientError::too_many_sessions());
        end::before_relay(&mut login.client, recorder, &ending).await;
        return Err(Reported);
    };
    drop(starting);
    let _counted = deps.metrics.session();
    let quota = login.allowed.shared_quota(allowed_at);
    let registered = deps
        .registry
        .register(login.allowed.session_id, quota, allowed_at);
    let (mut registration, messages) = match registered {
        Ok(registered) => registered,
        Err(termination) => {
            let ending = relay::Ending::terminated(termination);
            end::before_relay(&mut login.client, recorder, &ending).await;
            return Err(Reported);
        }
    };
    let session_id = login.allowed.session_id;
    let connected = Box::pin(connect::run(&mut login, deps, &mut registration)).await;
    let target = match connected {
        Ok(target) => target,
        Err(ending) => {
            end::before_relay(&mut login.client, recorder, &ending).await;
            return Err(Reported);
        }
    };
    tracing::info!(
        session.id = %session_id,
        user.id = %login.allowed.user_id,
        database.id = %login.allowed.database_id,
        grant.id = %login.allowed.grant.id,
        client = %peer,
        "session began"
    );
    let cancel_key = Arc::clone(&target.cancel_key);
    let mut relay = connect::relay(
        login,
        target,
        deps,
        recorder,
        &registration,
        messages,
        allowed_at,
    );
    let ending = relay.run().await;
    Box::pin(end::run(relay, &ending, &cancel_key)).await;
    tracing::info!(session.id = %session_id, reason = ending.reason, "session ended");
    Ok(())
}

/// What a stranger can cause at will is worth a debug line only.
fn log_startup(peer: SocketAddr, error: &StartupError) {
    tracing::debug!(client = %peer, error = %Chain(error), "startup failed");
}
