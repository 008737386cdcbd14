//! What sessions say they hold of a grant's quotas, and what they are given: many sessions of one grant at a time.
//!
//! A claim is absolute: it says what the session has spent and what it holds, and replaces what storage believed. A slice
//! that never arrived is thereby free again. Only the newest claim of a session counts, whichever replica it reaches.

use std::collections::HashMap;

use pglens_core::{GrantId, RunId, SessionId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::quota::{QuotaAmount, QuotaState, lock_grant_in_txn, signed};
use super::{Storage, StoreError, Transaction, column, count};

const LOCK_SESSIONS: &str = "select id, run_id, queries_reserved, bytes_reserved, queries_told, bytes_told, \
       quota_request \
     from connections where id = any($1) and grant_id = $2 and ended_at is null \
     order by id for no key update";

/// A statement of its own behind the lock of the grant: it has to see what the one before us in the queue did.
const HOLDERS: &str = "select running.sessions, running.queries, running.bytes, withheld.queries as queries_withheld, \
       withheld.bytes as bytes_withheld \
     from (select count(*) as sessions, coalesce(sum(queries_reserved - queries_told), 0)::bigint as queries, \
             coalesce(sum(bytes_reserved - bytes_told), 0)::bigint as bytes \
           from connections where grant_id = $1 and ended_at is null) running, \
          (select coalesce(sum(queries_reserved - queries_told), 0)::bigint as queries, \
             coalesce(sum(bytes_reserved - bytes_told), 0)::bigint as bytes \
           from connections where grant_id = $1 and quota_withheld) withheld";

const UPDATE_SESSIONS: &str = "update connections c set queries_reserved = n.queries_reserved, \
       bytes_reserved = n.bytes_reserved, queries_told = n.queries_told, bytes_told = n.bytes_told, \
       quota_request = n.quota_request \
     from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
       n (id, queries_reserved, bytes_reserved, queries_told, bytes_told, quota_request) \
     where c.id = n.id";

const UPDATE_GRANT: &str = "update grants set queries_reserved = $2, bytes_reserved = $3, \
       queries_nearly_spent = $4, bytes_nearly_spent = $5 where id = $1";

/// How a session stands and what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaClaim {
    /// The run that holds it.
    pub run_id: RunId,
    /// Which one.
    pub session_id: SessionId,
    /// Grows with every claim of the session.
    pub request_id: u64,
    /// Spent since it began.
    pub used: QuotaAmount,
    /// Held and not spent.
    pub held: QuotaAmount,
    /// Missing now; less is of no use.
    pub need: QuotaAmount,
    /// A good size for a slice; 0: none is asked for.
    pub wanted: QuotaAmount,
}

/// Who else has something of a grant's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holders {
    /// Sessions that run.
    pub sessions: u64,
    /// What they hold and have not spent, as far as they told.
    pub held: QuotaAmount,
    /// What sessions of lost proxies held, until their record is complete.
    pub withheld: QuotaAmount,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// A newer claim of the session counts.
    Stale,
    /// The run has no such session under this grant, or it has ended.
    NoSession,
    /// The session has what it held, and this on top.
    Settled {
        /// The slice.
        amount: QuotaAmount,
        /// How the grant stood before it was given.
        state: QuotaState,
        /// Who holds the rest.
        others: Holders,
    },
}

/// A grant after its claims.
#[derive(Debug)]
pub struct Claims {
    /// One for each claim, in their order.
    pub claimed: Vec<Claimed>,
    /// What all sessions have spent together, as far as they told.
    pub spent: QuotaAmount,
    /// More is free than before.
    pub freed: bool,
    /// Some quota has just become nearly spent.
    pub nearly_spent: bool,
}

/// Decides what a claim is given, seeing how the grant stands and who else holds something.
pub trait Decide: FnMut(&QuotaClaim, &QuotaState, &Holders) -> QuotaAmount {}
impl<F: FnMut(&QuotaClaim, &QuotaState, &Holders) -> QuotaAmount> Decide for F {}

/// A session's row while claims are settled.
#[derive(Debug, Clone, Copy)]
struct Account {
    run_id: RunId,
    reserved: QuotaAmount,
    told: QuotaAmount,
    request_id: u64,
    changed: bool,
}

impl Account {
    fn held(&self) -> QuotaAmount {
        self.reserved.less(self.told)
    }

    /// Believes the claim, but not that the session has more than it was given.
    fn adopt(&mut self, claim: &QuotaClaim) {
        self.reserved = claim.used.and(claim.held).at_most(self.reserved);
        self.told = claim.used.at_most(self.reserved);
        self.request_id = claim.request_id;
        self.changed = true;
    }
}

impl Storage {
    /// Settles claims of sessions of one grant, in their order. `None`: there is no such grant.
    ///
    /// # Errors
    /// When the database cannot be reached. Nothing has changed then, or the answer to the commit was lost; the next
    /// claim of each session puts either right.
    pub async fn quota_claim(
        &self,
        grant_id: GrantId,
        claims: &[QuotaClaim],
        decide: impl Decide + Send,
    ) -> Result<Option<Claims>, StoreError> {
        let mut client = self.client().await?;
        let txn = client.transaction().await?;
        let mut accounts = accounts_in_txn(&txn, grant_id, claims).await?;
        let Some(grant) = lock_grant_in_txn(&txn, grant_id).await? else {
            return Ok(None);
        };
        let holders = holders_in_txn(&txn, grant_id).await?;
        let mut book = Book {
            state: grant.state,
            holders,
        };
        let claimed = book.settle(claims, &mut accounts, decide);
        let spent = book.spent();
        let nearly = book.state.nearly_spent(spent);
        let claims = Claims {
            claimed,
            spent,
            freed: book.state.queries_reserved < grant.state.queries_reserved
                || book.state.bytes_reserved < grant.state.bytes_reserved,
            nearly_spent: nearly.0 && !grant.nearly_spent.0 || nearly.1 && !grant.nearly_spent.1,
        };
        update_in_txn(&txn, grant_id, &accounts, &book.state, nearly).await?;
        txn.commit().await?;
        Ok(Some(claims))
    }
}

/// A grant's counters while claims are settled.
struct Book {
    state: QuotaState,
    holders: Holders,
}

impl Book {
    fn settle(
        &mut self,
        claims: &[QuotaClaim],
        accounts: &mut HashMap<SessionId, Account>,
        mut decide: impl Decide,
    ) -> Vec<Claimed> {
        let mut claimed = Vec::with_capacity(claims.len());
        // Everything that goes back is free before anything is given.
        let current: Vec<bool> = claims
            .iter()
            .map(|claim| self.adopt(claim, accounts))
            .collect();
        for (claim, is_current) in claims.iter().zip(current) {
            let account = accounts.get_mut(&claim.session_id);
            let account = account.filter(|account| account.run_id == claim.run_id);
            claimed.push(match account {
                None => Claimed::NoSession,
                Some(_) if !is_current => Claimed::Stale,
                Some(account) => {
                    let state = self.state;
                    let others = Holders {
                        held: self.holders.held.less(account.held()),
                        ..self.holders
                    };
                    let amount = decide(claim, &state, &others);
                    account.reserved = account.reserved.and(amount);
                    self.state.reserve(amount);
                    self.holders.held = self.holders.held.and(amount);
                    Claimed::Settled {
                        amount,
                        state,
                        others,
                    }
                }
            });
        }
        claimed
    }

    fn adopt(&mut self, claim: &QuotaClaim, accounts: &mut HashMap<SessionId, Account>) -> bool {
        let Some(account) = accounts.get_mut(&claim.session_id) else {
            return false;
        };
        // The same one may be looked at again as long as nothing was given for it.
        if account.run_id != claim.run_id || claim.request_id < account.request_id {
            return false;
        }
        let before = *account;
        account.adopt(claim);
        self.state.release(before.reserved.less(account.reserved));
        self.holders.held = self.holders.held.less(before.held()).and(account.held());
        true
    }

    fn spent(&self) -> QuotaAmount {
        let reserved = QuotaAmount {
            queries: self.state.queries_reserved,
            bytes: self.state.bytes_reserved,
        };
        reserved.less(self.holders.held).less(self.holders.withheld)
    }
}

async fn accounts_in_txn(
    txn: &Transaction<'_>,
    grant_id: GrantId,
    claims: &[QuotaClaim],
) -> Result<HashMap<SessionId, Account>, StoreError> {
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.session_id.0).collect();
    let statement = txn.prepare_cached(LOCK_SESSIONS).await?;
    let rows = txn.query(&statement, &[&ids, &grant_id.0]).await?;
    rows.iter().map(account).collect()
}

fn account(row: &Row) -> Result<(SessionId, Account), StoreError> {
    let account = Account {
        run_id: RunId(column(row, "run_id")?),
        reserved: QuotaAmount {
            queries: count(row, "queries_reserved")?,
            bytes: count(row, "bytes_reserved")?,
        },
        told: QuotaAmount {
            queries: count(row, "queries_told")?,
            bytes: count(row, "bytes_told")?,
        },
        request_id: count(row, "quota_request")?,
        changed: false,
    };
    Ok((SessionId(column(row, "id")?), account))
}

/// Who holds what of a grant whose row the transaction holds.
///
/// # Errors
/// When the database cannot be reached.
pub async fn holders_in_txn(
    txn: &Transaction<'_>,
    grant_id: GrantId,
) -> Result<Holders, StoreError> {
    let statement = txn.prepare_cached(HOLDERS).await?;
    let row = txn.query_one(&statement, &[&grant_id.0]).await?;
    Ok(Holders {
        sessions: count(&row, "sessions")?,
        held: QuotaAmount {
            queries: count(&row, "queries")?,
            bytes: count(&row, "bytes")?,
        },
        withheld: QuotaAmount {
            queries: count(&row, "queries_withheld")?,
            bytes: count(&row, "bytes_withheld")?,
        },
    })
}

async fn update_in_txn(
    txn: &Transaction<'_>,
    grant_id: GrantId,
    accounts: &HashMap<SessionId, Account>,
    state: &QuotaState,
    nearly_spent: (bool, bool),
) -> Result<(), StoreError> {
    let changed: Vec<_> = accounts.iter().filter(|(_, one)| one.changed).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = changed.iter().map(|(id, _)| id.0).collect();
    let all = |value: fn(&Account) -> u64| -> Vec<i64> {
        changed.iter().map(|(_, one)| signed(value(one))).collect()
    };
    let statement = txn.prepare_cached(UPDATE_SESSIONS).await?;
    txn.execute(
        &statement,
        &[
            &ids,
            &all(|one| one.reserved.queries),
            &all(|one| one.reserved.bytes),
            &all(|one| one.told.queries),
            &all(|one| one.told.bytes),
            &all(|one| one.request_id),
        ],
    )
    .await?;
    let statement = txn.prepare_cached(UPDATE_GRANT).await?;
    txn.execute(
        &statement,
        &[
            &grant_id.0,
            &signed(state.queries_reserved),
            &signed(state.bytes_reserved),
            &nearly_spent.0,
            &nearly_spent.1,
        ],
    )
    .await?;
    Ok(())
}
