//! Takes the record in: from a proxy's batches to rows in storage, exactly once.

pub mod block;
pub mod columns;
mod encoded;
mod held;
pub mod journal;
pub mod live;
pub mod live_fleet;
pub mod merge;
pub mod publish;
pub mod reader;
pub mod record;
pub mod retention;
pub mod seal;
pub mod store;
pub mod sums;
mod take;
pub mod text;
pub mod text_index;

use std::collections::HashMap;

use foldhash::quality::RandomState;
use moka::sync::Cache;
use pglens_core::{RunId, SessionId};

use crate::storage::connection::SessionScope;
use crate::storage::{Storage, StoreError};

/// Sessions whose owners are remembered; others are looked up again.
const MAX_REMEMBERED_SESSIONS: u64 = 100_000;

/// A map that is looked into for every record.
type Map<K, V> = HashMap<K, V, RandomState>;

/// The sessions of a batch, with whose they are.
pub type Scopes = Map<SessionId, SessionScope>;

/// What sessions are known to belong to. That never changes, so it is remembered.
#[derive(Debug, Clone)]
pub struct Sessions(Cache<(RunId, SessionId), SessionScope>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Cache::new(MAX_REMEMBERED_SESSIONS))
    }
}

impl Sessions {
    /// Whose the sessions are, of those that the run has.
    ///
    /// # Errors
    /// When storage is not available.
    pub async fn scopes(
        &self,
        storage: &Storage,
        run_id: RunId,
        ids: impl IntoIterator<Item = SessionId>,
    ) -> Result<Scopes, StoreError> {
        let mut scopes = Scopes::default();
        let mut missing = Vec::new();
        for id in ids {
            match self.0.get(&(run_id, id)) {
                Some(scope) => _ = scopes.insert(id, scope),
                None => missing.push(id),
            }
        }
        if !missing.is_empty() {
            for (id, scope) in storage.connection_scopes(run_id, &missing).await? {
                self.0.insert((run_id, id), scope);
                scopes.insert(id, scope);
            }
        }
        Ok(scopes)
    }
}
