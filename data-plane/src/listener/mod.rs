//! Accepts connections, within bounds, until the proxy drains.

pub(crate) mod starting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::NotServed;
use crate::session::{SessionDeps, serve};
use crate::session_threads::SessionThreads;
use starting::{Room, StartingSet};

/// Rest after the listener itself failed, as it does while the process is out of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Accepts until `stop` is cancelled; connections live on in `tracker`.
pub(crate) async fn accept(
    listener: TcpListener,
    starting: Arc<StartingSet>,
    threads: Arc<SessionThreads>,
    deps: Arc<SessionDeps>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "listener failed to accept");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let (place, room) = starting.enter();
        if room == Room::MadeByOldest {
            deps.metrics.not_served(NotServed::TooManyStarting);
        }
        // An IPv4 client of a socket for both families is still an IPv4 client.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let deps = Arc::clone(&deps);
        let serving = threads.spawn(&tracker, socket, move |socket| {
            serve(socket, peer, deps, place)
        });
        if let Err(error) = serving {
            tracing::warn!(%error, "connection not served");
        }
    }
}
