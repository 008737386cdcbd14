//! Logs in to a target with the stored login: SCRAM, md5, or the password itself.

use pglens_core::limits::MAX_PASSWORD_MESSAGE_BYTES;
use pglens_wire::backend::{self, Authentication, ErrorFields};
use pglens_wire::frontend;
use pglens_wire::scram::{ChannelBinding, ClientExchange};

use super::ConnectError;
use crate::control::Target;
use crate::net::{Connection, Frame};

/// An error of the target before authentication; its texts are short.
const MAX_ERROR_BYTES: usize = 30_000;

/// Answers whatever the target asks until it says that it is satisfied.
pub(super) async fn authenticate(
    connection: &mut Connection,
    target: &Target,
    binding: Option<&ChannelBinding>,
) -> Result<(), ConnectError> {
    loop {
        let frame = authentication(connection).await?;
        let mut answer = Vec::new();
        match Authentication::decode(&frame.payload)? {
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => {
                frontend::put_password(&mut answer, target.password.expose().as_bytes());
            }
            Authentication::Md5Password { salt } => {
                let hash = postgres_protocol::authentication::md5_hash(
                    target.username.as_bytes(),
                    target.password.expose().as_bytes(),
                    salt,
                );
                frontend::put_password(&mut answer, hash.as_bytes());
            }
            Authentication::Sasl { mechanisms } => {
                return scram(connection, target, mechanisms, binding).await;
            }
            Authentication::SaslContinue { .. } | Authentication::SaslFinal { .. } => {
                return Err(ConnectError::Unexpected { tag: frame.tag });
            }
            Authentication::Other { code } => return Err(ConnectError::Authentication { code }),
        }
        send(connection, &answer).await?;
    }
}

/// Ends only when the target has proved that it knows the password's verifier.
async fn scram(
    connection: &mut Connection,
    target: &Target,
    mechanisms: Vec<&str>,
    binding: Option<&ChannelBinding>,
) -> Result<(), ConnectError> {
    let (exchange, initial) = ClientExchange::start(mechanisms, target.password.expose(), binding)?;
    let mut message = Vec::new();
    frontend::put_sasl_initial_response(&mut message, initial.mechanism.as_str(), &initial.data);
    send(connection, &message).await?;

    let frame = authentication(connection).await?;
    let Authentication::SaslContinue { data } = Authentication::decode(&frame.payload)? else {
        return Err(ConnectError::UnprovedServer);
    };
    let (exchange, response) = exchange.server_first(data)?;
    let mut message = Vec::new();
    frontend::put_sasl_response(&mut message, &response);
    send(connection, &message).await?;

    let frame = authentication(connection).await?;
    let Authentication::SaslFinal { data } = Authentication::decode(&frame.payload)? else {
        return Err(ConnectError::UnprovedServer);
    };
    exchange.server_final(data)?;

    let frame = authentication(connection).await?;
    match Authentication::decode(&frame.payload)? {
        Authentication::Ok => Ok(()),
        _ => Err(ConnectError::Unexpected { tag: frame.tag }),
    }
}

/// The next message about authentication; notices before it are of no use to anyone.
async fn authentication(connection: &mut Connection) -> Result<Frame, ConnectError> {
    loop {
        let limit = MAX_ERROR_BYTES.max(MAX_PASSWORD_MESSAGE_BYTES);
        let frame = connection.read_frame(limit).await?;
        match frame.tag {
            backend::tag::AUTHENTICATION => return Ok(frame),
            backend::tag::ERROR_RESPONSE => return Err(refused(&frame.payload, false)),
            backend::tag::NOTICE_RESPONSE | backend::tag::NEGOTIATE_PROTOCOL_VERSION => {}
            tag => return Err(ConnectError::Unexpected { tag }),
        }
    }
}

pub(super) fn refused(payload: &[u8], authenticated: bool) -> ConnectError {
    let error = ErrorFields::read(payload);
    ConnectError::Refused {
        sqlstate: String::from_utf8_lossy(error.sqlstate).into_owned(),
        message: String::from_utf8_lossy(error.message).into_owned(),
        authenticated,
    }
}

pub(super) async fn send(connection: &mut Connection, bytes: &[u8]) -> Result<(), ConnectError> {
    let sent = connection.send(bytes).await;
    sent.map_err(ConnectError::Write)
}
