//! What every request handler and background task works with.

use std::sync::Arc;
use std::time::Duration;

use pglens_core::AuditLevel;
use pglens_runtime::Metrics;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::crypto::data_key::DataKeys;
use crate::crypto::keyring::KeyRing;
use crate::crypto::password::Passwords;
use crate::feed::Standing;
use crate::fleet::cancel::Cancels;
use crate::fleet::desk::Desk;
use crate::fleet::endings::Endings;
use crate::fleet::registry::Registry;
use crate::ingest::Sessions;
use crate::ingest::live::Live;
use crate::ingest::retention::Retention;
use crate::metrics::ControlMetrics;
use crate::service::caller::Credentials;
use crate::service::login::Logins;
use crate::service::queries::download::MAX_DOWNLOADS;
use crate::storage::Storage;

/// What sessions get unless their grant or database says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct SessionDefaults {
    /// How long a session goes on after its proxy last heard from a control plane.
    pub lease: Duration,
    /// How durable a statement's record is before it runs.
    pub audit_level: AuditLevel,
    /// Rows kept for each statement.
    pub capture_max_rows: u64,
    /// Bytes of rows kept for each statement.
    pub capture_max_bytes: u64,
    /// For how long the record is kept.
    pub retention: Retention,
}

/// The parts of a running control plane, shared as `Arc<App>`.
#[derive(Debug)]
pub struct App {
    /// The storage database.
    pub storage: Storage,
    /// The master keys.
    pub keys: Arc<KeyRing>,
    /// Password hashing.
    pub passwords: Passwords,
    /// Credentials that were checked a moment ago.
    pub credentials: Credentials,
    /// What sessions get by default.
    pub session_defaults: SessionDefaults,
    /// The keys of captured values.
    pub data_keys: DataKeys,
    /// Logins in progress.
    pub logins: Logins,
    /// The proxies attached to this replica.
    pub fleet: Arc<Registry>,
    /// Claims on quotas that wait for their answer.
    pub desk: Desk,
    /// Sessions that proxies were told to end.
    pub endings: Endings,
    /// Cancel requests between proxies.
    pub cancels: Cancels,
    /// What sessions are known to belong to.
    pub sessions: Sessions,
    /// What goes on, for those who watch.
    pub live: Live,
    /// How the feed stands.
    pub feed: Arc<Standing>,
    /// Places for downloads of captured rows.
    pub downloads: Arc<Semaphore>,
    /// The instruments of this plane.
    pub metrics: ControlMetrics,
    /// Cancelled when the process is to end: streams must end then, requests may finish.
    pub shutdown: CancellationToken,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        config: &Config,
        storage: Storage,
        metrics: &Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        let (fleet, live) = (Arc::default(), Live::default());
        let feed = Arc::<Standing>::default();
        ControlMetrics::observe(metrics, &fleet, &live);
        ControlMetrics::observe_feed(metrics, &feed);
        Self {
            metrics: ControlMetrics::new(metrics, &storage),
            data_keys: DataKeys::new(storage.clone(), Arc::clone(&config.keys)),
            logins: Logins::new(&config.keys),
            fleet,
            desk: Desk::default(),
            endings: Endings::default(),
            cancels: Cancels::new(&config.keys),
            sessions: Sessions::default(),
            live,
            feed,
            downloads: Arc::new(Semaphore::new(MAX_DOWNLOADS)),
            storage,
            keys: Arc::clone(&config.keys),
            passwords: Passwords::default(),
            credentials: Credentials::default(),
            session_defaults: config.session_defaults,
            shutdown,
        }
    }
}
