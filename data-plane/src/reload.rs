//! Reads the certificates again when their files change. What cannot be used changes nothing, and is said.

use std::sync::Arc;

use pglens_runtime::{Chain, FileWatch};
use tokio_util::sync::CancellationToken;

use crate::control::ControlPlanes;
use crate::metrics::Metrics;
use crate::tls::ClientTls;

/// Everything that is made of files.
pub(crate) struct Reload {
    pub(crate) client_tls: Arc<ClientTls>,
    pub(crate) planes: Arc<ControlPlanes>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Reload {
    /// Watches until `stop` is cancelled. Running sessions and streams keep what they began with.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let client = self.client_tls.files().into_iter().flat_map(|f| f.paths());
        let paths = client.chain(self.planes.files().paths());
        let mut watch = FileWatch::new(paths.map(ToOwned::to_owned));
        while stop.run_until_cancelled(watch.changed()).await.is_some() {
            self.report("clients", self.client_tls.reload());
            self.report("control plane", self.planes.reload());
        }
    }

    fn report<E: std::error::Error + 'static>(&self, side: &'static str, read: Result<(), E>) {
        self.metrics.certificates_read(read.is_ok());
        match read {
            Ok(()) => tracing::info!(side, "certificates were read again"),
            Err(error) => {
                tracing::error!(side, error = %Chain(&error), "certificates cannot be used, those before stay");
            }
        }
    }
}
