//! The life of a control plane: listen, reach storage, migrate, serve, end in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pglens_runtime::{Backoff, Chain, ConfigError, Metrics, Readiness, serve_operations};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::background::{self, STORAGE};
use crate::config::Config;
use crate::error::RunError;
use crate::ingest::retention;
use crate::service::bootstrap;
use crate::storage::{Storage, StoreError, migrate};
use crate::{rest, rpc};

/// Delays between attempts to reach the storage database at the start.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Where a running control plane listens.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// REST.
    pub api: SocketAddr,
    /// gRPC, for proxies and administration.
    pub grpc: SocketAddr,
    /// Probes and metrics.
    pub operations: SocketAddr,
}

struct Listeners {
    api: TcpListener,
    grpc: TcpListener,
    operations: TcpListener,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            operations: config.operations.bind().await?,
            api: config.api.bind().await?,
            grpc: config.grpc.bind().await?,
        })
    }

    fn bound(&self) -> std::io::Result<Bound> {
        Ok(Bound {
            api: self.api.local_addr()?,
            grpc: self.grpc.local_addr()?,
            operations: self.operations.local_addr()?,
        })
    }
}

/// Runs a control plane until `shutdown` is cancelled; `ready` learns the addresses once requests are served.
///
/// While the storage database cannot be reached at the start, it is tried again and again, and `/readyz` says so.
///
/// # Errors
/// When a setting cannot be used, or something that nothing can go on without fails.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: oneshot::Sender<Bound>,
) -> Result<(), RunError> {
    let listeners = Listeners::bind(&config).await?;
    let bound = listeners.bound().map_err(RunError::Listener)?;
    let (metrics, readiness) = (Metrics::new(), Readiness::new(&[STORAGE]));
    let tasks = TaskTracker::new();
    let operations_end = CancellationToken::new();
    let _ended_with_this = operations_end.clone().drop_guard();
    tasks.spawn(serve_operations(
        listeners.operations,
        readiness.clone(),
        metrics.clone(),
        operations_end.clone(),
    ));

    let storage = Storage::open(config.storage.clone(), config.storage_pool_size)
        .map_err(RunError::Storage)?;
    let Some(migrated) = shutdown
        .run_until_cancelled(prepare_storage(&storage, &readiness))
        .await
    else {
        return Ok(());
    };
    migrated?;
    let app = Arc::new(App::new(&config, storage, &metrics, shutdown.clone()));
    bootstrap::default_admin(&app, config.admin_password.clone())
        .await
        .map_err(RunError::Bootstrap)?;
    bootstrap::warn_of_default_password(&app).await;

    // What happens from the first request on is in the feed.
    if config.feed.is_some()
        && let Err(error) = app.storage.feed_want(Duration::ZERO).await
    {
        tracing::warn!(error = %Chain(&error), "feed not turned on yet, it is tried again");
    }
    // Without today's partition the record goes to the default one, where it is found as well.
    if let Err(error) = retention::keep_and_report(&app).await {
        tracing::warn!(error = %Chain(&error), "partitions not kept");
    }
    background::spawn(&app, config.feed.clone(), &readiness, &tasks);
    tasks.spawn(rest::serve(
        listeners.api,
        Arc::clone(&app),
        config.shutdown_grace,
    ));
    tasks.spawn(Arc::clone(&config.grpc_tls).keep_current(Arc::clone(&app)));
    let grpc = tokio::spawn(rpc::serve(
        listeners.grpc,
        Arc::clone(&app),
        Arc::clone(&config.grpc_tls),
        readiness.clone(),
    ));
    readiness.set(STORAGE, Ok(()));
    tracing::info!(api = %bound.api, grpc = %bound.grpc, operations = %bound.operations, "control plane is ready");
    // An error means that nobody wants to know.
    let _ = ready.send(bound);

    let mut grpc = grpc;
    tokio::select! {
        biased; // the server ends by itself when told to
        () = shutdown.cancelled() => {}
        ended = &mut grpc => {
            shutdown.cancel();
            return match ended {
                Ok(Err(error)) => Err(RunError::Grpc(error)),
                Ok(Ok(())) | Err(_) => Err(RunError::TaskEnded("the gRPC server")),
            };
        }
    }
    readiness.set(STORAGE, Err("shutting down".to_owned()));
    tasks.close();
    let ending = async {
        // Its error is of no interest any more.
        let _ = (&mut grpc).await;
        operations_end.cancel();
        tasks.wait().await;
    };
    match timeout(config.shutdown_grace, ending).await {
        Ok(()) => tracing::info!("control plane ended"),
        Err(_) => {
            tracing::warn!(
                tasks = tasks.len(),
                "grace period over, requests are dropped"
            );
            grpc.abort();
        }
    }
    app.storage.close();
    Ok(())
}

/// Waits for the storage database, then brings its schema up to date.
async fn prepare_storage(storage: &Storage, readiness: &Readiness) -> Result<(), RunError> {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let error = match migrate_once(storage).await {
            Ok(count) => {
                tracing::info!(migrations = count, storage = ?storage, "storage schema is up to date");
                return Ok(());
            }
            Err(Failure::Connect(error)) => error,
            Err(Failure::Migrate(error)) if error.is_unavailable() => error,
            Err(Failure::Migrate(error)) => return Err(RunError::Migrate(error)),
        };
        let delay = backoff.next_delay();
        tracing::warn!(storage = ?storage, error = %Chain(&error), retry_in = ?delay, "storage database cannot be used yet");
        readiness.set(
            STORAGE,
            Err("the storage database cannot be reached".to_owned()),
        );
        tokio::time::sleep(delay).await;
    }
}

enum Failure {
    /// Whatever keeps us out now, a password that is not set yet included, may be gone later.
    Connect(StoreError),
    Migrate(StoreError),
}

async fn migrate_once(storage: &Storage) -> Result<usize, Failure> {
    storage.ping().await.map_err(Failure::Connect)?;
    migrate::migrate(storage).await.map_err(Failure::Migrate)
}
