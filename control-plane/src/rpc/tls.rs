//! TLS of the gRPC server: its certificate, whose client certificates it takes, and the renewal of both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use pglens_core::limits::HANDSHAKE_TIMEOUT;
use pglens_runtime::tls::{load_certs, load_key, provider};
use pglens_runtime::{Chain, FileWatch, TlsError};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// Handshakes in progress; more connections wait in the listener.
const MAX_HANDSHAKES: usize = 256;
/// Connections that wait for the server to take them.
const READY_CONNECTIONS: usize = 32;
/// Rest after the listener itself failed, as it does while the process is out of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Where the certificates are.
#[derive(Debug, Clone)]
pub struct GrpcTlsFiles {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority of the proxies' certificates.
    pub client_ca: PathBuf,
}

impl GrpcTlsFiles {
    fn paths(&self) -> [&Path; 3] {
        [&self.certificate, &self.key, &self.client_ca]
    }

    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in load_certs(&self.client_ca)? {
            roots.add(certificate)?;
        }
        // The planes' services ask for the certificate themselves; the administration API takes credentials.
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(load_certs(&self.certificate)?, load_key(&self.key)?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// The certificates that new connections meet.
pub struct GrpcTls {
    files: GrpcTlsFiles,
    current: RwLock<TlsAcceptor>,
}

impl std::fmt::Debug for GrpcTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl GrpcTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be used, or certificate and key do not belong together.
    pub fn load(files: GrpcTlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(files.acceptor()?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again whenever they change, until the process is to end. What cannot be used changes nothing.
    pub async fn keep_current(self: Arc<Self>, app: Arc<App>) {
        let mut watch = FileWatch::new(self.files.paths().map(Path::to_owned));
        while app
            .shutdown
            .run_until_cancelled(watch.changed())
            .await
            .is_some()
        {
            let read = self.files.acceptor();
            app.metrics.certificates_read(read.is_ok());
            match read {
                Ok(acceptor) => {
                    *self.current.write() = acceptor;
                    tracing::info!("certificates were read again");
                }
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "certificates cannot be used, those before stay");
                }
            }
        }
    }

    /// The connections of `listener` whose handshake has succeeded, until `shutdown` is cancelled.
    #[must_use]
    pub fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
        let (sender, receiver) = mpsc::channel(READY_CONNECTIONS);
        tokio::spawn(async move {
            let accepting = self.accept_all(&listener, &sender);
            shutdown.run_until_cancelled(accepting).await;
        });
        ReceiverStream::new(receiver)
    }

    async fn accept_all(
        &self,
        listener: &TcpListener,
        sender: &mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
    ) {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        while let Ok(place) = Arc::clone(&handshakes).acquire_owned().await {
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "listener failed to accept");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            // Small messages in both directions, and we never wait for more to come.
            let _only_slower = socket.set_nodelay(true);
            let (acceptor, sender) = (self.current.read().clone(), sender.clone());
            tokio::spawn(async move {
                let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket));
                match handshake.await {
                    // An error means that the server has ended.
                    Ok(Ok(stream)) => _ = sender.send(Ok(stream)).await,
                    Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
                    Err(_elapsed) => tracing::debug!("handshake took too long"),
                }
                drop(place);
            });
        }
    }
}
