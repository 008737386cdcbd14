//! The control planes this proxy may talk to, and which of them answered last.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pglens_core::Secret;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// A control plane in the same network answers in milliseconds; one that does not within this is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a control plane that vanished without a word is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the control planes are, and by what this proxy and they know each other. All texts are PEM.
#[derive(Debug, Clone)]
pub(crate) struct ControlConfig {
    pub(crate) urls: Vec<String>,
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

/// The connections to each control plane; each connects when it is used and again after it broke.
#[derive(Debug)]
pub(crate) struct ControlPlanes {
    planes: Vec<ControlPlane>,
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
    pub(crate) fn new(config: &ControlConfig) -> Result<Self, InvalidControlPlane> {
        let connect = |url: &String| {
            let endpoint = endpoint(config, url).map_err(|source| InvalidControlPlane {
                url: url.clone(),
                source,
            })?;
            Ok(ControlPlane {
                url: url.clone(),
                decisions: endpoint.connect_lazy(),
                records: endpoint.connect_lazy(),
            })
        };
        Ok(Self {
            planes: config.urls.iter().map(connect).collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
        })
    }

    /// All control planes, the one that answered last in front, with their indexes for [`ControlPlanes::answered`].
    pub(crate) fn in_order(&self) -> Vec<(usize, ControlPlane)> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut planes: Vec<_> = self.planes.iter().cloned().enumerate().collect();
        let count = planes.len().max(1);
        planes.rotate_left(preferred % count);
        planes
    }

    /// Remembers that the control plane at `index` answers.
    pub(crate) fn answered(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }
}

fn endpoint(config: &ControlConfig, url: &str) -> Result<Endpoint, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&config.ca))
        .identity(Identity::from_pem(&config.certificate, config.key.expose()));
    Ok(Endpoint::from_shared(url.to_owned())?
        .tls_config(tls)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}
