//! The quotas of grants: slices are handed out to sessions and given back, never beyond what the grant has.
//!
//! `grants.*_reserved` is what ended sessions spent plus what running ones hold. Every change of it happens under the
//! lock of the grant's row, taken behind those of the sessions'.

use std::collections::BTreeMap;

use pglens_core::{GrantId, RunId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{StoreError, Transaction, column, count, optional_count};

const LOCK_GRANT: &str = "select max_queries, max_bytes, queries_reserved, bytes_reserved, queries_nearly_spent, \
       bytes_nearly_spent \
     from grants where id = $1 for no key update";

const TAKE_FROM_GRANT: &str = "update grants \
     set queries_reserved = queries_reserved + $2, bytes_reserved = bytes_reserved + $3 where id = $1";

/// A run that comes back after it was lost may report more than was left for it: what was spent cannot be undone, and
/// the counter stays within its bounds.
const SETTLE_GRANT: &str = "update grants set \
       queries_reserved = greatest(0, least(coalesce(max_queries, 9223372036854775807::numeric), \
           queries_reserved::numeric + $2::bigint))::bigint, \
       bytes_reserved = greatest(0, least(coalesce(max_bytes, 9223372036854775807::numeric), \
           bytes_reserved::numeric + $3::bigint))::bigint \
     where id = $1";

const LOCK_WITHHELD: &str = "select id, grant_id, queries_reserved, bytes_reserved from connections \
     where run_id = $1 and quota_withheld order by id for no key update";

/// The record is searched by its index on (connection_id, id), in every partition: it is seldom needed.
const RECORDED_USE: &str = "select count(*) filter (where refusal = '' and kind <> 'SHOW GRANT') as queries, \
       coalesce(sum(bytes_out + case when kind = 'COPY' then bytes_in else 0 end), 0)::bigint as bytes, \
       coalesce(bool_or(duration_us is null or outcome_unknown), false) as has_unfinished \
     from queries where connection_id = $1";

const SETTLE_SESSIONS: &str = "update connections c \
     set queries_reserved = s.queries, bytes_reserved = s.bytes, queries_told = s.queries, bytes_told = s.bytes, \
       quota_withheld = false \
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

    /// Takes what is given.
    pub(super) fn reserve(&mut self, amount: QuotaAmount) {
        self.queries_reserved = self.queries_reserved.saturating_add(amount.queries);
        self.bytes_reserved = self.bytes_reserved.saturating_add(amount.bytes);
    }

    /// Takes back what was given and not spent.
    pub(super) fn release(&mut self, amount: QuotaAmount) {
        self.queries_reserved = self.queries_reserved.saturating_sub(amount.queries);
        self.bytes_reserved = self.bytes_reserved.saturating_sub(amount.bytes);
    }

    /// Which quotas are nearly spent once `spent` is: statements, bytes.
    #[must_use]
    pub fn nearly_spent(&self, spent: QuotaAmount) -> (bool, bool) {
        let is_near = |max: Option<u64>, spent: u64| {
            max.is_some_and(|max| u128::from(spent) * 100 >= u128::from(max) * NEARLY_SPENT_PERCENT)
        };
        (
            is_near(self.max_queries, spent.queries),
            is_near(self.max_bytes, spent.bytes),
        )
    }
}

/// Part of a quota, in percent, at which it counts as nearly spent.
const NEARLY_SPENT_PERCENT: u128 = 80;

/// What is handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaAmount {
    /// Statements.
    pub queries: u64,
    /// Bytes.
    pub bytes: u64,
}

impl QuotaAmount {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            queries: self.queries.saturating_add(other.queries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// What remains without `other`.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            queries: self.queries.saturating_sub(other.queries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// No more of either than `bound` has.
    #[must_use]
    pub fn at_most(self, bound: Self) -> Self {
        Self {
            queries: self.queries.min(bound.queries),
            bytes: self.bytes.min(bound.bytes),
        }
    }
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

/// A grant's quotas, with its row locked.
#[derive(Debug)]
pub struct LockedQuotas {
    /// How they stand.
    pub state: QuotaState,
    /// Which of them its sessions were told to be nearly spent: statements, bytes.
    pub nearly_spent: (bool, bool),
}

/// Locks a grant's row for a change of its counters; `None`: there is none.
///
/// # Errors
/// When the database cannot be reached.
pub async fn lock_grant_in_txn(
    txn: &Transaction<'_>,
    grant_id: GrantId,
) -> Result<Option<LockedQuotas>, StoreError> {
    let lock = txn.prepare_cached(LOCK_GRANT).await?;
    let Some(row) = txn.query_opt(&lock, &[&grant_id.0]).await? else {
        return Ok(None);
    };
    Ok(Some(LockedQuotas {
        state: quota_state(&row)?,
        nearly_spent: (
            column(&row, "queries_nearly_spent")?,
            column(&row, "bytes_nearly_spent")?,
        ),
    }))
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

/// Settles what sessions of a run withhold, whose record is complete. Bytes of a session with a statement whose end is
/// not on record stay spent: nobody can say how many of them the client got.
///
/// # Errors
/// When the database cannot be reached.
pub async fn settle_withheld_in_txn(
    txn: &Transaction<'_>,
    run_id: RunId,
) -> Result<usize, StoreError> {
    let lock = txn.prepare_cached(LOCK_WITHHELD).await?;
    let locked = txn.query(&lock, &[&run_id.0]).await?;
    if locked.is_empty() {
        return Ok(0);
    }
    let (mut ids, mut queries, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let mut settlement = Settlement::default();
    let recorded = txn.prepare_cached(RECORDED_USE).await?;
    for session in &locked {
        let id: Uuid = column(session, "id")?;
        let reserved = (
            column(session, "queries_reserved")?,
            column(session, "bytes_reserved")?,
        );
        let row = txn.query_one(&recorded, &[&id]).await?;
        let used = (
            column(&row, "queries")?,
            match column(&row, "has_unfinished")? {
                true => reserved.1,
                false => column(&row, "bytes")?,
            },
        );
        settlement.add(GrantId(column(session, "grant_id")?), reserved, used);
        ids.push(id);
        queries.push(used.0);
        bytes.push(used.1);
    }
    settlement.apply_in_txn(txn).await?;
    let statement = txn.prepare_cached(SETTLE_SESSIONS).await?;
    txn.execute(&statement, &[&ids, &queries, &bytes]).await?;
    Ok(locked.len())
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
