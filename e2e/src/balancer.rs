//! A load balancer in front of several proxies: round robin over TCP, as a Service or haproxy would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Accepts until it is dropped; each connection goes to the next backend that accepts it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// Listens on a free port.
    pub async fn start(backends: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let accepting = tokio::spawn(accept(listener, backends.into()));
        Self { address, accepting }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, backends: Arc<[String]>) {
    let next = Arc::new(AtomicUsize::new(0));
    while let Ok((client, _)) = listener.accept().await {
        let (backends, next) = (Arc::clone(&backends), Arc::clone(&next));
        tokio::spawn(async move {
            // Either side hanging up ends the connection, which is all a balancer knows.
            let _hung_up = join(client, &backends, &next).await;
        });
    }
}

async fn join(
    mut client: TcpStream,
    backends: &[String],
    next: &AtomicUsize,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    for _ in backends {
        let backend = &backends[next.fetch_add(1, Ordering::Relaxed) % backends.len()];
        if let Ok(mut server) = TcpStream::connect(backend).await {
            server.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            return Ok(());
        }
    }
    Ok(())
}
