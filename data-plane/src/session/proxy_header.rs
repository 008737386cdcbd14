//! Reads the PROXY header of a connection that comes from a load balancer.

use std::io;

use pglens_wire::proxy_protocol::{ProxyHeader, ProxyProtocolError};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes looked at in one step; nearly every header is shorter.
const PEEK_BYTES: usize = 256;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("reading failed")]
    Io(#[from] io::Error),
    #[error("the connection was closed inside the PROXY header")]
    Closed,
    #[error("no PROXY header can be read")]
    Protocol(#[from] ProxyProtocolError),
}

/// Takes the header off the connection, and nothing behind it: that may be the client's TLS. `None` when the connection
/// was closed without a byte.
///
/// Memory is bounded by the longest header. Not cancel safe; the caller drops the connection with it.
pub(super) async fn read(socket: &mut TcpStream) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let mut header = Vec::new();
    loop {
        let taken = header.len();
        header.resize(taken + PEEK_BYTES, 0);
        let peeked = socket
            .peek(header.get_mut(taken..).unwrap_or_default())
            .await?;
        if peeked == 0 {
            let is_probe = taken == 0;
            return if is_probe {
                Ok(None)
            } else {
                Err(ProxyHeaderError::Closed)
            };
        }
        header.truncate(taken + peeked);
        let decoded = ProxyHeader::decode(&header)?;
        let bytes = decoded.map_or(header.len(), |(_, bytes)| bytes);
        // These bytes are there; all of them belong to the header.
        socket
            .read_exact(header.get_mut(taken..bytes).unwrap_or_default())
            .await?;
        if let Some((decoded, _)) = decoded {
            return Ok(Some(decoded));
        }
    }
}
