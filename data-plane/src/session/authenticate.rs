//! The login: what the client proves is passed to the control plane, and what that decides is passed back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::ErrorCode;
use pglens_core::limits::{HANDSHAKE_TIMEOUT, MAX_PASSWORD_MESSAGE_BYTES};
use pglens_rpc::v1;
use pglens_rpc::v1::login_request::Step;
use pglens_runtime::Chain;
use pglens_wire::startup::StartupMessage;
use pglens_wire::{MalformedMessage, backend, frontend};

use super::report::ClientError;
use super::startup::{Client, TlsFacts};
use super::{Reported, SessionDeps};
use crate::config::ClientAuth;
use crate::control::Allowed;
use crate::control::login::{Answer, LoginError, LoginExchange};
use crate::control::registry::key_digest;
use crate::metrics::LoginOutcome;
use crate::net::{Connection, ReadError};

/// PostgreSQL's default `authentication_timeout`. A client has [`HANDSHAKE_TIMEOUT`] for each of its answers: people are
/// asked for their password before the connection is made; the rest is for the control plane.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// First, continue, final; no mechanism takes more.
const MAX_ROUNDS: usize = 4;

/// A client that was let in.
pub(crate) struct Login {
    pub(crate) client: Connection,
    pub(crate) message: StartupMessage,
    pub(crate) user: String,
    pub(crate) allowed: Allowed,
    /// What the client is told to cancel with; never the target's.
    pub(crate) cancel_secret: Box<[u8]>,
}

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
enum AuthenticateError {
    #[error("the client took longer than {after:?} to log in")]
    TimedOut { after: Duration },
    #[error("the client left")]
    Client(#[source] ReadError),
    #[error("writing to the client failed")]
    Write(#[source] std::io::Error),
    #[error("the client answered with a message of type {tag:#04x}")]
    Unexpected { tag: u8 },
    #[error("the client's answer is malformed")]
    Malformed(#[from] MalformedMessage),
    #[error("no decision on the login")]
    ControlPlane(#[from] LoginError),
    #[error("the login took more steps than there are")]
    TooManyRounds,
    #[error("login denied: {}", deny.code)]
    Denied { deny: Box<v1::Deny> },
    #[error("a password was to be asked for without TLS")]
    PasswordWithoutTls,
}

pub(crate) async fn run(
    mut client: Client,
    deps: &Arc<SessionDeps>,
    begun: Instant,
) -> Result<Login, Reported> {
    let peer = client.peer;
    let cancel_secret = mint_cancel_secret(&client.message);
    let mut start = login_start(&client, deps);
    start.cancel_key_digest = key_digest(&cancel_secret).to_vec();
    let user = start.user.clone();
    let is_tls = client.tls.is_some();
    let exchange = exchange(&mut client, start, deps, is_tls);
    let result = match tokio::time::timeout(LOGIN_TIMEOUT, exchange).await {
        Ok(result) => result,
        Err(_elapsed) => Err(AuthenticateError::TimedOut {
            after: LOGIN_TIMEOUT,
        }),
    };
    match result {
        Ok(allowed) => {
            deps.metrics.login(LoginOutcome::Allowed, begun.elapsed());
            Ok(Login {
                client: client.connection,
                message: client.message,
                user,
                allowed: *allowed,
                cancel_secret,
            })
        }
        Err(error) => {
            deps.metrics.login(error.outcome(), begun.elapsed());
            error.log(peer);
            if let Some(told) = error.told() {
                let mut out = Vec::new();
                told.put_fatal(&mut out);
                let _client_may_be_gone = client.connection.send(&out).await;
            }
            Err(Reported)
        }
    }
}

/// Four bytes, or 32 for clients that take them: nobody guesses those.
fn mint_cancel_secret(message: &StartupMessage) -> Box<[u8]> {
    if message.takes_long_cancel_keys() {
        Box::new(rand::random::<[u8; 32]>())
    } else {
        Box::new(rand::random::<[u8; 4]>())
    }
}

fn login_start(client: &Client, deps: &SessionDeps) -> v1::LoginStart {
    let parameter = |name: &str| {
        client
            .message
            .parameter(name)
            .unwrap_or_default()
            .to_owned()
    };
    let user = parameter("user");
    let database = match parameter("database") {
        none if none.is_empty() => user.clone(),
        database => database,
    };
    let tls = client.tls.as_ref().map(|facts| {
        let TlsFacts {
            version,
            cipher_suite,
            end_point,
        } = facts;
        v1::ClientTls {
            version: (*version).to_owned(),
            cipher_suite: cipher_suite.clone(),
            server_end_point: end_point.clone().unwrap_or_default(),
        }
    });
    let method = match deps.client_auth {
        ClientAuth::Password if client.tls.is_some() => v1::AuthMethod::Password,
        ClientAuth::Password | ClientAuth::ScramSha256 => v1::AuthMethod::ScramSha256,
    };
    v1::LoginStart {
        run_id: deps.run_id.to_wire(),
        user,
        database,
        client_address: client.peer.to_string(),
        tls,
        application_name: parameter("application_name"),
        method: method.into(),
        protocol_minor: u32::from(client.message.spoken_minor()),
        cancel_key_digest: Vec::new(),
    }
}

async fn exchange(
    client: &mut Client,
    start: v1::LoginStart,
    deps: &Arc<SessionDeps>,
    is_tls: bool,
) -> Result<Box<Allowed>, AuthenticateError> {
    if client.message.needs_negotiation() {
        let options = client.message.protocol_options();
        let mut out = Vec::new();
        backend::put_negotiate_protocol_version(&mut out, client.message.spoken_minor(), &options);
        send(&mut client.connection, &out).await?;
    }
    let connection = &mut client.connection;
    let (mut exchange, mut answer) = LoginExchange::start(&deps.planes, start).await?;
    for _round in 0..MAX_ROUNDS {
        let step = match answer {
            Answer::Allow(allowed) => return Ok(allowed),
            Answer::Deny(deny) => {
                return Err(AuthenticateError::Denied {
                    deny: Box::new(deny),
                });
            }
            Answer::Continue { data } => sasl_response(connection, &data).await?,
            Answer::Authenticate { sasl_mechanisms } if sasl_mechanisms.is_empty() => {
                if !is_tls {
                    return Err(AuthenticateError::PasswordWithoutTls);
                }
                password(connection).await?
            }
            Answer::Authenticate { sasl_mechanisms } => {
                sasl_initial(connection, &sasl_mechanisms).await?
            }
        };
        answer = exchange.step(step).await?;
    }
    match answer {
        Answer::Allow(allowed) => Ok(allowed),
        Answer::Deny(deny) => Err(AuthenticateError::Denied {
            deny: Box::new(deny),
        }),
        _ => Err(AuthenticateError::TooManyRounds),
    }
}

async fn password(connection: &mut Connection) -> Result<Step, AuthenticateError> {
    let mut out = Vec::new();
    backend::put_authentication_cleartext_password(&mut out);
    let payload = ask(connection, &out).await?;
    let password = frontend::password(&payload)?.to_vec();
    Ok(Step::Password(v1::PasswordResponse { password }))
}

async fn sasl_initial(
    connection: &mut Connection,
    mechanisms: &[String],
) -> Result<Step, AuthenticateError> {
    let mut out = Vec::new();
    backend::put_authentication_sasl(&mut out, mechanisms.iter().map(String::as_str));
    let payload = ask(connection, &out).await?;
    let (mechanism, data) = frontend::sasl_initial_response(&payload)?;
    Ok(Step::SaslInitial(v1::SaslInitialResponse {
        mechanism: String::from_utf8_lossy(mechanism).into_owned(),
        data: data.to_vec(),
    }))
}

async fn sasl_response(
    connection: &mut Connection,
    data: &[u8],
) -> Result<Step, AuthenticateError> {
    let mut out = Vec::new();
    backend::put_authentication_sasl_continue(&mut out, data);
    let data = ask(connection, &out).await?;
    Ok(Step::SaslResponse(v1::SaslResponse { data }))
}

/// Sends an authentication request and reads the answer to it.
async fn ask(connection: &mut Connection, request: &[u8]) -> Result<Vec<u8>, AuthenticateError> {
    send(connection, request).await?;
    let answer = connection.read_frame(MAX_PASSWORD_MESSAGE_BYTES);
    let frame = tokio::time::timeout(HANDSHAKE_TIMEOUT, answer)
        .await
        .map_err(|_elapsed| AuthenticateError::TimedOut {
            after: HANDSHAKE_TIMEOUT,
        })?
        .map_err(AuthenticateError::Client)?;
    match frame.tag {
        frontend::tag::PASSWORD => Ok(frame.payload),
        tag => Err(AuthenticateError::Unexpected { tag }),
    }
}

async fn send(connection: &mut Connection, bytes: &[u8]) -> Result<(), AuthenticateError> {
    let sent = connection.send(bytes).await;
    sent.map_err(AuthenticateError::Write)
}

impl AuthenticateError {
    fn outcome(&self) -> LoginOutcome {
        match self {
            Self::ControlPlane(_) | Self::TooManyRounds | Self::PasswordWithoutTls => {
                LoginOutcome::ControlPlaneUnavailable
            }
            Self::Denied { .. } => LoginOutcome::Denied,
            _ => LoginOutcome::ClientGone,
        }
    }

    /// What the client is told; nothing when it has left.
    fn told(&self) -> Option<ClientError> {
        let protocol =
            |message: &'static str| Some(ClientError::new(ErrorCode::ProtocolViolation, message));
        match self {
            // psql closes the connection to ask for a password and comes back.
            Self::Client(ReadError::Closed | ReadError::Io(_)) | Self::Write(_) => None,
            Self::Client(_) => protocol("invalid password message"),
            Self::Unexpected { .. } => protocol("expected a password message"),
            Self::Malformed(_) => protocol("malformed password message"),
            Self::TimedOut { .. } => Some(ClientError::new(
                ErrorCode::Unauthenticated,
                "canceling authentication due to timeout",
            )),
            Self::Denied { deny } => Some(ClientError::denied((**deny).clone())),
            Self::ControlPlane(_) | Self::TooManyRounds | Self::PasswordWithoutTls => Some(
                ClientError::new(
                    ErrorCode::ControlPlaneUnavailable,
                    "PgLens cannot decide on logins right now",
                )
                .hint("Try again in a moment."),
            ),
        }
    }

    fn log(&self, peer: SocketAddr) {
        match self {
            Self::ControlPlane(_) | Self::TooManyRounds | Self::PasswordWithoutTls => {
                tracing::warn!(client = %peer, error = %Chain(self), "login not decided");
            }
            Self::Denied { .. } => {
                tracing::info!(client = %peer, error = %Chain(self), "login denied");
            }
            _ => tracing::debug!(client = %peer, error = %Chain(self), "login not finished"),
        }
    }
}
