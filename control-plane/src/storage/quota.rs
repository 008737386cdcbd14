//! The quotas of grants: slices are handed out to sessions and given back, never beyond what the grant has.
//!
//! `grants.*_reserved` is what ended sessions spent plus what running ones hold. Every change of it happens under the
//! lock of the grant's row, taken behind that of the session's.

use std::collections::BTreeMap;

use pglens_core::{GrantId, RunId, SessionId};
use tokio_postgres::Row;

use super::proxy_run::LostSession;
use super::{Storage, StoreError, Transaction, column, count, optional_count};

const LOCK_SESSION: &str = "select grant_id from connections \
     where id = $1 and run_id = $2 and ended_at is null for no key update";

const LOCK_GRANT: &str = "select max_queries, max_bytes, queries_reserved, bytes_reserved from grants where id = $1 \
     for no key update";

const TAKE_FROM_GRANT: &str = "update grants \
     set queries_reserved = queries_reserved + $2, bytes_reserved = bytes_reserved + $3 where id = $1";

const GIVE_TO_SESSION: &str = "update connections \
     set queries_reserved = queries_reserved + $2, bytes_reserved = bytes_reserved + $3 where id = $1";

/// A run that comes back after it was lost may report more than was left for it: what was spent cannot be undone, and
/// the counter stays within its bounds.
const SETTLE_GRANT: &str = "update grants set \
       queries_reserved = greatest(0, least(coalesce(max_queries, 9223372036854775807::numeric), \
           queries_reserved::numeric + $2::bigint))::bigint, \
       bytes_reserved = greatest(0, least(coalesce(max_bytes, 9223372036854775807::numeric), \
           bytes_reserved::numeric + $3::bigint))::bigint \
     where id = $1";

const SETTLE_SESSIONS: &str = "update connections c \
     set queries_reserved = s.queries, bytes_reserved = s.bytes \
     from unnest($1::uuid[], $2::bigint[], $3::bigint[]) s (id, queries, bytes) where c.id = s.id";

/// How a grant's quotas stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaState {
    /// Statements in all; `None`: no quota.
    pub max_queries: Option<u64>,
    /// Bytes in all; `None`: no quota.
    pub max_bytes: Option<u64>,
    /// Statements spent or held.
    pub queries_reserved: u64,
    /// Bytes spent or held.
    pub bytes_reserved: u64,
}

impl QuotaState {
    /// Statements nobody has yet; `None`: no quota.
    #[must_use]
    pub fn queries_left(&self) -> Option<u64> {
        self.max_queries
            .map(|max| max.saturating_sub(self.queries_reserved))
    }

    /// Bytes nobody has yet; `None`: no quota.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        self.max_bytes
            .map(|max| max.saturating_sub(self.bytes_reserved))
    }
}

/// What is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaAmount {
    /// Statements.
    pub queries: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Differences to the counters of grants, in the order of their ids, so that two transactions lock them alike.
#[derive(Debug, Default)]
pub struct Settlement(BTreeMap<GrantId, (i64, i64)>);

impl Settlement {
    /// Notes that of the `reserved` statements and bytes of one session `used` were spent.
    pub fn add(&mut self, grant_id: GrantId, reserved: (i64, i64), used: (i64, i64)) {
        let change = self.0.entry(grant_id).or_default();
        change.0 = change.0.saturating_add(used.0.saturating_sub(reserved.0));
        change.1 = change.1.saturating_add(used.1.saturating_sub(reserved.1));
    }

    /// Moves the counters.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn apply_in_txn(&self, txn: &Transaction<'_>) -> Result<(), StoreError> {
        if self.0.values().all(|change| *change == (0, 0)) {
            return Ok(());
        }
        let statement = txn.prepare_cached(SETTLE_GRANT).await?;
        for (grant_id, (queries, bytes)) in &self.0 {
            txn.execute(&statement, &[&grant_id.0, queries, bytes])
                .await?;
        }
        Ok(())
    }
}

impl Storage {
    /// Hands a slice to a session: `decide` sees how the grant stands and says how much. `None`: the run has no such
    /// session, or it has ended.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn quota_reserve(
        &self,
        run_id: RunId,
        session_id: SessionId,
        decide: impl FnOnce(&QuotaState) -> QuotaAmount,
    ) -> Result<Option<(QuotaState, QuotaAmount)>, StoreError> {
        let mut client = self.client().await?;
        let txn = client.transaction().await?;
        let lock = txn.prepare_cached(LOCK_SESSION).await?;
        let Some(session) = txn.query_opt(&lock, &[&session_id.0, &run_id.0]).await? else {
            return Ok(None);
        };
        let grant_id = GrantId(column(&session, "grant_id")?);
        let lock = txn.prepare_cached(LOCK_GRANT).await?;
        let state = quota_state(&txn.query_one(&lock, &[&grant_id.0]).await?)?;
        let amount = decide(&state);
        take_in_txn(&txn, grant_id, amount).await?;
        let give = txn.prepare_cached(GIVE_TO_SESSION).await?;
        txn.execute(
            &give,
            &[
                &session_id.0,
                &signed(amount.queries),
                &signed(amount.bytes),
            ],
        )
        .await?;
        txn.commit().await?;
        Ok(Some((state, amount)))
    }
}

/// Takes `amount` from a grant whose row the transaction holds. The schema refuses more than there is.
///
/// # Errors
/// When the database cannot be reached.
pub async fn take_in_txn(
    txn: &Transaction<'_>,
    grant_id: GrantId,
    amount: QuotaAmount,
) -> Result<(), StoreError> {
    if amount == QuotaAmount::default() {
        return Ok(());
    }
    let statement = txn.prepare_cached(TAKE_FROM_GRANT).await?;
    txn.execute(
        &statement,
        &[&grant_id.0, &signed(amount.queries), &signed(amount.bytes)],
    )
    .await?;
    Ok(())
}

/// Settles the sessions of a lost run from what its record shows.
///
/// # Errors
/// When the database cannot be reached.
pub async fn settle_lost_in_txn(
    txn: &Transaction<'_>,
    sessions: &[LostSession],
) -> Result<(), StoreError> {
    let mut settlement = Settlement::default();
    for session in sessions {
        let reserved = (session.queries_reserved, session.bytes_reserved);
        settlement.add(
            session.grant_id,
            reserved,
            (session.queries_used, session.bytes_used),
        );
    }
    settlement.apply_in_txn(txn).await?;
    let statement = txn.prepare_cached(SETTLE_SESSIONS).await?;
    let ids: Vec<_> = sessions.iter().map(|session| session.id.0).collect();
    let queries: Vec<_> = sessions
        .iter()
        .map(|session| session.queries_used)
        .collect();
    let bytes: Vec<_> = sessions.iter().map(|session| session.bytes_used).collect();
    txn.execute(&statement, &[&ids, &queries, &bytes]).await?;
    Ok(())
}

/// A count as storage keeps it.
#[must_use]
pub fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn quota_state(row: &Row) -> Result<QuotaState, StoreError> {
    Ok(QuotaState {
        max_queries: optional_count(row, "max_queries")?,
        max_bytes: optional_count(row, "max_bytes")?,
        queries_reserved: count(row, "queries_reserved")?,
        bytes_reserved: count(row, "bytes_reserved")?,
    })
}
