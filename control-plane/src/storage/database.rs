//! Target databases.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use pglens_core::{DatabaseId, SslMode, UserId};
use postgres_types::ToSql;
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::{Storage, StoreError, column, word};
use crate::service::page::Page;

const COLUMNS: &str = "id, name, description, host, port, database_name, username, ssl_mode, ssl_root_cert, \
     read_username, record_rows, record_max_rows, record_max_bytes, is_disabled, allowed_functions, reader_can_write, \
     created_at, updated_at";

/// A target database; its passwords are never part of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Database {
    /// The database.
    #[schema(value_type = i64)]
    pub id: DatabaseId,
    /// The name clients connect to, unique among the databases that exist.
    pub name: String,
    /// For people.
    pub description: String,
    /// Where the server is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database's own name there.
    pub database_name: String,
    /// The stored login.
    pub username: String,
    /// How the connection is encrypted.
    #[schema(value_type = String, example = "verify-full")]
    pub ssl_mode: SslMode,
    /// PEM; null: the system's roots.
    pub ssl_root_cert: Option<String>,
    /// The login that read grants use; null: the stored one.
    pub read_username: Option<String>,
    /// Whether result rows are kept; sessions that run keep to what held when they began.
    pub record_rows: bool,
    /// Rows kept for each statement; null: the server's setting.
    pub record_max_rows: Option<i64>,
    /// Bytes of rows kept for each statement; null: the server's setting.
    pub record_max_bytes: Option<i64>,
    /// Whether nobody is let in.
    pub is_disabled: bool,
    /// Functions that read grants may call although the catalog does not show them to be harmless: `schema.function`.
    pub allowed_functions: Vec<String>,
    /// Whether the login of read grants could write when it was last tested; null: not tested since it was set.
    pub reader_can_write: Option<bool>,
    /// What to do about the login of read grants; null: nothing.
    pub warning: Option<&'static str>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// The passwords of a database, sealed.
#[derive(Clone)]
pub struct SealedPasswords {
    /// Of `username`.
    pub password: Vec<u8>,
    /// Of `read_username`.
    pub read_password: Option<Vec<u8>>,
}

/// The next database's id. Its sealed columns are bound to it before the row exists.
///
/// # Errors
/// When the database cannot be reached.
pub async fn next_id_in_txn(txn: &Transaction<'_>) -> Result<DatabaseId, StoreError> {
    let row = txn
        .query_one(
            "select nextval(pg_get_serial_sequence('databases', 'id')) as id",
            &[],
        )
        .await?;
    Ok(DatabaseId(column(&row, "id")?))
}

/// Creates `new`; its times are those of the storage database.
///
/// # Errors
/// [`StoreError::AlreadyExists`] when the name is taken.
pub async fn insert_in_txn(
    txn: &Transaction<'_>,
    new: &Database,
    sealed: &SealedPasswords,
) -> Result<Database, StoreError> {
    let sql = format!(
        "insert into databases (id, name, description, host, port, database_name, username, ssl_mode, ssl_root_cert, \
         read_username, record_rows, is_disabled, password_sealed, read_password_sealed, record_max_rows, \
         record_max_bytes, allowed_functions) overriding system value \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) returning {COLUMNS}"
    );
    write_row(txn, &sql, new, sealed).await
}

/// Replaces every field of a database that exists.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn update_in_txn(
    txn: &Transaction<'_>,
    changed: &Database,
    sealed: &SealedPasswords,
) -> Result<Database, StoreError> {
    let sql = format!(
        "update databases set name = $2, description = $3, host = $4, port = $5, database_name = $6, username = $7, \
         ssl_mode = $8, ssl_root_cert = $9, read_username = $10, record_rows = $11, is_disabled = $12, \
         password_sealed = $13, read_password_sealed = $14, record_max_rows = $15, record_max_bytes = $16, \
         allowed_functions = $17, updated_at = now() \
         where id = $1 and deleted_at is null returning {COLUMNS}"
    );
    write_row(txn, &sql, changed, sealed).await
}

/// Runs `sql` with the columns of a row in the order both writers use.
async fn write_row(
    txn: &Transaction<'_>,
    sql: &str,
    new: &Database,
    sealed: &SealedPasswords,
) -> Result<Database, StoreError> {
    let statement = txn.prepare_cached(sql).await?;
    let parameters: [&(dyn ToSql + Sync); 17] = [
        &new.id.0,
        &new.name,
        &new.description,
        &new.host,
        &i32::from(new.port),
        &new.database_name,
        &new.username,
        &new.ssl_mode.as_str(),
        &new.ssl_root_cert,
        &new.read_username,
        &new.record_rows,
        &new.is_disabled,
        &sealed.password,
        &sealed.read_password,
        &new.record_max_rows,
        &new.record_max_bytes,
        &new.allowed_functions,
    ];
    database(
        &txn.query_opt(&statement, &parameters)
            .await?
            .ok_or(StoreError::NotFound)?,
    )
}

/// Locks and returns a database that exists, with its sealed passwords.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn lock_in_txn(
    txn: &Transaction<'_>,
    id: DatabaseId,
) -> Result<(Database, SealedPasswords), StoreError> {
    let sql = format!(
        "select {COLUMNS}, password_sealed, read_password_sealed from databases \
         where id = $1 and deleted_at is null for update"
    );
    let statement = txn.prepare_cached(&sql).await?;
    with_passwords(
        &txn.query_opt(&statement, &[&id.0])
            .await?
            .ok_or(StoreError::NotFound)?,
    )
}

/// Deletes a database; the row stays for the history.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn delete_in_txn(txn: &Transaction<'_>, id: DatabaseId) -> Result<(), StoreError> {
    let sql = "update databases set deleted_at = now(), updated_at = now() where id = $1 and deleted_at is null";
    let statement = txn.prepare_cached(sql).await?;
    match txn.execute(&statement, &[&id.0]).await? {
        0 => Err(StoreError::NotFound),
        _ => Ok(()),
    }
}

/// Words for people who look at a database whose read grants use a login that can write, or may.
fn warning(read_username: Option<&str>, reader_can_write: Option<bool>) -> Option<&'static str> {
    match (read_username, reader_can_write) {
        (_, Some(false)) => None,
        (None, Some(true)) => Some(
            "Read grants use the stored login, which can write: give them a login of their own (read_username); \
             the test of the database prints the SQL that makes one.",
        ),
        (Some(_), Some(true)) => Some(
            "The login of read grants can write; the test of the database prints the SQL that makes one that cannot.",
        ),
        (None, None) => Some(
            "Read grants use the stored login: test the database to see whether that can write, or give read grants a \
             login of their own (read_username).",
        ),
        (Some(_), None) => {
            Some("Test the database to see whether the login of read grants can write.")
        }
    }
}

impl Storage {
    /// Notes whether the login of read grants can write, unless the database has changed since it was read.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn database_reader_tested(
        &self,
        tested: &Database,
        can_write: bool,
    ) -> Result<(), StoreError> {
        let sql = "update databases set reader_can_write = $2 where id = $1 and updated_at = $3 and deleted_at is null";
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await?;
        client
            .execute(&statement, &[&tested.id.0, &can_write, &tested.updated_at])
            .await?;
        Ok(())
    }

    /// A database that exists, with its sealed passwords.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn database_login_fetch(
        &self,
        id: DatabaseId,
    ) -> Result<(Database, SealedPasswords), StoreError> {
        let sql = format!(
            "select {COLUMNS}, password_sealed, read_password_sealed from databases \
             where id = $1 and deleted_at is null"
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        with_passwords(
            &client
                .query_opt(&statement, &[&id.0])
                .await?
                .ok_or(StoreError::NotFound)?,
        )
    }

    /// A database that exists; with `granted_to`, one that user holds a grant for now or later.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn database_fetch(
        &self,
        id: DatabaseId,
        granted_to: Option<UserId>,
    ) -> Result<Database, StoreError> {
        let sql = format!(
            "select {COLUMNS} from databases d where id = $1 and deleted_at is null and {}",
            granted("$2")
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        let user = granted_to.map(|id| id.0);
        database(
            &client
                .query_opt(&statement, &[&id.0, &user])
                .await?
                .ok_or(StoreError::NotFound)?,
        )
    }

    /// A page of the databases by id; with `granted_to`, those that user holds a grant for now or later.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn database_list(
        &self,
        granted_to: Option<UserId>,
        page: &Page,
    ) -> Result<Vec<Database>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from databases d where deleted_at is null and id > $1 and {} order by id limit $3",
            granted("$2")
        );
        let client = self.client().await?;
        let statement = client.prepare_cached(&sql).await?;
        let (after, user) = (page.after().unwrap_or(0), granted_to.map(|id| id.0));
        client
            .query(&statement, &[&after, &user, &page.fetch_rows()])
            .await?
            .iter()
            .map(database)
            .collect()
    }
}

/// That the user of `parameter` holds a grant for `d` which has neither expired nor been revoked, or it is null.
fn granted(parameter: &str) -> String {
    format!(
        "({parameter}::bigint is null or exists (select from grants g where g.database_id = d.id \
         and g.user_id = {parameter} and g.revoked_at is null and g.expires_at > now()))"
    )
}

fn with_passwords(row: &Row) -> Result<(Database, SealedPasswords), StoreError> {
    let sealed = SealedPasswords {
        password: column(row, "password_sealed")?,
        read_password: column(row, "read_password_sealed")?,
    };
    Ok((database(row)?, sealed))
}

fn database(row: &Row) -> Result<Database, StoreError> {
    let port: i32 = column(row, "port")?;
    let port = u16::try_from(port).map_err(|_| StoreError::Malformed {
        column: "port",
        reason: format!("{port} is no port"),
    })?;
    let read_username: Option<String> = column(row, "read_username")?;
    let reader_can_write: Option<bool> = column(row, "reader_can_write")?;
    Ok(Database {
        id: DatabaseId(column(row, "id")?),
        name: column(row, "name")?,
        description: column(row, "description")?,
        host: column(row, "host")?,
        port,
        database_name: column(row, "database_name")?,
        username: column(row, "username")?,
        ssl_mode: word(row, "ssl_mode")?,
        ssl_root_cert: column(row, "ssl_root_cert")?,
        warning: warning(read_username.as_deref(), reader_can_write),
        read_username,
        reader_can_write,
        allowed_functions: column(row, "allowed_functions")?,
        record_rows: column(row, "record_rows")?,
        record_max_rows: column(row, "record_max_rows")?,
        record_max_bytes: column(row, "record_max_bytes")?,
        is_disabled: column(row, "is_disabled")?,
        created_at: column(row, "created_at")?,
        updated_at: column(row, "updated_at")?,
    })
}
