//! Puts the data plane together, and takes it apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::RunId;
use pglens_policy::VerdictCache;
use pglens_runtime::{Chain, ConfigError, Fatal, Readiness, open_files, serve_operations};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::audit::Outbox;
use crate::clock::{process_us, unix_us};
use crate::config::Config;
use crate::control::attach::{Attach, COMPONENT, News};
use crate::control::channel::InvalidControlPlane;
use crate::control::publish::Publisher;
use crate::control::recover::Recovery;
use crate::control::registry::Registry;
use crate::control::{CancelExchange, ControlPlanes, LeaseClock, StorageClock};
use crate::listener;
use crate::listener::starting::StartingSet;
use crate::metrics::Metrics;
use crate::net::keepalive;
use crate::reload::Reload;
use crate::runtime_thread::RuntimeThread;
use crate::session::SessionDeps;
use crate::session::cancel::WrongKeys;
use crate::session_threads::SessionThreads;

/// Name of the listener in `/readyz`.
const LISTENER: &str = "listener";
/// Quota requests of all sessions that wait for the stream; a session whose request finds no place asks again.
const QUOTA_REQUEST_QUEUE: usize = 1024;
/// Ends of terminated sessions that wait to be told; one that finds no place is not timed.
const ENDED_QUEUE: usize = 4096;
/// After the grace period: sessions that were told to end at once.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last records may take to be acknowledged.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// What the runtime of a process gives its threads.
const RECORD_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Open files besides those of sessions and logins: spool, listeners, control planes, timers, cancel requests.
const OTHER_FILES: usize = 256;

/// Where a data plane listens.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// For PostgreSQL clients.
    pub proxy: SocketAddr,
    /// For `/livez`, `/readyz` and `/metrics`.
    pub operations: SocketAddr,
}

/// Why a data plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A control plane's URL or certificate cannot be used.
    #[error("the control plane cannot be connected to")]
    ControlPlane(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A listener that was bound has no address, or takes no settings.
    #[error("a listener cannot be used")]
    Listener(#[source] std::io::Error),
    /// The system gives no threads for sessions or the record.
    #[error("the threads for sessions and their record cannot be started")]
    Threads(#[source] std::io::Error),
}

impl Fatal for RunError {
    fn config_error(&self) -> Option<&ConfigError> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}

impl From<InvalidControlPlane> for RunError {
    fn from(error: InvalidControlPlane) -> Self {
        Self::ControlPlane(Box::new(error))
    }
}

/// Runs until `shutdown` is cancelled and everything has come to its end. `ready` learns the addresses as soon as
/// clients can connect.
///
/// # Errors
/// When it cannot be started.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: oneshot::Sender<Bound>,
) -> Result<(), RunError> {
    // The process's clock counts from here.
    let _begins = process_us(Instant::now());
    let proxy = config.listen.bind().await?;
    keepalive::set(&proxy).map_err(RunError::Listener)?;
    let operations = config.operations.bind().await?;
    let bound = Bound {
        proxy: proxy.local_addr().map_err(RunError::Listener)?,
        operations: operations.local_addr().map_err(RunError::Listener)?,
    };
    warn_of_few_files(&config);
    let plane = DataPlane::start(&config, operations)?;
    tracing::info!(listen = %bound.proxy, operations = %bound.operations, run.id = %plane.deps.run_id, "data plane started");
    // Whoever started us may not care where we listen.
    let _nobody_waits = ready.send(bound);
    plane.serve(proxy, config, shutdown).await;
    Ok(())
}

/// Sessions need a connection to the client and one to the target.
fn warn_of_few_files(config: &Config) {
    let needed = config
        .max_sessions
        .saturating_mul(2)
        .saturating_add(config.max_starting)
        .saturating_add(OTHER_FILES);
    match open_files::limit() {
        Ok(limit) if limit < needed as u64 => tracing::warn!(
            limit,
            needed,
            "PGL_MAX_SESSIONS and PGL_MAX_STARTING need more open files than the process may have: raise its hard limit (RLIMIT_NOFILE)"
        ),
        Ok(_enough) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files is not known"),
    }
}

/// Everything that runs besides the sessions.
struct DataPlane {
    deps: Arc<SessionDeps>,
    starting: Arc<StartingSet>,
    threads: Arc<SessionThreads>,
    /// The record's way out: its tasks wake each other some hundred times a second.
    _record_thread: RuntimeThread,
    readiness: Readiness,
    asked_to_drain: watch::Receiver<Option<Duration>>,
    /// Ends the background tasks, in this order.
    stop_publishing: CancellationToken,
    stop_attaching: CancellationToken,
    background: TaskTracker,
}

impl DataPlane {
    fn start(config: &Config, operations: TcpListener) -> Result<Self, RunError> {
        let run_id = RunId(Uuid::now_v7());
        let record_thread =
            RuntimeThread::start("record", RECORD_STACK_BYTES, |_runtime| {}, || {})
                .map_err(RunError::Threads)?;
        let record_runtime = record_thread.handle().clone();
        let planes = ControlPlanes::new(&config.control, record_runtime.clone())?;
        let planes = Arc::new(planes);
        let spool = &config.spool;
        let outbox = Outbox::create(&spool.folder, run_id, spool.limits)
            .map_err(|error| spool.unusable(&error))?;
        let (ended, ended_receiver) = mpsc::channel(ENDED_QUEUE);
        let registry = Arc::new(Registry::new(ended));
        let lease = Arc::new(LeaseClock::new(Instant::now()));
        let metric_registry = pglens_runtime::Metrics::new();
        let starting = StartingSet::new(config.max_starting);
        let threads = SessionThreads::start(config.session_threads).map_err(RunError::Threads)?;
        let threads = Arc::new(threads);
        let metrics = Metrics::new(&metric_registry, &outbox);
        Metrics::observe_starting(&metric_registry, &starting);
        let readiness = Readiness::new(&[COMPONENT, LISTENER]);
        let (quota_requests, quota_request_receiver) = mpsc::channel(QUOTA_REQUEST_QUEUE);
        let (drain, asked_to_drain) = watch::channel(None);
        let (known, known_receiver) = watch::channel(false);
        let (stop_publishing, stop_attaching) =
            (CancellationToken::new(), CancellationToken::new());
        let background = TaskTracker::new();

        let clock = Arc::new(StorageClock::default());
        let cancels = CancelExchange::new(
            run_id,
            Arc::clone(&planes),
            Arc::clone(&registry),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        let attach = Attach {
            cancels: Arc::clone(&cancels),
            clock,
            run_id,
            started_at_unix_us: unix_us(),
            planes: Arc::clone(&planes),
            registry: Arc::clone(&registry),
            lease: Arc::clone(&lease),
            outbox: Arc::clone(&outbox),
            readiness: readiness.clone(),
            metrics: Arc::clone(&metrics),
            drain,
            known,
        };
        let news = News {
            quota_requests: quota_request_receiver,
            ended: ended_receiver,
        };
        background.spawn(attach.run(news, stop_attaching.clone()));
        let publisher = Publisher {
            run_id,
            planes: Arc::clone(&planes),
            outbox: Arc::clone(&outbox),
            known: known_receiver,
        };
        background.spawn_on(publisher.run(stop_publishing.clone()), &record_runtime);
        let keeping = Arc::clone(&outbox).keep(stop_attaching.clone());
        background.spawn_on(keeping, &record_runtime);
        let recovery = Recovery {
            folder: spool.folder.clone(),
            planes: Arc::clone(&planes),
        };
        background.spawn(recovery.run(stop_publishing.clone()));
        background.spawn(serve_operations(
            operations,
            readiness.clone(),
            metric_registry,
            stop_attaching.clone(),
        ));
        let reload = Reload {
            client_tls: Arc::clone(&config.tls),
            planes: Arc::clone(&planes),
            metrics: Arc::clone(&metrics),
        };
        background.spawn(reload.run(stop_attaching.clone()));
        let deps = SessionDeps {
            run_id,
            tls: Arc::clone(&config.tls),
            tls_required: config.tls_required,
            proxy_protocol_networks: config.proxy_protocol_networks.clone(),
            session_places: Semaphore::new(config.max_sessions),
            client_auth: config.client_auth,
            planes,
            registry,
            cancels,
            wrong_keys: WrongKeys::default(),
            lease,
            outbox,
            quota_requests,
            verdicts: VerdictCache::new(),
            catalogs: crate::policy::Catalogs::new(),
            metrics,
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        Ok(Self {
            deps: Arc::new(deps),
            starting,
            threads,
            _record_thread: record_thread,
            readiness,
            asked_to_drain,
            stop_publishing,
            stop_attaching,
            background,
        })
    }

    /// Accepts sessions until it shall not, lets them end, sends their last records, and leaves.
    async fn serve(mut self, proxy: TcpListener, config: Config, shutdown: CancellationToken) {
        let sessions = TaskTracker::new();
        let stop_accepting = CancellationToken::new();
        let accepting = tokio::spawn(listener::accept(
            proxy,
            Arc::clone(&self.starting),
            Arc::clone(&self.threads),
            Arc::clone(&self.deps),
            sessions.clone(),
            stop_accepting.clone(),
        ));
        self.readiness.set(LISTENER, Ok(()));
        let grace = tokio::select! {
            () = shutdown.cancelled() => config.shutdown_grace,
            grace = asked_to_drain(&mut self.asked_to_drain) => grace,
        };
        self.readiness.set(LISTENER, Err("draining".to_owned()));
        stop_accepting.cancel();
        if let Err(error) = accepting.await {
            tracing::error!(%error, "accepting ended badly");
        }
        self.drain_sessions(&sessions, grace).await;
        self.flush().await;
        self.stop_attaching.cancel();
        self.background.close();
        self.background.wait().await;
        tracing::info!("data plane stopped");
    }

    async fn drain_sessions(&self, sessions: &TaskTracker, grace: Duration) {
        sessions.close();
        self.deps.drain.cancel();
        if tokio::time::timeout(grace, sessions.wait()).await.is_ok() {
            tracing::info!("all sessions ended");
            return;
        }
        tracing::warn!(
            sessions = sessions.len(),
            ?grace,
            "grace period over, ending remaining sessions"
        );
        self.deps.abort.cancel();
        if tokio::time::timeout(ABORT_TIMEOUT, sessions.wait())
            .await
            .is_err()
        {
            tracing::error!(sessions = sessions.len(), "sessions did not end");
        }
    }

    async fn flush(&self) {
        let outbox = &self.deps.outbox;
        let drained = tokio::time::timeout(FLUSH_TIMEOUT, outbox.drained()).await;
        self.stop_publishing.cancel();
        if drained.is_err() {
            let depth = outbox.depth();
            tracing::warn!(
                records = depth.records,
                bytes = depth.bytes,
                "no control plane took the last records, they stay in the spool for the next start"
            );
        }
        if let Err(error) = outbox.close() {
            tracing::warn!(error = %Chain(&error), "spool folder not removed");
        }
    }
}

/// Waits until the control plane asks; for ever once nobody is left who could.
async fn asked_to_drain(asked: &mut watch::Receiver<Option<Duration>>) -> Duration {
    if let Ok(grace) = asked.wait_for(Option::is_some).await {
        return grace.unwrap_or_default();
    }
    std::future::pending().await
}
