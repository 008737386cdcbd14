//! From the first byte to the startup message: encryption, cancel requests, and what is refused before any login.
//!
//! PostgreSQL manual, sections "Start-up" and "SSL Session Encryption". Everything here happens before anybody has
//! proved anything: it is bounded in time by the caller and in memory by the size of a startup packet.

use pglens_core::ErrorCode;
use pglens_core::limits::MAX_STARTUP_PACKET_BYTES;
use pglens_wire::startup::{CancelRequest, StartupMessage, StartupPacket};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::SessionDeps;
use super::report::ClientError;
use crate::config::{ALPN, ServerTls};
use crate::net::{Connection, ReadError, Stream};

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// A client that wants a session.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) message: StartupMessage,
    pub(crate) tls: Option<TlsFacts>,
}

/// What is known of the client's TLS.
pub(crate) struct TlsFacts {
    pub(crate) version: &'static str,
    pub(crate) cipher_suite: String,
}

/// What a connection turned out to be.
pub(crate) enum Negotiated {
    Session(Client),
    Cancel(CancelRequest),
    /// Closed without a byte.
    Probe,
}

/// Why there is no startup message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    #[error("the client took too long")]
    TimedOut,
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
    socket: TcpStream,
    deps: &SessionDeps,
) -> Result<Negotiated, StartupError> {
    // Small messages in both directions, and we never wait for more to come.
    let _only_slower = socket.set_nodelay(true);
    let mut first = [0_u8];
    match socket.peek(&mut first).await {
        Ok(0) => return Ok(Negotiated::Probe),
        Ok(_) => {}
        Err(error) => return Err(ReadError::Io(error).into()),
    }
    let (mut connection, mut tls) = match (first, &deps.tls) {
        ([TLS_HANDSHAKE], Some(tls)) => {
            let (connection, facts) = begin_with_tls(socket, tls).await?;
            (connection, Some(facts))
        }
        ([TLS_HANDSHAKE], None) => return Err(StartupError::NoTls),
        _ => (Connection::new(Stream::Plain(socket)), None),
    };
    // Each request for encryption may come once, in either order.
    let (mut asked_ssl, mut asked_gss) = (tls.is_some(), tls.is_some());
    loop {
        let Some(packet) = read_packet(&mut connection).await? else {
            return Ok(Negotiated::Probe);
        };
        match packet {
            StartupPacket::SslRequest if !asked_ssl => {
                asked_ssl = true;
                match &deps.tls {
                    None => answer(&mut connection, b"N").await?,
                    Some(server_tls) => {
                        let (encrypted, facts) = encrypt(connection, server_tls).await?;
                        connection = encrypted;
                        tls = Some(facts);
                        asked_gss = true;
                    }
                }
            }
            StartupPacket::GssEncRequest if !asked_gss => {
                asked_gss = true;
                answer(&mut connection, b"N").await?;
            }
            StartupPacket::SslRequest | StartupPacket::GssEncRequest => {
                let error = ClientError::new(
                    ErrorCode::ProtocolViolation,
                    "encryption was asked for twice",
                );
                return Err(refuse(&mut connection, error).await);
            }
            StartupPacket::Cancel(request) => return Ok(Negotiated::Cancel(request)),
            StartupPacket::Startup(message) => {
                if let Err(error) = judge(&message, tls.is_some(), deps) {
                    return Err(refuse(&mut connection, error).await);
                }
                return Ok(Negotiated::Session(Client {
                    connection,
                    message,
                    tls,
                }));
            }
        }
    }
}

async fn read_packet(connection: &mut Connection) -> Result<Option<StartupPacket>, StartupError> {
    loop {
        match StartupPacket::decode(connection.read.data()) {
            Ok(Some((packet, bytes))) => {
                connection.read.consume(bytes);
                return Ok(Some(packet));
            }
            Ok(None) => {}
            Err(error) => {
                // Whoever sends no packet at all does not speak the protocol and is told nothing, as by PostgreSQL.
                if !matches!(error, pglens_wire::startup::StartupError::Length { .. }) {
                    let code = match error {
                        pglens_wire::startup::StartupError::Protocol { .. } => {
                            ErrorCode::Unsupported
                        }
                        _ => ErrorCode::ProtocolViolation,
                    };
                    let told = ClientError::new(code, error.to_string());
                    refuse(connection, told).await;
                }
                return Err(error.into());
            }
        }
        match connection.fill(MAX_STARTUP_PACKET_BYTES).await {
            Ok(()) => {}
            Err(ReadError::Closed) if connection.read.is_empty() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn answer(connection: &mut Connection, byte: &[u8]) -> Result<(), StartupError> {
    connection.send(byte).await.map_err(StartupError::Write)
}

async fn begin_with_tls(
    socket: TcpStream,
    tls: &ServerTls,
) -> Result<(Connection, TlsFacts), StartupError> {
    let (mut connection, facts, alpn) = accept(socket, tls).await?;
    if alpn.as_deref() != Some(ALPN) {
        // Without it a browser could be made to speak to us (PostgreSQL refuses it likewise).
        let error = ClientError::new(
            ErrorCode::ProtocolViolation,
            "a connection that begins with TLS must negotiate the protocol \"postgresql\"",
        );
        return Err(refuse(&mut connection, error).await);
    }
    Ok((connection, facts))
}

async fn encrypt(
    mut connection: Connection,
    tls: &ServerTls,
) -> Result<(Connection, TlsFacts), StartupError> {
    if !connection.read.is_empty() {
        // It would be read as if it had come encrypted.
        let error = ClientError::new(
            ErrorCode::ProtocolViolation,
            "received unencrypted data after SSL request",
        );
        return Err(refuse(&mut connection, error).await);
    }
    answer(&mut connection, b"S").await?;
    let Stream::Plain(socket) = connection.stream else {
        return Err(StartupError::NoTls);
    };
    let (connection, facts, _alpn) = accept(socket, tls).await?;
    Ok((connection, facts))
}

type Accepted = (Connection, TlsFacts, Option<Vec<u8>>);

async fn accept(socket: TcpStream, tls: &ServerTls) -> Result<Accepted, StartupError> {
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
    };
    let alpn = state.alpn_protocol().map(<[u8]>::to_vec);
    let stream = Stream::Tls(Box::new(TlsStream::Server(stream)));
    Ok((Connection::new(stream), facts, alpn))
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

/// Tells the client why there will be no session.
async fn refuse(connection: &mut Connection, error: ClientError) -> StartupError {
    let mut out = Vec::new();
    error.put_fatal(&mut out);
    let _client_may_be_gone = connection.send(&out).await;
    StartupError::Refused {
        message: error.message.into_owned(),
    }
}
