//! From a target's address to a session that is ready for its first statement.

use std::time::Duration;

use pglens_wire::backend::{self, TransactionStatus};
use pglens_wire::startup::put_startup;

use super::auth::{authenticate, refused, send};
use super::dial::{Dialled, Encryption, dial};
use super::{CancelKey, ConnectError};
use crate::control::Target;
use crate::net::Connection;

/// Dialling, TLS, login and startup of one target. Longer than a SYN retransmission or two, shorter than a person waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Parameters, notices and errors of a startup are short.
const MAX_STARTUP_MESSAGE_BYTES: usize = 64 * 1024;
/// A server reports some fifteen parameters.
const MAX_REPORTED_PARAMETERS: usize = 200;

/// What a session begins with besides user and database.
pub(crate) type StartupParameters = Vec<(String, String)>;

/// A session of the target, ready for its first statement.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    /// As the target reported them, in order.
    pub(crate) parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// Notices of the startup, as whole messages.
    pub(crate) notices: Vec<u8>,
    pub(crate) cancel_key: CancelKey,
    pub(crate) status: TransactionStatus,
}

/// Opens a session, trying a second time with or without TLS where the `ssl_mode` says so.
///
/// # Errors
/// The error of the last try.
pub(crate) async fn connect(
    target: &Target,
    parameters: &StartupParameters,
) -> Result<Connected, ConnectError> {
    let (first, second) = Encryption::of(target.ssl_mode);
    let both = async {
        match (open(target, parameters, first).await, second) {
            // As libpq: only a refusal before the login is worth the other way.
            (
                Err(ConnectError::Refused {
                    authenticated: false,
                    ..
                }),
                Some(second),
            ) => open(target, parameters, second).await,
            // A server that breaks off the handshake of TLS it offered may still serve in plain.
            (Err(ConnectError::TlsHandshake(_)), Some(second)) => {
                open(target, parameters, second).await
            }
            (result, _) => result,
        }
    };
    let timed_out = |_| ConnectError::TimedOut {
        address: format!("{}:{}", target.host, target.port),
        after: CONNECT_TIMEOUT,
    };
    tokio::time::timeout(CONNECT_TIMEOUT, both)
        .await
        .map_err(timed_out)?
}

async fn open(
    target: &Target,
    parameters: &StartupParameters,
    encryption: Encryption,
) -> Result<Connected, ConnectError> {
    let Dialled {
        stream,
        channel_binding,
    } = dial(target, encryption).await?;
    let encryption = if stream.is_tls() {
        Encryption::Tls
    } else {
        Encryption::Plain
    };
    let mut connection = Connection::new(stream);
    let own = [
        ("user", target.username.as_str()),
        ("database", target.database.as_str()),
    ];
    let clients = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut message = Vec::new();
    put_startup(&mut message, own.into_iter().chain(clients));
    send(&mut connection, &message).await?;
    authenticate(&mut connection, target, channel_binding.as_ref()).await?;
    start_up(connection, target, encryption).await
}

async fn start_up(
    mut connection: Connection,
    target: &Target,
    encryption: Encryption,
) -> Result<Connected, ConnectError> {
    let (mut parameters, mut notices) = (Vec::new(), Vec::new());
    let mut key = (0, Vec::new());
    loop {
        let frame = connection.read_frame(MAX_STARTUP_MESSAGE_BYTES).await?;
        match frame.tag {
            backend::tag::PARAMETER_STATUS if parameters.len() < MAX_REPORTED_PARAMETERS => {
                let (name, value) = backend::parameter_status(&frame.payload)?;
                parameters.push((name.to_vec(), value.to_vec()));
            }
            backend::tag::BACKEND_KEY_DATA => {
                let (process_id, secret) = backend::backend_key_data(&frame.payload)?;
                key = (process_id, secret.to_vec());
            }
            backend::tag::NOTICE_RESPONSE if notices.len() < MAX_STARTUP_MESSAGE_BYTES => {
                backend::put_raw(&mut notices, frame.tag, &frame.payload);
            }
            backend::tag::NOTICE_RESPONSE => {}
            backend::tag::ERROR_RESPONSE => return Err(refused(&frame.payload, true)),
            backend::tag::READY_FOR_QUERY => {
                let status = TransactionStatus::decode(&frame.payload)?;
                let (process_id, secret) = key;
                return Ok(Connected {
                    connection,
                    parameters,
                    notices,
                    cancel_key: CancelKey {
                        process_id,
                        secret,
                        target: target.clone(),
                        encryption,
                    },
                    status,
                });
            }
            tag => return Err(ConnectError::Unexpected { tag }),
        }
    }
}
