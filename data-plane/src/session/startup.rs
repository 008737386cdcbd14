//! From the first byte to the startup message: encryption, cancel requests, and what is refused before any login.
//!
//! PostgreSQL manual, sections "Start-up" and "SSL Session Encryption". Everything here happens before anybody has
//! proved anything: it is bounded in time by the caller and in memory by the size of a startup packet.

use std::net::SocketAddr;

use ipnet::IpNet;
use pglens_core::ErrorCode;
use pglens_wire::proxy_protocol::ProxyHeader;
use pglens_wire::startup::{CancelRequest, StartupMessage, StartupPacket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::SessionDeps;
use super::proxy_header::{self, ProxyHeaderError};
use super::report::ClientError;
use crate::metrics::NotServed;
use crate::net::{Connection, ReadError, Socket, Stream};
use crate::tls::{ALPN, ServerTls};

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Room for the startup packets that clients send; a longer one makes the buffer grow as its bytes come.
const FIRST_READ_BYTES: usize = 512;

/// A client that wants a session.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) message: StartupMessage,
    pub(crate) tls: Option<TlsFacts>,
    /// The client's own address, as a balancer told it where there is one.
    pub(crate) peer: SocketAddr,
}

/// What is known of the client's TLS.
pub(crate) struct TlsFacts {
    pub(crate) version: &'static str,
    pub(crate) cipher_suite: String,
    /// Channel binding data of the certificate that was shown; `None` when it has none.
    pub(crate) end_point: Option<Vec<u8>>,
}

/// Whoever asks for a cancel.
pub(crate) struct Asked {
    pub(crate) request: CancelRequest,
    /// As with [`Client`].
    pub(crate) peer: SocketAddr,
    /// Closed when the request is served: that is what clients wait for.
    pub(crate) connection: Stream,
}

/// What a connection turned out to be.
pub(crate) enum Negotiated {
    Session(Client),
    Cancel(Asked),
    /// Closed without a byte.
    Probe,
}

/// Why there is no startup message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    #[error("the client took too long")]
    TimedOut,
    #[error("newer connections took the place of one that was not logged in yet")]
    Evicted,
    #[error("the connection from a load balancer's network has no PROXY header")]
    ProxyHeader(#[from] ProxyHeaderError),
    #[error("reading failed")]
    Read(#[from] ReadError),
    #[error("writing failed")]
    Write(#[source] std::io::Error),
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    #[error("the client began with TLS, and none is configured")]
    NoTls,
    #[error("the startup packet cannot be understood")]
    Packet(#[from] pglens_wire::startup::StartupError),
    #[error("the client was refused: {message}")]
    Refused { message: String },
}

/// Reads up to the startup message. Not cancel safe; the caller drops the connection with it.
pub(crate) async fn negotiate(
    mut socket: TcpStream,
    mut peer: SocketAddr,
    deps: &SessionDeps,
) -> Result<Negotiated, StartupError> {
    // Small messages in both directions, and we never wait for more to come.
    let _only_slower = socket.set_nodelay(true);
    let is_balancer = |network: &IpNet| network.contains(&peer.ip());
    if deps.proxy_protocol_networks.iter().any(is_balancer) {
        match proxy_header::read(&mut socket).await? {
            Some(ProxyHeader::Client(client)) => peer = client,
            Some(ProxyHeader::Unknown) => {}
            None => return Ok(Negotiated::Probe),
        }
    }
    let mut first = [0_u8];
    match socket.peek(&mut first).await {
        Ok(0) => return Ok(Negotiated::Probe),
        Ok(_) => {}
        Err(error) => return Err(ReadError::Io(error).into()),
    }
    let (arriving, tls) = match (first, deps.tls.current()) {
        ([TLS_HANDSHAKE], Some(tls)) => {
            let (arriving, facts) = begin_with_tls(socket.into(), &tls).await?;
            (arriving, Some(facts))
        }
        ([TLS_HANDSHAKE], None) => return Err(StartupError::NoTls),
        _ => (Arriving::new(Stream::Plain(socket.into())), None),
    };
    packets(arriving, tls, peer, deps).await
}

/// Packets until one of them says what the connection is for.
async fn packets(
    mut arriving: Arriving,
    mut tls: Option<TlsFacts>,
    peer: SocketAddr,
    deps: &SessionDeps,
) -> Result<Negotiated, StartupError> {
    // Each request for encryption may come once, in either order.
    let (mut asked_ssl, mut asked_gss) = (false, false);
    loop {
        let Some(packet) = arriving.packet().await? else {
            return Ok(Negotiated::Probe);
        };
        match packet {
            StartupPacket::SslRequest if !asked_ssl => {
                asked_ssl = true;
                arriving.nothing_behind("SSL request").await?;
                match deps.tls.current().filter(|_| tls.is_none()) {
                    None => arriving.answer(b"N").await?,
                    Some(server_tls) => {
                        let (encrypted, facts) = encrypt(arriving, &server_tls).await?;
                        arriving = encrypted;
                        tls = Some(facts);
                        asked_gss = true;
                    }
                }
            }
            StartupPacket::GssEncRequest if !asked_gss => {
                asked_gss = true;
                arriving.nothing_behind("GSSAPI encryption request").await?;
                arriving.answer(b"N").await?;
            }
            StartupPacket::SslRequest | StartupPacket::GssEncRequest => {
                let error = pglens_wire::startup::StartupError::repeated(&packet);
                let told = ClientError::new(ErrorCode::Unsupported, error.to_string());
                return Err(arriving.refuse(told).await);
            }
            StartupPacket::Cancel(request) => {
                return Ok(Negotiated::Cancel(Asked {
                    request,
                    peer,
                    connection: arriving.stream,
                }));
            }
            StartupPacket::Startup(message) => {
                if let Err(error) = judge(&message, tls.is_some(), deps) {
                    return Err(arriving.refuse(error).await);
                }
                return Ok(Negotiated::Session(Client {
                    connection: Connection::resumed(arriving.stream, &arriving.bytes),
                    message,
                    tls,
                    peer,
                }));
            }
        }
    }
}

/// A connection of which nothing is known yet. Its buffer grows with what came, never with what was announced.
struct Arriving {
    stream: Stream,
    bytes: Vec<u8>,
}

impl Arriving {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            bytes: Vec::with_capacity(FIRST_READ_BYTES),
        }
    }

    /// The next packet; `None` when the connection was closed between two.
    async fn packet(&mut self) -> Result<Option<StartupPacket>, StartupError> {
        loop {
            match StartupPacket::decode(&self.bytes) {
                Ok(Some((packet, bytes))) => {
                    self.bytes.drain(..bytes);
                    return Ok(Some(packet));
                }
                Ok(None) => {}
                Err(error) => {
                    self.tell(&error).await;
                    return Err(error.into());
                }
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) if self.bytes.is_empty() => return Ok(None),
                Ok(0) => return Err(ReadError::Closed.into()),
                Ok(_) => {}
                Err(error) => return Err(ReadError::Io(error).into()),
            }
        }
    }

    /// Whoever sends no packet at all does not speak the protocol and is told nothing, as by PostgreSQL.
    async fn tell(&mut self, error: &pglens_wire::startup::StartupError) {
        let code = match error {
            pglens_wire::startup::StartupError::Length { .. } => return,
            pglens_wire::startup::StartupError::Protocol { .. } => ErrorCode::Unsupported,
            pglens_wire::startup::StartupError::Layout(_) => ErrorCode::ProtocolViolation,
        };
        self.refuse(ClientError::new(code, error.to_string())).await;
    }

    /// Refuses bytes that came behind a request for encryption: they would be read as if they had come encrypted.
    async fn nothing_behind(&mut self, request: &'static str) -> Result<(), StartupError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let error = ClientError::new(
            ErrorCode::ProtocolViolation,
            format!("received unencrypted data after {request}"),
        )
        .detail(
            "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
        );
        Err(self.refuse(error).await)
    }

    async fn answer(&mut self, byte: &[u8]) -> Result<(), StartupError> {
        let sending = async {
            self.stream.write_all(byte).await?;
            self.stream.flush().await
        };
        sending.await.map_err(StartupError::Write)
    }

    /// Tells the client why there will be no session.
    async fn refuse(&mut self, error: ClientError) -> StartupError {
        let mut out = Vec::new();
        error.put_fatal(&mut out);
        let _client_may_be_gone = self.answer(&out).await;
        StartupError::Refused {
            message: error.message.into_owned(),
        }
    }
}

async fn begin_with_tls(
    socket: Socket,
    tls: &ServerTls,
) -> Result<(Arriving, TlsFacts), StartupError> {
    let (mut arriving, facts, alpn) = accept(socket, tls).await?;
    if alpn.as_deref() != Some(ALPN) {
        // Without it a browser could be made to speak to us (PostgreSQL refuses it likewise).
        let error = ClientError::new(
            ErrorCode::ProtocolViolation,
            "received direct SSL connection request without ALPN protocol negotiation extension",
        );
        return Err(arriving.refuse(error).await);
    }
    Ok((arriving, facts))
}

async fn encrypt(
    mut arriving: Arriving,
    tls: &ServerTls,
) -> Result<(Arriving, TlsFacts), StartupError> {
    arriving.answer(b"S").await?;
    let Stream::Plain(socket) = arriving.stream else {
        return Err(StartupError::NoTls);
    };
    let (arriving, facts, _alpn) = accept(socket, tls).await?;
    Ok((arriving, facts))
}

type Accepted = (Arriving, TlsFacts, Option<Vec<u8>>);

async fn accept(socket: Socket, tls: &ServerTls) -> Result<Accepted, StartupError> {
    let stream = tls
        .acceptor
        .accept(socket)
        .await
        .map_err(StartupError::Tls)?;
    let state = stream.get_ref().1;
    let facts = TlsFacts {
        version: match state.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "unknown",
        },
        cipher_suite: state
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default(),
        end_point: tls.end_point.clone(),
    };
    let alpn = state.alpn_protocol().map(<[u8]>::to_vec);
    let stream = Stream::Tls(Box::new(TlsStream::Server(stream)));
    Ok((Arriving::new(stream), facts, alpn))
}

/// What is refused whoever asks.
fn judge(message: &StartupMessage, is_tls: bool, deps: &SessionDeps) -> Result<(), ClientError> {
    if deps.tls_required && !is_tls {
        return Err(ClientError::new(
            ErrorCode::Unauthenticated,
            "connections without TLS are not accepted",
        )
        .hint("Connect with sslmode=require."));
    }
    if message.parameter("user").unwrap_or_default().is_empty() {
        return Err(ClientError::new(
            ErrorCode::Unauthenticated,
            "no user name specified in startup packet",
        ));
    }
    if deps.session_places.available_permits() == 0 {
        deps.metrics.not_served(NotServed::TooManySessions);
        return Err(ClientError::too_many_sessions());
    }
    match message.parameter("replication") {
        Some(value) => pglens_policy::startup::judge_startup_parameter(
            "replication",
            value,
            pglens_core::AccessLevel::Write,
        )
        .map_err(ClientError::from),
        None => Ok(()),
    }
}
