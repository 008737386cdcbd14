//! API tokens, and the sessions of API logins. Both are bearer tokens of the same form.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use pglens_core::{Secret, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::audit::{Action, Actor, AuditEntry, snapshot};
use super::caller::{Caller, Credential, NamePassword, token_hash, verify_password};
use super::page::{Page, Paged};
use super::{body, validate};
use crate::app::App;
use crate::error::ServiceError;
use crate::storage::token::{NewToken, TokenKind};
pub use crate::storage::token::{Token, TokenId};
use crate::storage::user::User;
use crate::storage::{StoreError, audit, token};

/// What every token starts with, so that leaked ones can be searched for.
pub const TOKEN_PREFIX: &str = "pgl_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// A working day; then a person logs in again.
const SESSION_LIFETIME: TimeDelta = TimeDelta::hours(12);

/// A token to be created.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What its user calls it, 1 to 63 bytes.
    pub name: String,
    /// Absent: it does not expire.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token that was just created; it is never shown again.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct CreatedToken {
    /// The token itself.
    pub token: String,
    /// Its entry.
    #[serde(flatten)]
    pub entry: Token,
}

/// Name and password.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String)]
    pub password: Secret<String>,
}

/// The session of a login.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LoggedIn {
    /// Bearer token of the session.
    pub token: String,
    /// When the session ends.
    pub expires_at: DateTime<Utc>,
    /// Who is logged in.
    pub user: User,
}

fn new_token() -> String {
    format!(
        "{TOKEN_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>())
    )
}

/// Creates an API token for the caller.
///
/// # Errors
/// When a field cannot be used.
pub async fn create(
    app: &App,
    caller: &Caller,
    new: CreateToken,
) -> Result<CreatedToken, ServiceError> {
    validate::name("name", &new.name)?;
    if new
        .expires_at
        .is_some_and(|expires_at| expires_at <= Utc::now())
    {
        return Err(ServiceError::invalid("expires_at", "must be in the future"));
    }
    let text = new_token();
    let row = NewToken {
        user_id: caller.user_id,
        kind: TokenKind::Api,
        name: &new.name,
        hash: token_hash(&text),
        expires_at: new.expires_at,
    };
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let entry = token::insert_in_txn(&txn, &row).await?;
    let event = AuditEntry::by(caller, Action::TokenCreated, "token", entry.id.0)
        .after(snapshot(&entry, &["token"]));
    audit::insert_in_txn(&txn, &event).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(CreatedToken { token: text, entry })
}

/// A page of the caller's API tokens; with `of`, of another user's, for administrators.
///
/// # Errors
/// When the caller may not see them.
pub async fn list(
    app: &App,
    caller: &Caller,
    of: Option<UserId>,
    page: &Page,
) -> Result<Paged<Token>, ServiceError> {
    let user_id = of.unwrap_or(caller.user_id);
    caller.require_self_or_admin(user_id)?;
    let rows = app.storage.token_list(user_id, page).await?;
    Ok(page.cut(rows, |token| token.id.0))
}

/// Revokes an API token; administrators may revoke anyone's.
///
/// # Errors
/// When there is none, or it is revoked already.
pub async fn revoke(app: &App, caller: &Caller, id: TokenId) -> Result<(), ServiceError> {
    let owner = (!caller.is_admin).then_some(caller.user_id);
    end(app, caller, id, TokenKind::Api, owner, Action::TokenRevoked).await
}

/// Exchanges name and password for a session.
///
/// # Errors
/// When they are wrong.
pub async fn login(
    app: &App,
    login: Login,
    client_address: Option<std::net::IpAddr>,
) -> Result<LoggedIn, ServiceError> {
    let given = NamePassword {
        username: login.username,
        password: login.password,
    };
    let user = verify_password(app, &given, client_address).await?;
    let text = new_token();
    let expires_at = Utc::now() + SESSION_LIFETIME;
    let row = NewToken {
        user_id: user.id,
        kind: TokenKind::Session,
        name: "login",
        hash: token_hash(&text),
        expires_at: Some(expires_at),
    };
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let entry = token::insert_in_txn(&txn, &row).await?;
    let actor = Actor::User {
        id: user.id,
        name: user.username.clone(),
    };
    let event = AuditEntry::of(actor, Action::SessionLogin, "user", user.id)
        .after(json!({ "session": entry.id, "expires_at": expires_at }))
        .from_address(client_address);
    audit::insert_in_txn(&txn, &event).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(LoggedIn {
        token: text,
        expires_at,
        user,
    })
}

/// Ends the caller's session. With other credentials there is no session to end.
///
/// # Errors
/// When the caller did not come with a session's token.
pub async fn logout(app: &App, caller: &Caller) -> Result<(), ServiceError> {
    let no_session =
        || ServiceError::conflict("the request was not made with the token of a login");
    let Credential::Token(id) = caller.credential else {
        return Err(no_session());
    };
    end(
        app,
        caller,
        id,
        TokenKind::Session,
        Some(caller.user_id),
        Action::SessionLogout,
    )
    .await
    .map_err(|error| match error.code() {
        pglens_core::ErrorCode::NotFound => no_session(),
        _ => error,
    })
}

async fn end(
    app: &App,
    caller: &Caller,
    id: TokenId,
    kind: TokenKind,
    owner: Option<UserId>,
    action: Action,
) -> Result<(), ServiceError> {
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let entry = token::revoke_in_txn(&txn, id, kind, owner)
        .await
        .map_err(|error| match error {
            StoreError::NotFound => ServiceError::not_found(format_args!("token {}", id.0)),
            error => error.into(),
        })?;
    let event = AuditEntry::by(caller, action, "token", id.0).before(snapshot(&entry, &[]));
    audit::insert_in_txn(&txn, &event).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(())
}
