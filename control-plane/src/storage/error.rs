//! What storage can answer besides rows, told apart by SQLSTATE.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::error::ServiceError;
use pglens_core::ErrorCode;

/// A statement on the storage database that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The pool gave no connection in time.
    #[error("no connection to the storage database")]
    Pool(#[source] Box<PoolError>),
    /// The connection broke, or the server refuses work for now.
    #[error("the storage database is not available")]
    Unavailable(#[source] tokio_postgres::Error),
    /// A unique constraint stands against it.
    #[error("{constraint} exists already")]
    AlreadyExists {
        /// Name of the constraint.
        constraint: String,
    },
    /// A check constraint, a lock or a concurrent change stands against it.
    #[error("{reason} stands against it")]
    Conflict {
        /// Name of the constraint, or what happened.
        reason: String,
    },
    /// There is no such row, or a row it refers to.
    #[error("no such row")]
    NotFound,
    /// Anything else, which is a defect.
    #[error("statement on the storage database failed")]
    Postgres(#[source] tokio_postgres::Error),
    /// A row holds what this version does not understand.
    #[error("column {column} is malformed: {reason}")]
    Malformed {
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A sealed column does not open.
    #[error("column {column} does not open")]
    Sealed {
        /// The column.
        column: &'static str,
        /// Why.
        #[source]
        source: crate::crypto::keyring::OpenError,
    },
    /// A migration failed.
    #[error("migration failed")]
    Migration(#[source] Box<refinery::Error>),
}

impl StoreError {
    /// Whether it only says that every connection is in use.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Pool(error) if matches!(**error, PoolError::Timeout(TimeoutType::Wait)))
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Pool(_) | Self::Unavailable(_))
    }

    /// Whether the statement was cancelled: it took longer than it may, or somebody asked for it.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        matches!(self, Self::Unavailable(error) if error.code() == Some(&SqlState::QUERY_CANCELED))
    }

    /// Whether the values themselves are at fault, so that trying again can never help: SQLSTATE classes 22 (data) and
    /// 54 (limits of the server), and what is there already.
    #[must_use]
    pub fn refuses_content(&self) -> bool {
        match self {
            Self::AlreadyExists { .. } => true,
            Self::Postgres(error) => error.code().is_some_and(|code| {
                ["22", "23", "54"]
                    .iter()
                    .any(|class| code.code().starts_with(class))
            }),
            _ => false,
        }
    }

    /// Whether it only says that an earlier statement of the transaction failed.
    fn is_consequence(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION))
    }
}

/// Runs two things in one transaction, neither waiting for the answer to the other.
///
/// # Errors
/// When either fails. When both do, the error is the one that aborted the transaction, not the one that found it aborted.
pub fn together<A, B>(
    one: impl Future<Output = Result<A, StoreError>>,
    other: impl Future<Output = Result<B, StoreError>>,
) -> impl Future<Output = Result<(A, B), StoreError>> {
    // Boxed: they would be in every future that waits for this one.
    let (one, other) = (Box::pin(one), Box::pin(other));
    async move {
        match tokio::join!(one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(consequence), Err(cause)) if consequence.is_consequence() => Err(cause),
            (Err(cause), _) | (_, Err(cause)) => Err(cause),
        }
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::from(error),
            error => Self::Pool(Box::new(error)),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // No answer of the server: the connection could not be made, or broke.
            return match error.is_closed() || is_io(&error) {
                true => Self::Unavailable(error),
                false => Self::Postgres(error),
            };
        };
        let constraint = || db.constraint().unwrap_or("a constraint").to_owned();
        match *db.code() {
            SqlState::UNIQUE_VIOLATION => Self::AlreadyExists {
                constraint: constraint(),
            },
            SqlState::FOREIGN_KEY_VIOLATION => Self::NotFound,
            SqlState::CHECK_VIOLATION => Self::Conflict {
                reason: constraint(),
            },
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                Self::Conflict {
                    reason: "a concurrent change".to_owned(),
                }
            }
            SqlState::LOCK_NOT_AVAILABLE => Self::Conflict {
                reason: "a lock".to_owned(),
            },
            _ if is_unavailable(db.code()) || gives_up(db) => Self::Unavailable(error),
            _ => Self::Postgres(error),
        }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<std::io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Classes 08 (connection), 53 (resources), 57 (operator), 58 (the server's own disk) and 25006 (the server is a standby
/// now) pass by themselves, or when somebody has seen to it.
fn is_unavailable(code: &SqlState) -> bool {
    ["08", "53", "57", "58"]
        .iter()
        .any(|class| code.code().starts_with(class))
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

/// Whether the server has ended the connection for a reason that it has no code for. PostgreSQL 15 does so while its
/// disk is full, and a new connection finds no room for a file of its own ("could not write init file").
fn gives_up(error: &DbError) -> bool {
    let severity = error.parsed_severity();
    matches!(severity, Some(Severity::Fatal | Severity::Panic))
        && error.code().code().starts_with("XX")
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Pool(_) | StoreError::Unavailable(_) => Self::unavailable(error),
            StoreError::AlreadyExists { .. } => {
                Self::new(ErrorCode::AlreadyExists, "it exists already").with_source(error)
            }
            StoreError::Conflict { .. } => {
                Self::conflict("another change came first, try again").with_source(error)
            }
            StoreError::NotFound => {
                Self::new(ErrorCode::NotFound, "it does not exist").with_source(error)
            }
            StoreError::Postgres(_)
            | StoreError::Malformed { .. }
            | StoreError::Sealed { .. }
            | StoreError::Migration(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use pglens_testkit::TestPostgres;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn of_two_errors_the_one_that_aborted_the_transaction_is_told() {
        let database = TestPostgres::shared().await.create_database().await;
        let client = database.connect().await;
        for is_cause_first in [true, false] {
            client.batch_execute("begin").await.unwrap();
            let fail = async |text| {
                let failed = client.batch_execute(text).await;
                failed.map_err(StoreError::from)
            };
            let cause = ready(fail("select 1 / 0").await);
            let consequence = ready(fail("select 1").await);
            let told = match is_cause_first {
                true => together(cause, consequence).await,
                false => together(consequence, cause).await,
            };
            assert!(told.unwrap_err().refuses_content(), "division by zero");
            client.batch_execute("rollback").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_that_gives_a_connection_up_is_not_available() {
        for (severity, code, is_unavailable) in [
            ("FATAL", "XX000", true),
            ("PANIC", "XX001", true),
            ("FATAL", "53100", true),
            ("ERROR", "XX000", false),
            ("FATAL", "28P01", false),
        ] {
            let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = server.local_addr().unwrap().port();
            let answer = async {
                let (mut socket, _) = server.accept().await.unwrap();
                let fields = format!("S{severity}\0V{severity}\0C{code}\0Msaid so\0\0");
                let length = u32::try_from(4 + fields.len()).unwrap().to_be_bytes();
                let message = [b"E".as_slice(), &length, fields.as_bytes()].concat();
                socket.write_all(&message).await.unwrap();
                let _until_it_is_closed = socket.read_to_end(&mut Vec::new()).await;
            };
            let parameters = format!("host=127.0.0.1 port={port} user=x sslmode=disable");
            let connecting = async {
                let connected = tokio_postgres::connect(&parameters, tokio_postgres::NoTls).await;
                connected.map(drop)
            };
            let (connected, ()) = tokio::join!(connecting, answer);
            let error = StoreError::from(connected.unwrap_err());
            assert_eq!(error.is_unavailable(), is_unavailable, "{error:?}");
        }
    }
}
