//! Word between replicas of the control plane about changes that end sessions.
//!
//! PostgreSQL delivers a notification when its transaction commits, and never otherwise.

use deadpool_postgres::Transaction;
use pglens_core::{DatabaseId, GrantId, SessionId, UserId};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// The channel of `LISTEN` and `NOTIFY`.
pub const CHANNEL: &str = "pglens_change";

/// A change after which some sessions must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A grant was revoked.
    GrantRevoked(GrantId),
    /// A user was disabled, deleted or has another password.
    UserChanged(UserId),
    /// A database was changed, disabled or deleted.
    DatabaseChanged(DatabaseId),
    /// An administrator ended one session.
    SessionKilled(SessionId),
}

/// Tells every replica about `change`, once the transaction commits.
///
/// # Errors
/// When the database cannot be reached.
pub async fn change_in_txn(txn: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    let payload = serde_json::to_string(change).map_err(|error| StoreError::Malformed {
        column: "change",
        reason: error.to_string(),
    })?;
    let statement = txn.prepare_cached("select pg_notify($1, $2)").await?;
    txn.execute(&statement, &[&CHANNEL, &payload]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_read_what_they_wrote() {
        for change in [
            Change::GrantRevoked(GrantId(1)),
            Change::UserChanged(UserId(2)),
        ] {
            let text = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change);
        }
    }
}
