//! Users.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use pglens_core::UserId;
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::{Storage, StoreError, column};
use crate::service::page::Page;

const COLUMNS: &str =
    "id, username, is_admin, is_disabled, password_is_default, created_at, updated_at";

/// A person who logs in through PgLens.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    /// The user.
    #[schema(value_type = i64)]
    pub id: UserId,
    /// Unique among the users that exist.
    pub username: String,
    /// Whether everything is allowed.
    pub is_admin: bool,
    /// Whether no login is possible.
    pub is_disabled: bool,
    /// Whether the password is the well-known first one, with which proxies let nobody in.
    pub password_is_default: bool,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A user with what passwords are checked against.
#[derive(Clone)]
pub struct UserLogin {
    /// The user.
    pub user: User,
    /// Argon2id, PHC string format.
    pub password_hash: String,
    /// SCRAM-SHA-256 verifier, sealed.
    pub scram_verifier_sealed: Vec<u8>,
}

/// A password in the forms it is stored in.
#[derive(Clone)]
pub struct StoredPassword {
    /// Argon2id, PHC string format.
    pub hash: String,
    /// SCRAM-SHA-256 verifier, sealed.
    pub scram_verifier_sealed: Vec<u8>,
    /// Whether it is the well-known first one.
    pub is_default: bool,
}

/// Changes to a user; absent fields stay.
#[derive(Clone, Default)]
pub struct UserChange {
    /// Another password.
    pub password: Option<StoredPassword>,
    /// Whether everything is allowed.
    pub is_admin: Option<bool>,
    /// Whether no login is possible.
    pub is_disabled: Option<bool>,
}

/// The id of the next user. Its sealed columns are bound to it before the row exists.
///
/// # Errors
/// When the database cannot be reached.
pub async fn next_id_in_txn(txn: &Transaction<'_>) -> Result<UserId, StoreError> {
    let row = txn
        .query_one(
            "select nextval(pg_get_serial_sequence('users', 'id')) as id",
            &[],
        )
        .await?;
    Ok(UserId(column(&row, "id")?))
}

/// Creates the user `id`.
///
/// # Errors
/// [`StoreError::AlreadyExists`] when the name is taken.
pub async fn insert_in_txn(
    txn: &Transaction<'_>,
    id: UserId,
    username: &str,
    password: &StoredPassword,
    is_admin: bool,
) -> Result<User, StoreError> {
    let sql = format!(
        "insert into users (id, username, password_hash, scram_verifier_sealed, password_is_default, is_admin) \
         overriding system value values ($1, $2, $3, $4, $5, $6) returning {COLUMNS}"
    );
    let statement = txn.prepare_cached(&sql).await?;
    let row = txn
        .query_one(
            &statement,
            &[
                &id.0,
                &username,
                &password.hash,
                &password.scram_verifier_sealed,
                &password.is_default,
                &is_admin,
            ],
        )
        .await?;
    user(&row)
}

/// Locks every administrator who can log in, in the order of their ids, and tells how many there are besides `id`.
///
/// # Errors
/// When the database cannot be reached.
pub async fn other_enabled_admins_in_txn(
    txn: &Transaction<'_>,
    id: UserId,
) -> Result<usize, StoreError> {
    let sql = "select id from users where is_admin and not is_disabled and deleted_at is null order by id for update";
    let statement = txn.prepare_cached(sql).await?;
    let ids: Vec<i64> = txn
        .query(&statement, &[])
        .await?
        .iter()
        .map(|row| column(row, "id"))
        .collect::<Result<_, _>>()?;
    Ok(ids.into_iter().filter(|other| *other != id.0).count())
}

/// Locks and returns a user that exists.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn lock_in_txn(txn: &Transaction<'_>, id: UserId) -> Result<User, StoreError> {
    let sql =
        format!("select {COLUMNS} from users where id = $1 and deleted_at is null for update");
    let statement = txn.prepare_cached(&sql).await?;
    user(
        &txn.query_opt(&statement, &[&id.0])
            .await?
            .ok_or(StoreError::NotFound)?,
    )
}

/// Changes a user that exists.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn update_in_txn(
    txn: &Transaction<'_>,
    id: UserId,
    change: &UserChange,
) -> Result<User, StoreError> {
    let sql = format!(
        "update users set password_hash = coalesce($2, password_hash), \
         scram_verifier_sealed = coalesce($3, scram_verifier_sealed), \
         password_is_default = coalesce($4, password_is_default), is_admin = coalesce($5, is_admin), \
         is_disabled = coalesce($6, is_disabled), updated_at = now() \
         where id = $1 and deleted_at is null returning {COLUMNS}"
    );
    let password = change.password.as_ref();
    let statement = txn.prepare_cached(&sql).await?;
    let row = txn
        .query_opt(
            &statement,
            &[
                &id.0,
                &password.map(|password| &password.hash),
                &password.map(|password| &password.scram_verifier_sealed),
                &password.map(|password| password.is_default),
                &change.is_admin,
                &change.is_disabled,
            ],
        )
        .await?;
    user(&row.ok_or(StoreError::NotFound)?)
}

/// Deletes a user; the row stays for the history.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn delete_in_txn(txn: &Transaction<'_>, id: UserId) -> Result<(), StoreError> {
    let sql = "update users set deleted_at = now(), updated_at = now() where id = $1 and deleted_at is null";
    let statement = txn.prepare_cached(sql).await?;
    match txn.execute(&statement, &[&id.0]).await? {
        0 => Err(StoreError::NotFound),
        _ => Ok(()),
    }
}

impl Storage {
    /// The user that `username` names, with what passwords are checked against.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn user_login_fetch(&self, username: &str) -> Result<Option<UserLogin>, StoreError> {
        let sql = format!(
            "select {COLUMNS}, password_hash, scram_verifier_sealed from users \
             where username = $1 and deleted_at is null"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        let Some(row) = client.query_opt(&statement, &[&username]).await? else {
            return Ok(None);
        };
        Ok(Some(UserLogin {
            user: user(&row)?,
            password_hash: column(&row, "password_hash")?,
            scram_verifier_sealed: column(&row, "scram_verifier_sealed")?,
        }))
    }

    /// A user that exists.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn user_fetch(&self, id: UserId) -> Result<User, StoreError> {
        let sql = format!("select {COLUMNS} from users where id = $1 and deleted_at is null");
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        user(
            &client
                .query_opt(&statement, &[&id.0])
                .await?
                .ok_or(StoreError::NotFound)?,
        )
    }

    /// A page of the users by id; with `only`, no more than that one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn user_list(
        &self,
        only: Option<UserId>,
        page: &Page,
    ) -> Result<Vec<User>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from users where deleted_at is null and id > $1 \
             and ($2::bigint is null or id = $2) order by id limit $3"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        let (after, only) = (page.after().unwrap_or(0), only.map(|id| id.0));
        client
            .query(&statement, &[&after, &only, &page.fetch_rows()])
            .await?
            .iter()
            .map(user)
            .collect()
    }

    /// Whether a user was ever created under this name, deleted or not.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn user_name_was_used(&self, username: &str) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select exists (select from users where username = $1) as used",
                &[&username],
            )
            .await?;
        column(&row, "used")
    }
}

pub(super) fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: UserId(column(row, "id")?),
        username: column(row, "username")?,
        is_admin: column(row, "is_admin")?,
        is_disabled: column(row, "is_disabled")?,
        password_is_default: column(row, "password_is_default")?,
        created_at: column(row, "created_at")?,
        updated_at: column(row, "updated_at")?,
    })
}
