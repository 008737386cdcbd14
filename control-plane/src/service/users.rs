//! Users: who may log in, and who may do everything.

use pglens_core::{ErrorCode, Secret, UserId};
use pglens_wire::scram::ScramVerifier;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::audit::{Action, AuditEntry, MASK, snapshot};
use super::caller::{Caller, Credential};
use super::page::{Page, Paged};
use super::{body, validate};
use crate::app::App;
use crate::crypto::columns;
use crate::error::ServiceError;
use crate::storage::notify::{Change, change_in_txn};
use crate::storage::token::TokenKind;
use crate::storage::user::StoredPassword;
pub use crate::storage::user::{User, UserChange};
use crate::storage::{StoreError, Transaction, audit, grant, token, user};

/// The first administrator's name, and the well-known password it has until it is changed.
pub const DEFAULT_ADMIN: &str = "admin";

/// A user to be created.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// 1 to 63 bytes.
    pub username: String,
    /// 1 to 1024 bytes.
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String)]
    pub password: Secret<String>,
    /// Whether everything is allowed.
    #[serde(default)]
    pub is_admin: bool,
}

/// Changes to a user; absent fields stay as they are.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// Another password; users may change their own.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    pub password: Option<Secret<String>>,
    /// Whether everything is allowed.
    #[serde(default)]
    pub is_admin: Option<bool>,
    /// Whether no login is possible; its sessions end.
    #[serde(default)]
    pub is_disabled: Option<bool>,
}

/// Creates a user.
///
/// # Errors
/// When the caller is no administrator, a field cannot be used, or the name is taken.
pub async fn create(app: &App, caller: &Caller, new: CreateUser) -> Result<User, ServiceError> {
    caller.require_admin()?;
    validate::name("username", &new.username)?;
    validate::password("password", &new.password)?;
    let made = MadePassword::make(app, &new.username, new.password).await?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let id = user::next_id_in_txn(&txn).await?;
    let created = user::insert_in_txn(&txn, id, &new.username, &made.seal(app, id), new.is_admin)
        .await
        .map_err(|error| name_taken(error, &new.username))?;
    let entry = AuditEntry::by(caller, Action::UserCreated, "user", id)
        .after(snapshot(&created, &["password"]));
    audit::insert_in_txn(&txn, &entry).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(created)
}

/// A user the caller may see: everyone to administrators, oneself to others.
///
/// # Errors
/// When there is none.
pub async fn fetch(app: &App, caller: &Caller, id: UserId) -> Result<User, ServiceError> {
    caller.require_self_or_admin(id)?;
    app.storage
        .user_fetch(id)
        .await
        .map_err(|error| missing(error, id))
}

/// A page of the users the caller may see.
///
/// # Errors
/// When storage is not available.
pub async fn list(app: &App, caller: &Caller, page: &Page) -> Result<Paged<User>, ServiceError> {
    let only = (!caller.is_admin).then_some(caller.user_id);
    let rows = app.storage.user_list(only, page).await?;
    Ok(page.cut(rows, |user| user.id.0))
}

/// Changes a user. A disabled user's sessions end, and so do those of a user with another password.
///
/// # Errors
/// When the caller may not, a field cannot be used, or no administrator would be left.
pub async fn update(
    app: &App,
    caller: &Caller,
    id: UserId,
    change: UpdateUser,
) -> Result<User, ServiceError> {
    caller.require_self_or_admin(id)?;
    if change.is_admin.is_some() || change.is_disabled.is_some() {
        caller.require_admin()?;
    }
    let made = match change.password {
        None => None,
        Some(password) => {
            validate::password("password", &password)?;
            let user = app
                .storage
                .user_fetch(id)
                .await
                .map_err(|error| missing(error, id))?;
            Some(MadePassword::make(app, &user.username, password).await?)
        }
    };
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let loses_admin = change.is_admin == Some(false) || change.is_disabled == Some(true);
    let before = lock(&txn, id, loses_admin).await?;
    let stored = UserChange {
        password: made.map(|made| made.seal(app, id)),
        is_admin: change.is_admin,
        is_disabled: change.is_disabled,
    };
    let after = user::update_in_txn(&txn, id, &stored)
        .await
        .map_err(|error| missing(error, id))?;
    end_logins(&txn, caller, &before, &after, stored.password.is_some()).await?;
    audit::insert_in_txn(
        &txn,
        &update_entry(caller, &before, &after, stored.password.is_some()),
    )
    .await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(after)
}

/// Deletes a user: its sessions, tokens and grants end, its history stays.
///
/// # Errors
/// When the caller is no administrator, there is no such user, or no administrator would be left.
pub async fn delete(app: &App, caller: &Caller, id: UserId) -> Result<(), ServiceError> {
    caller.require_admin()?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let before = lock(&txn, id, true).await?;
    user::delete_in_txn(&txn, id)
        .await
        .map_err(|error| missing(error, id))?;
    token::revoke_of_user_in_txn(&txn, id, None, None).await?;
    let revoked = grant::revoke_all_in_txn(&txn, Some(id), None, caller.user_id).await?;
    change_in_txn(&txn, &Change::UserChanged(id)).await?;
    let entry = AuditEntry::by(caller, Action::UserDeleted, "user", id)
        .before(snapshot(&before, &[]))
        .after(json!({ "revoked_grants": revoked }));
    audit::insert_in_txn(&txn, &entry).await?;
    txn.commit().await.map_err(StoreError::from)?;
    Ok(())
}

/// Locks a user; if it may stop being an administrator, another one must be left.
async fn lock(txn: &Transaction<'_>, id: UserId, loses_admin: bool) -> Result<User, ServiceError> {
    let others = match loses_admin {
        true => Some(user::other_enabled_admins_in_txn(txn, id).await?),
        false => None,
    };
    let before = user::lock_in_txn(txn, id)
        .await
        .map_err(|error| missing(error, id))?;
    match others {
        Some(0) if before.is_admin && !before.is_disabled => Err(ServiceError::conflict(
            "this is the last administrator who can log in",
        )),
        _ => Ok(before),
    }
}

/// Ends what a disabled user, or one with another password, is logged in with.
async fn end_logins(
    txn: &Transaction<'_>,
    caller: &Caller,
    before: &User,
    after: &User,
    new_password: bool,
) -> Result<(), ServiceError> {
    let disabled = after.is_disabled && !before.is_disabled;
    if disabled || new_password {
        let own = match caller.credential {
            Credential::Token(token) if !disabled => Some(token),
            _ => None,
        };
        token::revoke_of_user_in_txn(txn, after.id, Some(TokenKind::Session), own).await?;
        change_in_txn(txn, &Change::UserChanged(after.id)).await?;
    }
    Ok(())
}

fn update_entry(caller: &Caller, before: &User, after: &User, new_password: bool) -> AuditEntry {
    let action = match after.is_disabled && !before.is_disabled {
        true => Action::UserDisabled,
        false => Action::UserUpdated,
    };
    let mut shown = snapshot(after, &[]);
    if let (true, Value::Object(fields)) = (new_password, &mut shown) {
        fields.insert("password".to_owned(), MASK.into());
    }
    AuditEntry::by(caller, action, "user", after.id)
        .before(snapshot(before, &[]))
        .after(shown)
}

/// A password in the forms it is stored in, before it is sealed for a row.
pub(super) struct MadePassword {
    hash: String,
    verifier: ScramVerifier,
    is_default: bool,
}

impl MadePassword {
    /// Hashes `password`; takes tens of milliseconds, on another thread.
    pub(super) async fn make(
        app: &App,
        username: &str,
        password: Secret<String>,
    ) -> Result<Self, ServiceError> {
        let is_default = username == DEFAULT_ADMIN && password.expose() == DEFAULT_ADMIN;
        let for_scram = password.clone();
        let verifier =
            tokio::task::spawn_blocking(move || ScramVerifier::generate(for_scram.expose()));
        let hash = app.passwords.hash(password).await?;
        let verifier = verifier.await.map_err(ServiceError::internal)?;
        Ok(Self {
            hash,
            verifier,
            is_default,
        })
    }

    /// Seals it for the user `id`.
    pub(super) fn seal(self, app: &App, id: UserId) -> StoredPassword {
        StoredPassword {
            hash: self.hash,
            scram_verifier_sealed: columns::seal_verifier(&app.keys, id, &self.verifier),
            is_default: self.is_default,
        }
    }
}

fn missing(error: StoreError, id: UserId) -> ServiceError {
    match error {
        StoreError::NotFound => ServiceError::not_found(format_args!("user {id}")),
        error => error.into(),
    }
}

fn name_taken(error: StoreError, name: &str) -> ServiceError {
    match error {
        StoreError::AlreadyExists { .. } => ServiceError::new(
            ErrorCode::AlreadyExists,
            format!("a user named \"{name}\" exists already"),
        ),
        error => error.into(),
    }
}
