//! The wish of the outside world that this process ends.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT.
///
/// From the first call on, neither signal ends the process by itself. Cancel safe: a signal that arrives while
/// nobody waits is kept by nobody, so call it once and early.
pub async fn termination() {
    tokio::select! {
        () = received(signal(SignalKind::terminate())) => {}
        () = received(signal(SignalKind::interrupt())) => {}
    }
}

async fn received(signal: std::io::Result<Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(error) => {
            tracing::warn!(%error, "signal handler not installed, the default action stays");
            std::future::pending::<()>().await;
        }
    }
}
