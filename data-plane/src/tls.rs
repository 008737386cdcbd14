//! TLS towards clients: the certificate they are shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use pglens_runtime::TlsError;
use pglens_runtime::tls::{load_certs, load_key, provider};
use tokio_rustls::TlsAcceptor;

use crate::net::end_point::server_end_point;

/// What a PostgreSQL client offers in ALPN, and must offer when it begins with TLS at once.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// One certificate with its key, ready for handshakes.
pub(crate) struct ServerTls {
    pub(crate) acceptor: TlsAcceptor,
    /// Channel binding data of the certificate; `None` when it has none.
    pub(crate) end_point: Option<Vec<u8>>,
}

impl ServerTls {
    fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let certificates = load_certs(&files.certificate)?;
        let key = load_key(&files.key)?;
        let end_point = certificates.first().and_then(|leaf| server_end_point(leaf));
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            end_point,
        })
    }
}

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    pub(crate) fn paths(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }
}

/// The certificate that new connections are shown; sessions keep the one they began with.
pub(crate) struct ClientTls {
    files: Option<TlsFiles>,
    current: RwLock<Option<Arc<ServerTls>>>,
}

impl ClientTls {
    /// TLS as the files say; without files there is none.
    ///
    /// # Errors
    /// When a file cannot be used, or the two do not belong together.
    pub(crate) fn load(files: Option<TlsFiles>) -> Result<Arc<Self>, TlsError> {
        let current = files.as_ref().map(ServerTls::load).transpose()?;
        Ok(Arc::new(Self {
            files,
            current: RwLock::new(current.map(Arc::new)),
        }))
    }

    pub(crate) fn is_configured(&self) -> bool {
        self.files.is_some()
    }

    pub(crate) fn files(&self) -> Option<&TlsFiles> {
        self.files.as_ref()
    }

    /// For a handshake that begins now.
    pub(crate) fn current(&self) -> Option<Arc<ServerTls>> {
        self.current.read().clone()
    }

    /// Reads the files again. What cannot be used changes nothing.
    ///
    /// # Errors
    /// As for [`ClientTls::load`].
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        if let Some(files) = &self.files {
            let fresh = Arc::new(ServerTls::load(files)?);
            *self.current.write() = Some(fresh);
        }
        Ok(())
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
