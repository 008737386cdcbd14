//! The storage database: the only place with SQL on our own tables, one file for each resource.
//!
//! Functions are named noun first (`user_list`, `grant_fetch`); those that end in `_in_txn` work inside the caller's
//! transaction. Rows are read with [`column()`], which fails instead of panicking.

pub mod access;
pub mod audit;
pub mod connection;
mod copy;
pub mod data_key;
pub mod database;
pub mod dsn;
pub mod error;
pub mod feed;
pub mod feed_read;
mod filter;
pub mod grant;
mod manager;
pub mod migrate;
pub mod notify;
pub mod partition;
pub mod pool;
pub mod proxy_run;
pub mod query;
pub mod query_rows;
pub mod quota;
pub mod quota_claim;
pub mod record;
pub mod record_journal;
pub mod recovery;
pub mod reseal;
pub mod session_check;
pub mod session_end;
pub mod stats;
pub mod text_index;
pub mod text_span;
pub mod token;
pub mod user;

use postgres_types::FromSql;
use tokio_postgres::Row;

pub use deadpool_postgres::Transaction;
pub use dsn::Dsn;
pub use error::{StoreError, together};
pub use manager::UsedClient;
pub use pool::Storage;

/// The value of a column.
///
/// # Errors
/// When there is no such column, or it has another type.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &'static str) -> Result<T, StoreError> {
    row.try_get(name).map_err(|source| StoreError::Malformed {
        column: name,
        reason: source.to_string(),
    })
}

/// The value of a text column that holds one word of a closed set.
///
/// # Errors
/// When the column is not there or holds another word.
pub fn word<T>(row: &Row, name: &'static str) -> Result<T, StoreError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text: &str = column(row, name)?;
    text.parse().map_err(|error: T::Err| StoreError::Malformed {
        column: name,
        reason: error.to_string(),
    })
}

/// A column that holds a count; the schema keeps it from being negative.
///
/// # Errors
/// When the column is not there or is negative.
pub fn count(row: &Row, name: &'static str) -> Result<u64, StoreError> {
    unsigned(name, column(row, name)?)
}

/// As [`count`], for a column that may be null.
///
/// # Errors
/// When the column is not there or is negative.
pub fn optional_count(row: &Row, name: &'static str) -> Result<Option<u64>, StoreError> {
    column::<Option<i64>>(row, name)?
        .map(|value| unsigned(name, value))
        .transpose()
}

fn unsigned(column: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Malformed {
        column,
        reason: format!("{value} is negative"),
    })
}
