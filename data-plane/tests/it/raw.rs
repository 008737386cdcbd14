//! A client made of bytes: it says what no library would, and sees what libraries hide.

use std::sync::Arc;

use pglens_runtime::Verification;
use pglens_runtime::tls::client_config;
use pglens_wire::backend::{Authentication, tag};
use pglens_wire::frame::Header;
use pglens_wire::frontend;
use pglens_wire::scram::ClientExchange;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fake::PASSWORD;
use crate::harness::Stack;

pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
pub(crate) const GSS_ENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// A connection on which nothing was said yet.
pub(crate) async fn dial(stack: &Stack) -> Raw<TcpStream> {
    Raw(TcpStream::connect(stack.proxy()).await.unwrap())
}

pub(crate) struct Raw<S>(pub(crate) S);

/// What a client learns while it logs in.
#[derive(Debug, Default)]
pub(crate) struct Greeting {
    /// Payload of `NegotiateProtocolVersion`.
    pub(crate) negotiated: Option<Vec<u8>>,
    pub(crate) process_id: u32,
    pub(crate) secret: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub(crate) async fn byte(&mut self) -> u8 {
        self.0.read_u8().await.unwrap()
    }

    /// Everything up to the end of the connection, however that ends.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _reset = self.0.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        self.0.read_exact(&mut header).await.unwrap();
        let header = Header::peek(&header).unwrap().unwrap();
        let mut payload = vec![0; header.payload_bytes()];
        self.0.read_exact(&mut payload).await.unwrap();
        (header.tag(), payload)
    }

    /// Logs in with protocol `3.minor` and these parameters besides user and database.
    pub(crate) async fn log_in(&mut self, minor: u16, more: &[(&str, &str)]) -> Greeting {
        self.send(&startup(minor, more)).await;
        let mut greeting = Greeting::default();
        let (mut first, mut last) = (None, None);
        loop {
            let (tag, payload) = self.frame().await;
            let mut out = Vec::new();
            match tag {
                tag::NEGOTIATE_PROTOCOL_VERSION => greeting.negotiated = Some(payload),
                tag::BACKEND_KEY_DATA => {
                    greeting.process_id = u32::from_be_bytes(*payload.first_chunk().unwrap());
                    greeting.secret = payload[4..].to_vec();
                }
                tag::READY_FOR_QUERY => return greeting,
                tag::PARAMETER_STATUS => {}
                tag::AUTHENTICATION => match Authentication::decode(&payload).unwrap() {
                    Authentication::Sasl { .. } => {
                        let (exchange, initial) =
                            ClientExchange::start(["SCRAM-SHA-256"], PASSWORD, None).unwrap();
                        let mechanism = initial.mechanism.as_str();
                        frontend::put_sasl_initial_response(&mut out, mechanism, &initial.data);
                        first = Some(exchange);
                    }
                    Authentication::SaslContinue { data } => {
                        let exchange = first.take().unwrap();
                        let (exchange, response) = exchange.server_first(data).unwrap();
                        frontend::put_sasl_response(&mut out, &response);
                        last = Some(exchange);
                    }
                    Authentication::SaslFinal { data } => {
                        last.take().unwrap().server_final(data).unwrap();
                    }
                    Authentication::Ok => {}
                    other => panic!("{other:?}"),
                },
                _ => panic!("{}", String::from_utf8_lossy(&payload)),
            }
            self.send(&out).await;
        }
    }
}

/// A TLS handshake on `socket`, with these protocols in ALPN.
pub(crate) async fn encrypt(
    stack: &Stack,
    socket: TcpStream,
    alpn: &[&str],
) -> Raw<TlsStream<TcpStream>> {
    let ca = std::fs::read_to_string(stack.control.file("ca.pem")).unwrap();
    let mut config = client_config(Verification::Full, Some(&ca)).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    Raw(connector.connect(name, socket).await.unwrap())
}

/// A startup message of `ann` for the database `shop`.
pub(crate) fn startup(minor: u16, more: &[(&str, &str)]) -> Vec<u8> {
    let parameters = [("user", "ann"), ("database", "shop")];
    let mut message = Vec::new();
    pglens_wire::startup::put_startup(&mut message, parameters.iter().chain(more).copied());
    message[6..8].copy_from_slice(&minor.to_be_bytes());
    message
}
