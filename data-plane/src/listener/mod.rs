//! Accepts connections, within bounds, until the proxy drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pglens_core::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::session::report::ClientError;
use crate::session::{SessionDeps, serve};

/// Connections that are not logged in yet. Each holds a startup packet and a TLS handshake at most.
const MAX_STARTING: usize = 512;
/// Connections that are being told that there are too many; the rest are closed without a word.
const MAX_TURNED_AWAY: usize = 64;
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// Rest after the listener itself failed, as it does while the process is out of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Accepts until `stop` is cancelled; connections live on in `tracker`.
pub(crate) async fn accept(
    listener: TcpListener,
    max_sessions: usize,
    deps: Arc<SessionDeps>,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let sessions = Arc::new(Semaphore::new(max_sessions));
    let starting = Arc::new(Semaphore::new(MAX_STARTING));
    let turned_away = Arc::new(Semaphore::new(MAX_TURNED_AWAY));
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
        let places = (
            Arc::clone(&sessions).try_acquire_owned(),
            Arc::clone(&starting).try_acquire_owned(),
        );
        // An IPv4 client of a socket for both families is still an IPv4 client.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if let (Ok(session), Ok(starting)) = places {
            let deps = Arc::clone(&deps);
            tracker.spawn(async move {
                // The future of a session is large; on the heap it is moved once.
                Box::pin(serve(socket, peer, deps, starting)).await;
                drop(session);
            });
            continue;
        }
        deps.metrics.connection_refused();
        if let Ok(place) = Arc::clone(&turned_away).try_acquire_owned() {
            tracker.spawn(async move {
                let _gone = tokio::time::timeout(TURN_AWAY_TIMEOUT, turn_away(socket)).await;
                drop(place);
            });
        }
    }
}

/// Says that there are too many, whatever the client says first, and waits until it has left: closing on bytes that
/// were not read would take our words back.
async fn turn_away(mut socket: TcpStream) -> std::io::Result<()> {
    let error = ClientError::new(
        ErrorCode::TooManyConnections,
        "sorry, too many clients already",
    )
    .hint("Try again later.");
    let mut out = Vec::new();
    error.put_fatal(&mut out);
    socket.write_all(&out).await?;
    socket.shutdown().await?;
    let mut ignored = [0; 1024];
    while socket.read(&mut ignored).await? > 0 {}
    Ok(())
}
