//! Word between replicas of the control plane: changes that end sessions, cancel requests, and what is going on.
//!
//! PostgreSQL delivers a notification when its transaction commits, and never otherwise.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deadpool_postgres::Transaction;
use pglens_core::{DatabaseId, GrantId, RunId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Storage, StoreError};

/// The channel of `LISTEN` and `NOTIFY`.
pub const CHANNEL: &str = "pglens_change";

const NOTIFY: &str = "select pg_notify($1, $2)";

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

/// Word about the quotas of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaWord {
    /// A session needs what others hold and do not use.
    QuotaNeeded(GrantId),
    /// Something was given back.
    QuotaFreed(GrantId),
    /// A good part is spent: statements and bytes so far.
    QuotaNearlySpent(GrantId, u64, u64),
}

impl Storage {
    /// Tells every replica about a grant's quotas.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn quota_tell(&self, word: &QuotaWord) -> Result<(), StoreError> {
        let payload = payload(word)?;
        let client = self.client().await?;
        let statement = client.prepare_cached(NOTIFY).await?;
        client.execute(&statement, &[&CHANNEL, &payload]).await?;
        Ok(())
    }
}

/// Tells every replica about `change`, once the transaction commits.
///
/// # Errors
/// When the database cannot be reached.
pub async fn change_in_txn(txn: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    let payload = payload(change)?;
    let statement = txn.prepare_cached(NOTIFY).await?;
    txn.execute(&statement, &[&CHANNEL, &payload]).await?;
    Ok(())
}

fn payload(word: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(word).map_err(|error| StoreError::Malformed {
        column: "change",
        reason: error.to_string(),
    })
}

/// The channel of what is going on, for those who watch.
const LIVE_CHANNEL: &str = "pglens_live";

/// Hears what replicas say about what is going on, on this connection.
///
/// # Errors
/// When the database cannot be reached.
pub async fn live_listen(client: &Client) -> Result<(), StoreError> {
    Ok(client
        .batch_execute(&format!("listen {LIVE_CHANNEL}"))
        .await?)
}

/// Says something about what is going on.
///
/// # Errors
/// When the database cannot be reached.
pub async fn live_send(client: &Client, payload: &str) -> Result<(), StoreError> {
    let text = "select pg_notify($1, $2)";
    client.execute(text, &[&LIVE_CHANNEL, &payload]).await?;
    Ok(())
}

/// The channel of cancel requests.
pub const CANCEL_CHANNEL: &str = "pglens_cancel";

/// A cancel request for a run that another replica may hold. Whoever else listens on the database learns nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCancel {
    /// The run whose proxy holds the session.
    pub run_id: RunId,
    /// The request, under the master key.
    pub sealed: Vec<u8>,
}

impl SealedCancel {
    /// Reads a notification's payload.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub fn read(payload: &str) -> Result<Self, StoreError> {
        let malformed = |reason: &str| StoreError::Malformed {
            column: "cancel",
            reason: reason.to_owned(),
        };
        let (run_id, sealed) = payload
            .split_once(' ')
            .ok_or_else(|| malformed("has no two words"))?;
        let run_id = Uuid::try_parse(run_id).map_err(|_| malformed("names no run"))?;
        let sealed = STANDARD.decode(sealed);
        Ok(Self {
            run_id: RunId(run_id),
            sealed: sealed.map_err(|_| malformed("is not base64"))?,
        })
    }

    fn payload(&self) -> String {
        format!("{} {}", self.run_id, STANDARD.encode(&self.sealed))
    }
}

impl Storage {
    /// Tells every replica of a cancel request.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn notify_cancel(&self, cancel: &SealedCancel) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached("select pg_notify($1, $2)").await?;
        let payload = cancel.payload();
        client
            .execute(&statement, &[&CANCEL_CHANNEL, &payload])
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancel_requests_read_what_they_wrote() {
        let cancel = SealedCancel {
            run_id: RunId(Uuid::now_v7()),
            sealed: vec![0, 1, 255],
        };
        assert_eq!(SealedCancel::read(&cancel.payload()).unwrap(), cancel);
        for nonsense in ["", "x", "x AAAA", &format!("{} %", Uuid::nil())] {
            assert!(SealedCancel::read(nonsense).is_err(), "{nonsense}");
        }
    }

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
