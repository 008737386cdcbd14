//! TCP and TLS towards a target (PostgreSQL manual, section 34.19, and "SSL Session Encryption").

use std::sync::Arc;

use pglens_core::SslMode;
use pglens_runtime::Verification;
use pglens_runtime::tls::client_config;
use pglens_wire::scram::ChannelBinding;
use pglens_wire::startup::put_ssl_request;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ConnectError;
use crate::control::Target;
use crate::net::end_point::server_end_point;
use crate::net::{Socket, Stream, keepalive};

/// Whether a connection is tried with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    Plain,
    /// TLS, or plain when the server says that it has none.
    IfOffered,
    Tls,
}

impl Encryption {
    /// What `mode` tries first, and what when that is refused.
    pub(super) fn of(mode: SslMode) -> (Self, Option<Self>) {
        match mode {
            SslMode::Disable => (Self::Plain, None),
            SslMode::Allow => (Self::Plain, Some(Self::Tls)),
            SslMode::Prefer => (Self::IfOffered, Some(Self::Plain)),
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Self::Tls, None),
        }
    }
}

/// A connection on which nothing of the session has been said yet.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    pub(super) channel_binding: Option<ChannelBinding>,
}

pub(super) async fn dial(target: &Target, encryption: Encryption) -> Result<Dialled, ConnectError> {
    let address = || format!("{}:{}", target.host, target.port);
    let mut socket = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .map_err(|source| ConnectError::Dial {
            address: address(),
            source,
        })?;
    // Small messages in both directions, and we never wait for more to come.
    let _only_slower = socket.set_nodelay(true);
    keepalive::set(&socket).map_err(|source| ConnectError::Dial {
        address: address(),
        source,
    })?;
    let plain = |socket: TcpStream| Dialled {
        stream: Stream::Plain(Socket::from(socket)),
        channel_binding: None,
    };
    if encryption == Encryption::Plain {
        return Ok(plain(socket));
    }
    match (ask_for_tls(&mut socket).await?, encryption) {
        (b'S', _) => encrypt(target, socket).await,
        (b'N', Encryption::IfOffered) => Ok(plain(socket)),
        (b'N', _) => Err(ConnectError::NoTls),
        (byte, _) => Err(ConnectError::TlsAnswer { byte }),
    }
}

/// Reads exactly one byte: bytes behind it would be from somebody between, and fail the handshake.
async fn ask_for_tls(socket: &mut TcpStream) -> Result<u8, ConnectError> {
    let mut request = Vec::new();
    put_ssl_request(&mut request);
    let write = socket.write_all(&request).await;
    write.map_err(ConnectError::Write)?;
    socket
        .read_u8()
        .await
        .map_err(|error| ConnectError::Read(crate::net::ReadError::Io(error)))
}

async fn encrypt(target: &Target, socket: TcpStream) -> Result<Dialled, ConnectError> {
    let ca = target.root_certificate.as_deref();
    let verification = Verification::of(target.ssl_mode, ca.is_some());
    let config = client_config(verification, ca).map_err(ConnectError::TlsConfig)?;
    let name = ServerName::try_from(target.host.clone()).map_err(|_| ConnectError::ServerName {
        host: target.host.clone(),
    })?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, Socket::from(socket))
        .await
        .map_err(ConnectError::TlsHandshake)?;
    let certificates = stream.get_ref().1.peer_certificates();
    let channel_binding = certificates
        .and_then(<[_]>::first)
        .and_then(|leaf| server_end_point(leaf))
        .map(ChannelBinding::tls_server_end_point);
    Ok(Dialled {
        stream: Stream::Tls(Box::new(stream.into())),
        channel_binding,
    })
}
