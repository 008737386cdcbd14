//! The first administrator of an empty storage database.

use pglens_core::Secret;

use super::audit::{Action, Actor, AuditEntry, snapshot};
use super::users::{DEFAULT_ADMIN, MadePassword};
use crate::app::App;
use crate::error::ServiceError;
use crate::storage::{StoreError, audit, user};

/// Creates `admin` unless a user of that name exists or ever existed. The replica that comes second finds it there.
///
/// # Errors
/// When storage is not available.
pub async fn default_admin(
    app: &App,
    password: Option<Secret<String>>,
) -> Result<(), ServiceError> {
    if app.storage.user_name_was_used(DEFAULT_ADMIN).await? {
        return Ok(());
    }
    let password = password.unwrap_or_else(|| Secret::new(DEFAULT_ADMIN.to_owned()));
    let made = MadePassword::make(app, DEFAULT_ADMIN, password).await?;
    let mut client = app.storage.client().await?;
    let txn = client.transaction().await.map_err(StoreError::from)?;
    let id = user::next_id_in_txn(&txn).await?;
    let stored = made.seal(app, id);
    let created = match user::insert_in_txn(&txn, id, DEFAULT_ADMIN, &stored, true).await {
        Ok(created) => created,
        // Another replica started at the same time.
        Err(StoreError::AlreadyExists { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let event = AuditEntry::of(Actor::System, Action::UserCreated, "user", id)
        .after(snapshot(&created, &["password"]));
    audit::insert_in_txn(&txn, &event).await?;
    txn.commit().await.map_err(StoreError::from)?;
    tracing::info!(user.id = %id, "default administrator created");
    Ok(())
}

/// Says so while the well-known password is still in use.
pub async fn warn_of_default_password(app: &App) {
    match app.storage.user_login_fetch(DEFAULT_ADMIN).await {
        Ok(Some(login)) if login.user.password_is_default => {
            tracing::warn!("the administrator still has the default password, change it");
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(error = %pglens_runtime::Chain(&error), "default password not checked")
        }
    }
}
