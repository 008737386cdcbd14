//! The proof of who it is: SCRAM, or a password or API token in clear inside TLS.

use pglens_core::{Secret, limits};
use pglens_rpc::v1::login_response::Step;
use pglens_rpc::v1::{AuthMethod, Authenticate, LoginRequest, SaslContinue};
use pglens_runtime::Chain;
use pglens_wire::scram::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError, ScramVerifier, ServerExchange,
};
use tokio_stream::Stream;
use tonic::Status;

use super::exchange::{Exchange, message_bytes, unexpected};
use super::refusal::{Refusal, WrongCredentials};
use super::{Attempt, DECOY, Ended, Request};
use crate::app::App;
use crate::crypto::keyring::SealContext;
use crate::crypto::password::Verdict;
use crate::service::caller::token_hash;
use crate::storage::access::LoginUser;

/// How API tokens begin.
const TOKEN_PREFIX: &str = "pgl_";

/// Somebody who proved who they are.
pub(super) struct Proven {
    /// As it was when the proof began.
    pub(super) user: LoginUser,
    /// SASL's last message; empty after a password.
    pub(super) sasl_final: Vec<u8>,
}

/// Asks for the proof and checks it.
pub(super) async fn prove<S>(
    app: &App,
    attempt: &Attempt,
    exchange: &mut Exchange<S>,
) -> Result<Proven, Ended>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    if attempt.method == AuthMethod::Password && attempt.tls.is_none() {
        return Err(Refusal::PasswordWithoutTls.into());
    }
    let user = find_user(app, &attempt.user).await?;
    let proven = match attempt.method {
        AuthMethod::Password => prove_password(app, user, exchange).await?,
        AuthMethod::ScramSha256 | AuthMethod::Unspecified => {
            prove_scram(app, attempt, user, exchange).await?
        }
    };
    match proven.user.password_is_default {
        true => Err(Refusal::DefaultPassword {
            user_id: proven.user.id,
        }
        .into()),
        false => Ok(proven),
    }
}

/// Names that nobody can have are not looked up; they take the path of unknown ones.
async fn find_user(app: &App, name: &str) -> Result<Result<LoginUser, WrongCredentials>, Refusal> {
    if name.len() > limits::MAX_NAME_BYTES || name.contains('\0') {
        return Ok(Err(WrongCredentials::UnknownUser));
    }
    let user = app
        .storage
        .login_user_fetch(name)
        .await
        .map_err(Refusal::storage)?;
    Ok(match user {
        None => Err(WrongCredentials::UnknownUser),
        Some(user) if user.is_disabled => Err(WrongCredentials::UserDisabled),
        Some(user) => Ok(user),
    })
}

async fn prove_scram<S>(
    app: &App,
    attempt: &Attempt,
    user: Result<LoginUser, WrongCredentials>,
    exchange: &mut Exchange<S>,
) -> Result<Proven, Ended>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    let verifier = verifier(app, user.as_ref().ok(), &attempt.user)?;
    let binding = attempt
        .tls
        .as_ref()
        .filter(|tls| !tls.server_end_point.is_empty())
        .map(|tls| ChannelBinding::tls_server_end_point(tls.server_end_point.clone()));
    let mechanisms: &[&str] = match binding {
        Some(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
        None => &[SCRAM_SHA_256],
    };
    let sasl_mechanisms = mechanisms.iter().map(|name| (*name).to_owned()).collect();
    send(
        exchange,
        Step::Authenticate(Authenticate { sasl_mechanisms }),
    )
    .await?;

    let Request::SaslInitial(initial) = next(exchange).await? else {
        return Err(Ended::Broken(unexpected("sasl_initial")));
    };
    let data = message_bytes(initial.data).map_err(Ended::Broken)?;
    let (await_proof, data) = ServerExchange::start(verifier, binding)
        .client_first(&initial.mechanism, &data)
        .map_err(Refusal::Scram)?;
    send(exchange, Step::SaslContinue(SaslContinue { data })).await?;

    let Request::SaslResponse(response) = next(exchange).await? else {
        return Err(Ended::Broken(unexpected("sasl_response")));
    };
    let data = message_bytes(response.data).map_err(Ended::Broken)?;
    match (await_proof.client_final(&data), user) {
        (Ok(proven), Ok(user)) => Ok(Proven {
            user,
            sasl_final: proven.server_final,
        }),
        (Ok(_) | Err(ScramError::WrongProof), Err(why)) => {
            Err(Refusal::WrongCredentials(why).into())
        }
        (Err(ScramError::WrongProof), Ok(_)) => {
            Err(Refusal::WrongCredentials(WrongCredentials::WrongPassword).into())
        }
        (Err(error), _) => Err(Refusal::Scram(error).into()),
    }
}

/// The user's verifier, or one that looks like a user's and that nothing satisfies. Both take the same work.
fn verifier(app: &App, user: Option<&LoginUser>, username: &str) -> Result<ScramVerifier, Refusal> {
    let mock = ScramVerifier::mock(&app.logins.mock_key, username);
    let row = user.map(|user| user.id.to_string());
    let (context, sealed) = match (user, &row) {
        (Some(user), Some(row)) => (SealContext { row, ..DECOY }, &user.scram_verifier_sealed),
        _ => (DECOY, &app.logins.decoy_sealed),
    };
    let broken = |error: &dyn std::error::Error| {
        tracing::error!(user.id = ?user.map(|user| user.id), error = %Chain(error), "verifier cannot be used");
        Refusal::Internal
    };
    let opened = app
        .keys
        .open(context, sealed)
        .map_err(|error| broken(&error))?;
    let text = std::str::from_utf8(opened.expose()).map_err(|error| broken(&error))?;
    let stored: ScramVerifier = text.parse().map_err(|error| broken(&error))?;
    Ok(if user.is_some() { stored } else { mock })
}

async fn prove_password<S>(
    app: &App,
    user: Result<LoginUser, WrongCredentials>,
    exchange: &mut Exchange<S>,
) -> Result<Proven, Ended>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    send(
        exchange,
        Step::Authenticate(Authenticate {
            sasl_mechanisms: Vec::new(),
        }),
    )
    .await?;
    let Request::Password(response) = next(exchange).await? else {
        return Err(Ended::Broken(unexpected("password")));
    };
    let bytes = message_bytes(response.password).map_err(Ended::Broken)?;
    // What is no text is no password; it is checked all the same, for the time that takes.
    let password = Secret::new(String::from_utf8(bytes).unwrap_or_default());

    let by_token = match password.expose().starts_with(TOKEN_PREFIX) {
        true => is_token_of(app, user.as_ref().ok(), &password).await?,
        false => false,
    };
    let stored = user.as_ref().ok().map(|user| user.password_hash.clone());
    let by_password = match by_token {
        true => Verdict::Wrong,
        false => app
            .passwords
            .verify(password, stored)
            .await
            .map_err(|error| {
                error.log();
                Refusal::Internal
            })?,
    };
    match (by_token || by_password == Verdict::Right, user) {
        // A token is as good as what its user may do, whatever the password is.
        (true, Ok(user)) if by_token => Ok(Proven {
            user: LoginUser {
                password_is_default: false,
                ..user
            },
            sasl_final: Vec::new(),
        }),
        (true, Ok(user)) => Ok(Proven {
            user,
            sasl_final: Vec::new(),
        }),
        (false, Ok(_)) => Err(Refusal::WrongCredentials(WrongCredentials::WrongPassword).into()),
        (_, Err(why)) => Err(Refusal::WrongCredentials(why).into()),
    }
}

async fn is_token_of(
    app: &App,
    user: Option<&LoginUser>,
    token: &Secret<String>,
) -> Result<bool, Refusal> {
    // No user has the id 0: the question is asked all the same.
    let user_id = user.map_or(pglens_core::UserId(0), |user| user.id);
    app.storage
        .login_token_use(user_id, &token_hash(token.expose()))
        .await
        .map_err(Refusal::storage)
}

async fn send<S>(exchange: &mut Exchange<S>, step: Step) -> Result<(), Ended>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    exchange.send(step).await.map_err(Ended::Broken)
}

async fn next<S>(exchange: &mut Exchange<S>) -> Result<Request, Ended>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    exchange.next().await.map_err(Ended::Broken)
}
