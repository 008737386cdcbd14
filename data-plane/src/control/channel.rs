//! The control planes this proxy may talk to, and which of them answered last.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use pglens_core::Secret;
use pglens_runtime::TlsError;
use pglens_runtime::tls::{load_certs, load_key, load_text};
use tokio::runtime::Handle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// A control plane in the same network answers in milliseconds; one that does not within this is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a control plane that vanished without a word is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the control planes are, and by what this proxy and they know each other.
#[derive(Debug, Clone)]
pub(crate) struct ControlConfig {
    pub(crate) urls: Vec<String>,
    pub(crate) files: IdentityFiles,
    pub(crate) identity: IdentityPem,
}

/// Where the certificates are.
#[derive(Debug, Clone)]
pub(crate) struct IdentityFiles {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl IdentityFiles {
    pub(crate) fn paths(&self) -> [&Path; 3] {
        [&self.ca, &self.certificate, &self.key]
    }

    /// Reads the files and looks whether they hold what they should.
    ///
    /// # Errors
    /// When one cannot be read or used.
    pub(crate) fn read(&self) -> Result<IdentityPem, TlsError> {
        load_certs(&self.ca)?;
        load_certs(&self.certificate)?;
        load_key(&self.key)?;
        Ok(IdentityPem {
            ca: load_text(&self.ca)?,
            certificate: load_text(&self.certificate)?,
            key: Secret::new(load_text(&self.key)?),
        })
    }
}

/// What the files hold.
#[derive(Debug, Clone)]
pub(crate) struct IdentityPem {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: Secret<String>,
}

/// A URL or certificate that no connection can be made with.
#[derive(Debug, thiserror::Error)]
#[error("control plane {url}")]
pub(crate) struct InvalidControlPlane {
    pub(crate) url: String,
    #[source]
    source: tonic::transport::Error,
}

/// Certificates that changed and cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error("a certificate or key cannot be used")]
    Files(#[from] TlsError),
    #[error("no connection can be made with the certificates")]
    Connect(#[from] InvalidControlPlane),
}

/// The connections to each control plane; each connects when it is used and again after it broke.
#[derive(Debug)]
pub(crate) struct ControlPlanes {
    urls: Vec<String>,
    files: IdentityFiles,
    /// What connections for records live on.
    record_runtime: Handle,
    planes: RwLock<Vec<ControlPlane>>,
    /// Index of the one that answered last.
    preferred: AtomicUsize,
}

/// A control plane by its URL.
#[derive(Debug, Clone)]
pub(crate) struct ControlPlane {
    pub(crate) url: String,
    /// For logins and the attachment.
    pub(crate) decisions: Channel,
    /// For records. They have a connection of their own: streams of one HTTP/2 connection share its flow control, and
    /// records that storage is slow to take must not hold up logins and leases.
    pub(crate) records: Channel,
}

impl ControlPlanes {
    /// Connections for records will live on `record_runtime`, all others on the one that this is called on.
    pub(crate) fn new(
        config: &ControlConfig,
        record_runtime: Handle,
    ) -> Result<Self, InvalidControlPlane> {
        let planes = connect(&config.urls, &config.identity, &record_runtime)?;
        Ok(Self {
            urls: config.urls.clone(),
            files: config.files.clone(),
            record_runtime,
            planes: RwLock::new(planes),
            preferred: AtomicUsize::new(0),
        })
    }

    pub(crate) fn files(&self) -> &IdentityFiles {
        &self.files
    }

    /// Reads the certificates again; what connects from now on uses them. Streams that are open go on as they are.
    ///
    /// # Errors
    /// When they cannot be used; nothing has changed then.
    pub(crate) fn reload(&self) -> Result<(), ReloadError> {
        let identity = self.files.read()?;
        let planes = connect(&self.urls, &identity, &self.record_runtime)?;
        *self.planes.write() = planes;
        Ok(())
    }

    /// All control planes, the one that answered last in front, with their indexes for [`ControlPlanes::answered`].
    pub(crate) fn in_order(&self) -> Vec<(usize, ControlPlane)> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut planes: Vec<_> = self.planes.read().iter().cloned().enumerate().collect();
        let count = planes.len().max(1);
        planes.rotate_left(preferred % count);
        planes
    }

    /// Remembers that the control plane at `index` answers.
    pub(crate) fn answered(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }
}

fn connect(
    urls: &[String],
    identity: &IdentityPem,
    record_runtime: &Handle,
) -> Result<Vec<ControlPlane>, InvalidControlPlane> {
    let connect = |url: &String| {
        let endpoint = endpoint(identity, url).map_err(|source| InvalidControlPlane {
            url: url.clone(),
            source,
        })?;
        let decisions = endpoint.connect_lazy();
        let _there = record_runtime.enter();
        Ok(ControlPlane {
            url: url.clone(),
            decisions,
            records: endpoint.connect_lazy(),
        })
    };
    urls.iter().map(connect).collect()
}

fn endpoint(identity: &IdentityPem, url: &str) -> Result<Endpoint, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.ca))
        .identity(Identity::from_pem(
            &identity.certificate,
            identity.key.expose(),
        ));
    Ok(Endpoint::from_shared(url.to_owned())?
        .tls_config(tls)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}
