//! The sealed columns of users and databases: which place each value is bound to, and how it is read again.

use pglens_core::{DatabaseId, Secret, UserId};
use pglens_wire::scram::ScramVerifier;

use super::keyring::{KeyRing, SealContext};
use crate::storage::StoreError;

const VERIFIER: &str = "scram_verifier_sealed";

/// One of the two passwords a database is stored with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordColumn {
    /// Of `username`.
    Stored,
    /// Of `read_username`.
    Reader,
}

impl PasswordColumn {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "password_sealed",
            Self::Reader => "read_password_sealed",
        }
    }
}

/// Seals the SCRAM verifier of a user.
#[must_use]
pub fn seal_verifier(keys: &KeyRing, id: UserId, verifier: &ScramVerifier) -> Vec<u8> {
    let text = zeroize::Zeroizing::new(verifier.to_string());
    let row = id.to_string();
    keys.seal(
        SealContext {
            table: "users",
            column: VERIFIER,
            row: &row,
        },
        text.as_bytes(),
    )
}

/// Opens the SCRAM verifier of a user.
///
/// # Errors
/// When it does not open or is no verifier.
pub fn open_verifier(
    keys: &KeyRing,
    id: UserId,
    sealed: &[u8],
) -> Result<ScramVerifier, StoreError> {
    let row = id.to_string();
    let context = SealContext {
        table: "users",
        column: VERIFIER,
        row: &row,
    };
    let text = text(VERIFIER, keys.open(context, sealed))?;
    text.expose()
        .parse()
        .map_err(|error| StoreError::Malformed {
            column: VERIFIER,
            reason: format!("{error}"),
        })
}

/// Seals a password of a database.
#[must_use]
pub fn seal_password(
    keys: &KeyRing,
    id: DatabaseId,
    column: PasswordColumn,
    password: &Secret<String>,
) -> Vec<u8> {
    let row = id.to_string();
    let context = SealContext {
        table: "databases",
        column: column.as_str(),
        row: &row,
    };
    keys.seal(context, password.expose().as_bytes())
}

/// Opens a password of a database.
///
/// # Errors
/// When it does not open.
pub fn open_password(
    keys: &KeyRing,
    id: DatabaseId,
    column: PasswordColumn,
    sealed: &[u8],
) -> Result<Secret<String>, StoreError> {
    let row = id.to_string();
    let context = SealContext {
        table: "databases",
        column: column.as_str(),
        row: &row,
    };
    text(column.as_str(), keys.open(context, sealed))
}

fn text(
    column: &'static str,
    opened: Result<Secret<Vec<u8>>, super::keyring::OpenError>,
) -> Result<Secret<String>, StoreError> {
    let bytes = opened.map_err(|source| StoreError::Sealed { column, source })?;
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(StoreError::Malformed {
            column,
            reason: "is not UTF-8".to_owned(),
        }),
    }
}
