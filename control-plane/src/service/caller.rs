//! Who is asking: HTTP Basic and bearer credentials become a [`Caller`], the same way for REST and gRPC.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moka::sync::Cache;
use pglens_core::{ErrorCode, Secret, UserId, limits};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::audit::{Action, Actor, AuditEntry};
use super::validate::MAX_PASSWORD_BYTES;
use crate::app::App;
use crate::crypto::password::Verdict;
use crate::error::ServiceError;
use crate::metrics::ApiLogin;
use crate::storage::StoreError;
use crate::storage::token::TokenId;
use crate::storage::user::User;

/// How long right credentials are believed without hashing again. Whether the user still exists, is enabled and has
/// that password is asked each time.
const CREDENTIALS_CACHED_FOR: Duration = Duration::from_secs(30);
/// Callers that are active at once; more of them hash more often.
const MAX_CACHED_CREDENTIALS: u64 = 10_000;
/// One refused login of a name from an address is recorded in this time; guessing does not fill the audit log.
const REFUSAL_RECORDED_EVERY: Duration = Duration::from_secs(60);
/// Names and addresses remembered for that.
const MAX_RECENT_REFUSALS: u64 = 10_000;
/// Base64 of the longest name and password, with room.
const MAX_AUTHORIZATION_BYTES: usize = 4096;

/// By what a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// Name and password.
    Password,
    /// An API token, or the session of a login.
    Token(TokenId),
}

/// Somebody who proved who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub username: String,
    /// Whether everything is allowed.
    pub is_admin: bool,
    /// Where the request came from.
    pub client_address: Option<IpAddr>,
    /// The proof.
    pub credential: Credential,
}

impl Caller {
    fn new(user: User, credential: Credential, client_address: Option<IpAddr>) -> Self {
        Self {
            user_id: user.id,
            username: user.username,
            is_admin: user.is_admin,
            client_address,
            credential,
        }
    }

    /// Only administrators pass.
    ///
    /// # Errors
    /// For everybody else.
    pub fn require_admin(&self) -> Result<(), ServiceError> {
        match self.is_admin {
            true => Ok(()),
            false => Err(ServiceError::forbidden("only administrators may do this")),
        }
    }

    /// Administrators pass, and the user `id`. To others it does not exist.
    ///
    /// # Errors
    /// For everybody else.
    pub fn require_self_or_admin(&self, id: UserId) -> Result<(), ServiceError> {
        match self.is_admin || self.user_id == id {
            true => Ok(()),
            false => Err(ServiceError::not_found(format_args!("user {id}"))),
        }
    }
}

/// A name and password as they were sent.
#[derive(Debug, Clone)]
pub struct NamePassword {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
}

/// Credentials that were checked a moment ago, and refusals that were recorded a moment ago.
#[derive(Debug)]
pub struct Credentials {
    /// Random for each process: what is in memory is of no use elsewhere.
    key: [u8; 32],
    /// Digest of name and password -> digest of the hash it was checked against.
    verified: Cache<[u8; 32], [u8; 32]>,
    refusals: Cache<(String, Option<IpAddr>), ()>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            key: rand::random(),
            verified: Cache::builder()
                .max_capacity(MAX_CACHED_CREDENTIALS)
                .time_to_live(CREDENTIALS_CACHED_FOR)
                .build(),
            refusals: Cache::builder()
                .max_capacity(MAX_RECENT_REFUSALS)
                .time_to_live(REFUSAL_RECORDED_EVERY)
                .build(),
        }
    }
}

impl Credentials {
    fn digest(&self, parts: [&str; 2]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The caller that an `Authorization` header belongs to.
///
/// # Errors
/// [`ErrorCode::Unauthenticated`] without a usable header, [`ErrorCode::AuthenticationFailed`] when it proves nothing.
pub async fn authenticate(
    app: &App,
    authorization: Option<&str>,
    client_address: Option<IpAddr>,
) -> Result<Caller, ServiceError> {
    let missing = || {
        ServiceError::new(
            ErrorCode::Unauthenticated,
            "credentials are required: HTTP Basic or a bearer token",
        )
    };
    let text = authorization
        .filter(|text| text.len() <= MAX_AUTHORIZATION_BYTES)
        .ok_or_else(missing)?;
    let (scheme, value) = text.split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("basic") {
        let given = parse_basic(value.trim()).ok_or_else(missing)?;
        let user = verify_password(app, &given, client_address).await?;
        Ok(Caller::new(user, Credential::Password, client_address))
    } else if scheme.eq_ignore_ascii_case("bearer") {
        let (user, token) = verify_token(app, value.trim()).await?;
        Ok(Caller::new(user, Credential::Token(token), client_address))
    } else {
        Err(missing())
    }
}

fn parse_basic(value: &str) -> Option<NamePassword> {
    let bytes = zeroize::Zeroizing::new(STANDARD.decode(value).ok()?);
    let (username, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some(NamePassword {
        username: username.to_owned(),
        password: Secret::new(password.to_owned()),
    })
}

/// The enabled user with this name and password. Every refusal looks and takes the same.
///
/// # Errors
/// [`ErrorCode::AuthenticationFailed`], or storage is not available.
pub async fn verify_password(
    app: &App,
    given: &NamePassword,
    client_address: Option<IpAddr>,
) -> Result<User, ServiceError> {
    let stored =
        match given.username.len() <= limits::MAX_NAME_BYTES && !given.username.contains('\0') {
            true => app.storage.user_login_fetch(&given.username).await?,
            false => None,
        };
    let verdict = check(
        app,
        given,
        stored.as_ref().map(|login| login.password_hash.as_str()),
    )
    .await?;
    match (stored, verdict) {
        (Some(login), Verdict::Right) if !login.user.is_disabled => {
            app.metrics.api_login(ApiLogin::Password);
            Ok(login.user)
        }
        _ => {
            app.metrics.api_login(ApiLogin::Refused);
            record_refusal(app, given, client_address).await;
            Err(ServiceError::new(
                ErrorCode::AuthenticationFailed,
                "user name or password is wrong",
            ))
        }
    }
}

/// Argon2, unless the same credentials were right a moment ago and the stored hash is still the same.
async fn check(
    app: &App,
    given: &NamePassword,
    stored: Option<&str>,
) -> Result<Verdict, ServiceError> {
    if given.password.expose().len() > MAX_PASSWORD_BYTES {
        return Ok(Verdict::Wrong);
    }
    let cache = &app.credentials;
    let key = cache.digest([&given.username, given.password.expose()]);
    let fingerprint = stored.map(|hash| cache.digest(["stored", hash]));
    if let (Some(cached), Some(fingerprint)) = (cache.verified.get(&key), fingerprint)
        && bool::from(cached.ct_eq(&fingerprint))
    {
        return Ok(Verdict::Right);
    }
    let verdict = app
        .passwords
        .verify(given.password.clone(), stored.map(str::to_owned))
        .await?;
    if let (Verdict::Right, Some(fingerprint)) = (verdict, fingerprint) {
        cache.verified.insert(key, fingerprint);
    }
    Ok(verdict)
}

async fn record_refusal(app: &App, given: &NamePassword, client_address: Option<IpAddr>) {
    let name: String = given
        .username
        .chars()
        .filter(|c| !c.is_control())
        .take(limits::MAX_NAME_BYTES)
        .collect();
    let entry = app
        .credentials
        .refusals
        .entry((name.clone(), client_address))
        .or_insert(());
    if !entry.is_fresh() {
        return;
    }
    let event = AuditEntry::of(Actor::Anonymous, Action::LoginRefused, "user", name)
        .after(serde_json::json!({ "through": "api" }))
        .from_address(client_address);
    if let Err(error) = app.storage.audit_insert(&event).await {
        tracing::warn!(error = %pglens_runtime::Chain(&error), "refused login not recorded");
    }
}

/// The enabled user a token belongs to. Tokens are random, so looking them up by their hash leaks nothing.
///
/// # Errors
/// [`ErrorCode::AuthenticationFailed`], or storage is not available.
pub async fn verify_token(app: &App, token: &str) -> Result<(User, TokenId), ServiceError> {
    match app.storage.token_use(&token_hash(token)).await {
        Ok((user, id)) => {
            app.metrics.api_login(ApiLogin::Token);
            Ok((user, id))
        }
        Err(StoreError::NotFound) => {
            app.metrics.api_login(ApiLogin::Refused);
            Err(ServiceError::new(
                ErrorCode::AuthenticationFailed,
                "the token is not valid",
            ))
        }
        Err(error) => Err(error.into()),
    }
}

/// What storage keeps of a token.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read() {
        let parse = |text: &str| parse_basic(&STANDARD.encode(text));
        let given = parse("ann:a:b").unwrap();
        assert_eq!(
            (given.username.as_str(), given.password.expose().as_str()),
            ("ann", "a:b")
        );
        assert!(parse("no colon").is_none());
        assert!(parse_basic("%%%").is_none());
        assert!(!format!("{given:?}").contains("a:b"));
    }
}
