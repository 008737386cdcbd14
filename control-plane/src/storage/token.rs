//! API tokens, and the sessions of API logins. Storage keeps hashes only.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use pglens_core::UserId;
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::user::{User, user};
use super::{Storage, StoreError, column};
use crate::service::page::Page;

const COLUMNS: &str = "id, user_id, name, created_at, expires_at, last_used_at";

/// The id of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TokenId(pub i64);

/// What a token was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Made by its user, for programs.
    Api,
    /// Made by a login.
    Session,
}

impl TokenKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Session => "session",
        }
    }
}

/// An API token, without the token itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Token {
    /// The token's number, not the token.
    #[schema(value_type = i64)]
    pub id: TokenId,
    /// Whose it is.
    #[schema(value_type = i64)]
    pub user_id: UserId,
    /// What its user calls it.
    pub name: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Null: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// To the minute; null: never.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A token to be created.
#[derive(Debug, Clone)]
pub struct NewToken<'a> {
    /// Whose it is.
    pub user_id: UserId,
    /// What it is for.
    pub kind: TokenKind,
    /// What its user calls it.
    pub name: &'a str,
    /// Hash of the token.
    pub hash: [u8; 32],
    /// Absent: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates a token.
///
/// # Errors
/// When the database cannot be reached.
pub async fn insert_in_txn(txn: &Transaction<'_>, new: &NewToken<'_>) -> Result<Token, StoreError> {
    let sql = format!(
        "insert into tokens (user_id, kind, name, token_hash, expires_at) values ($1, $2, $3, $4, $5) \
         returning {COLUMNS}"
    );
    let statement = txn.prepare_cached(&sql).await?;
    let row = txn
        .query_one(
            &statement,
            &[
                &new.user_id.0,
                &new.kind.as_str(),
                &new.name,
                &new.hash.as_slice(),
                &new.expires_at,
            ],
        )
        .await?;
    token(&row)
}

/// Revokes a token of `kind`; with `owner`, only if it is that user's.
///
/// # Errors
/// [`StoreError::NotFound`] when there is none, or it is revoked already.
pub async fn revoke_in_txn(
    txn: &Transaction<'_>,
    id: TokenId,
    kind: TokenKind,
    owner: Option<UserId>,
) -> Result<Token, StoreError> {
    let sql = format!(
        "update tokens set revoked_at = now() where id = $1 and kind = $2 and revoked_at is null \
         and ($3::bigint is null or user_id = $3) returning {COLUMNS}"
    );
    let statement = txn.prepare_cached(&sql).await?;
    let owner = owner.map(|id| id.0);
    let row = txn
        .query_opt(&statement, &[&id.0, &kind.as_str(), &owner])
        .await?;
    token(&row.ok_or(StoreError::NotFound)?)
}

/// Revokes a user's tokens: those of logins, and with `kind` absent all of them; `except` stays.
///
/// # Errors
/// When the database cannot be reached.
pub async fn revoke_of_user_in_txn(
    txn: &Transaction<'_>,
    user_id: UserId,
    kind: Option<TokenKind>,
    except: Option<TokenId>,
) -> Result<(), StoreError> {
    let sql = "update tokens set revoked_at = now() where user_id = $1 and revoked_at is null \
               and ($2::text is null or kind = $2) and ($3::bigint is null or id <> $3)";
    let statement = txn.prepare_cached(sql).await?;
    txn.execute(
        &statement,
        &[
            &user_id.0,
            &kind.map(TokenKind::as_str),
            &except.map(|id| id.0),
        ],
    )
    .await?;
    Ok(())
}

impl Storage {
    /// The enabled user that a valid token belongs to; notes the use, once a minute.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn token_use(&self, hash: &[u8; 32]) -> Result<(User, TokenId), StoreError> {
        let sql = "select t.id as token_id, coalesce(t.last_used_at < now() - interval '1 minute', true) as is_stale, \
                   u.id, u.username, u.is_admin, u.is_disabled, u.password_is_default, u.created_at, u.updated_at \
                   from tokens t join users u on u.id = t.user_id \
                   where t.token_hash = $1 and t.revoked_at is null \
                     and (t.expires_at is null or t.expires_at > now()) \
                     and u.deleted_at is null and not u.is_disabled";
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await?;
        let row = client
            .query_opt(&statement, &[&hash.as_slice()])
            .await?
            .ok_or(StoreError::NotFound)?;
        let id: i64 = column(&row, "token_id")?;
        if column(&row, "is_stale")? {
            let statement = client
                .prepare_cached("update tokens set last_used_at = now() where id = $1")
                .await?;
            client.execute(&statement, &[&id]).await?;
        }
        Ok((user(&row)?, TokenId(id)))
    }

    /// A page of a user's valid API tokens by id.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn token_list(&self, user_id: UserId, page: &Page) -> Result<Vec<Token>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from tokens where user_id = $1 and kind = 'api' and revoked_at is null and id > $2 \
             order by id limit $3"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        let after = page.after().unwrap_or(0);
        client
            .query(&statement, &[&user_id.0, &after, &page.fetch_rows()])
            .await?
            .iter()
            .map(token)
            .collect()
    }

    /// Drops sessions of logins that ended a day ago or longer; their audit events stay.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn token_sessions_prune(&self) -> Result<u64, StoreError> {
        let sql = "delete from tokens where kind = 'session' \
                   and least(expires_at, revoked_at) < now() - interval '1 day'";
        Ok(self.client().await?.execute(sql, &[]).await?)
    }
}

fn token(row: &Row) -> Result<Token, StoreError> {
    Ok(Token {
        id: TokenId(column(row, "id")?),
        user_id: UserId(column(row, "user_id")?),
        name: column(row, "name")?,
        created_at: column(row, "created_at")?,
        expires_at: column(row, "expires_at")?,
        last_used_at: column(row, "last_used_at")?,
    })
}
