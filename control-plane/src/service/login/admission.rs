//! What comes behind the proof: database, grant, quotas, and the session's row, in one transaction.

use chrono::{DateTime, Utc};
use pglens_core::{RunId, SessionId, UserId};
use pglens_rpc::v1;
use pglens_runtime::Chain;
use uuid::Uuid;

use super::refusal::{Refusal, SpentQuota, WrongCredentials};
use super::{Attempt, target};
use crate::app::App;
use crate::fleet::quota;
use crate::service::schedule::{Hours, Schedule};
use crate::storage::access::{
    GrantState, HeldGrant, LoginDatabase, LoginGrant, LoginUser, database_lock_in_txn,
    grant_lock_in_txn, grants_find_in_txn, user_lock_in_txn,
};
use crate::storage::connection::{NewConnection, abandon_in_txn, insert_in_txn};
use crate::storage::quota::{QuotaAmount, QuotaState, Settlement, signed, take_in_txn};
use crate::storage::quota_claim::{Holders, QuotaClaim};
use crate::storage::{StoreError, Transaction};

/// A grant that is revoked just then makes the next one count; so often in one login it is a coincidence.
const MAX_GRANTS_TRIED: usize = 3;

/// A login that is through.
pub(super) struct Admission {
    pub(super) session_id: SessionId,
    pub(super) user_id: UserId,
    pub(super) database: LoginDatabase,
    pub(super) grant: LoginGrant,
    expires_in_ms: u64,
    /// When the hours of the grant end, and how many milliseconds that is from now.
    window: Option<(DateTime<Utc>, u64)>,
    slice: v1::QuotaSlice,
    target: v1::Target,
}

/// Decides, and keeps the session's row when it is let in.
pub(super) async fn admit(
    app: &App,
    attempt: &Attempt,
    user: &LoginUser,
) -> Result<Admission, Refusal> {
    let mut client = app.storage.client().await.map_err(Refusal::storage)?;
    let txn = client
        .transaction()
        .await
        .map_err(|error| Refusal::storage(error.into()))?;
    let admission = admit_in_txn(app, &txn, attempt, user).await?;
    txn.commit()
        .await
        .map_err(|error| Refusal::storage(error.into()))?;
    Ok(admission)
}

async fn admit_in_txn(
    app: &App,
    txn: &Transaction<'_>,
    attempt: &Attempt,
    user: &LoginUser,
) -> Result<Admission, Refusal> {
    let current = user_lock_in_txn(txn, user.id, user.password_changed_at);
    if !current.await.map_err(Refusal::storage)? {
        return Err(Refusal::WrongCredentials(
            WrongCredentials::ChangedMeanwhile,
        ));
    }
    let database = find_database(txn, &attempt.database)
        .await?
        .ok_or(Refusal::UnknownDatabase { user_id: user.id })?;
    let Chosen {
        grant,
        held,
        window_ends_at,
    } = hold_grant(txn, user.id, &database).await?;
    let state = QuotaState {
        max_queries: grant.max_queries,
        max_bytes: grant.max_bytes,
        queries_reserved: held.queries_reserved,
        bytes_reserved: held.bytes_reserved,
    };
    check_limits(user.id, &grant, &held, &state)?;

    let session_id = SessionId(Uuid::now_v7());
    let amount = quota::first(&state, held.holders.sessions + 1);
    take_in_txn(txn, grant.id, amount)
        .await
        .map_err(Refusal::storage)?;
    let mut connection = new_connection(attempt, session_id, user.id, &database, &grant, amount);
    connection.window_ends_at = window_ends_at;
    insert_in_txn(txn, &connection)
        .await
        .map_err(Refusal::storage)?;
    // Last of all: nothing of the target is in memory before it is clear that the session may run.
    let target = target::open(app, &database, grant.access_level)?;
    Ok(Admission {
        session_id,
        user_id: user.id,
        expires_in_ms: held.expires_in_ms,
        window: window_ends_at.map(|at| (at, millis_between(held.now, at))),
        slice: first_slice(attempt.run_id, session_id, amount, &state, &held.holders),
        target,
        database,
        grant,
    })
}

async fn find_database(
    txn: &Transaction<'_>,
    name: &str,
) -> Result<Option<LoginDatabase>, Refusal> {
    if name.len() > pglens_core::limits::MAX_NAME_BYTES || name.contains('\0') {
        return Ok(None);
    }
    database_lock_in_txn(txn, name)
        .await
        .map_err(Refusal::storage)
}

/// A grant whose row is held, and until when its hours let the user in.
struct Chosen {
    grant: LoginGrant,
    held: HeldGrant,
    window_ends_at: Option<DateTime<Utc>>,
}

/// Finds the grant that counts and holds its row.
async fn hold_grant(
    txn: &Transaction<'_>,
    user_id: UserId,
    database: &LoginDatabase,
) -> Result<Chosen, Refusal> {
    for _ in 0..MAX_GRANTS_TRIED {
        let found = grants_find_in_txn(txn, user_id, database.id)
            .await
            .map_err(Refusal::storage)?;
        let (grant, window_ends_at) = choose(user_id, found)?;
        if let Some(held) = grant_lock_in_txn(txn, grant.id)
            .await
            .map_err(Refusal::storage)?
        {
            return Ok(Chosen {
                grant,
                held,
                window_ends_at,
            });
        }
    }
    Err(Refusal::NoGrant { user_id })
}

/// The first grant that holds and whose hours let the user in now; otherwise why there is none.
fn choose(
    user_id: UserId,
    found: Vec<LoginGrant>,
) -> Result<(LoginGrant, Option<DateTime<Utc>>), Refusal> {
    let mut refusal: Option<Refusal> = None;
    for grant in found {
        if grant.state != GrantState::Active {
            return Err(refusal.unwrap_or_else(|| not_active(user_id, &grant)));
        }
        let Some(schedule) = &grant.schedule else {
            return Ok((grant, None));
        };
        let hours = schedule.at(grant.now).map_err(|error| {
            tracing::error!(grant.id = %grant.id, error = %Chain(&error), "schedule not understood");
            Refusal::Internal
        })?;
        let next = match hours {
            Hours::Open(until) => return Ok((grant, until)),
            Hours::Closed(next) => next,
        };
        // Of several, the one that opens first is told.
        let is_sooner = match &refusal {
            Some(Refusal::OutsideHours { next: told, .. }) => {
                next.is_some_and(|next| told.is_none_or(|told| next < told))
            }
            _ => true,
        };
        if is_sooner {
            refusal = Some(Refusal::OutsideHours {
                user_id,
                grant_id: grant.id,
                schedule: schedule.words(),
                next: next.filter(|next| *next < grant.expires_at),
            });
        }
    }
    Err(refusal.unwrap_or(Refusal::NoGrant { user_id }))
}

fn not_active(user_id: UserId, grant: &LoginGrant) -> Refusal {
    let grant_id = grant.id;
    match grant.state {
        GrantState::Pending => Refusal::NotStarted {
            user_id,
            grant_id,
            at: grant.starts_at,
        },
        GrantState::Expired => Refusal::Expired {
            user_id,
            grant_id,
            at: grant.expires_at,
        },
        GrantState::Revoked | GrantState::Active => Refusal::Revoked {
            user_id,
            grant_id,
            at: grant.revoked_at,
        },
    }
}

/// A quota that other sessions hold is not spent yet: the session may wait for what they give back.
fn check_limits(
    user_id: UserId,
    grant: &LoginGrant,
    held: &HeldGrant,
    state: &QuotaState,
) -> Result<(), Refusal> {
    let grant_id = grant.id;
    if let Some(limit) = grant.max_connections
        && held.holders.sessions >= u64::from(limit)
    {
        return Err(Refusal::TooManyConnections {
            user_id,
            grant_id,
            limit,
        });
    }
    if state.queries_left() == Some(0) && held.holders.held.queries == 0 {
        return Err(Refusal::QuotaSpent {
            user_id,
            grant_id,
            quota: SpentQuota::Queries,
        });
    }
    if state.bytes_left() == Some(0) && held.holders.held.bytes == 0 {
        return Err(Refusal::QuotaSpent {
            user_id,
            grant_id,
            quota: SpentQuota::Bytes,
        });
    }
    Ok(())
}

fn first_slice(
    run_id: RunId,
    session_id: SessionId,
    amount: QuotaAmount,
    state: &QuotaState,
    holders: &Holders,
) -> v1::QuotaSlice {
    let nothing = QuotaAmount::default();
    let claim = QuotaClaim {
        run_id,
        session_id,
        request_id: 0,
        used: nothing,
        held: nothing,
        need: nothing,
        wanted: nothing,
    };
    quota::message(&claim, amount, state, holders)
}

fn new_connection<'a>(
    attempt: &'a Attempt,
    id: SessionId,
    user_id: UserId,
    database: &LoginDatabase,
    grant: &LoginGrant,
    amount: QuotaAmount,
) -> NewConnection<'a> {
    NewConnection {
        id,
        run_id: attempt.run_id,
        user_id,
        database_id: database.id,
        grant_id: grant.id,
        client_address: &attempt.client_address,
        application_name: &attempt.application_name,
        tls_version: attempt.tls.as_ref().map(|tls| tls.version.as_str()),
        queries_reserved: signed(amount.queries),
        bytes_reserved: signed(amount.bytes),
        window_ends_at: None,
        record_rows: database.record_rows,
        cancel_key: attempt.cancel_key,
    }
}

impl Admission {
    /// The answer to the proxy.
    pub(super) fn into_allow(self, app: &App, sasl_final: Vec<u8>) -> v1::Allow {
        let defaults = &app.session_defaults;
        v1::Allow {
            sasl_final,
            session_id: self.session_id.to_wire(),
            user_id: self.user_id.0,
            database_id: self.database.id.0,
            grant: Some(grant_message(&self.grant, self.expires_in_ms, self.window)),
            limits: Some(v1::Limits {
                capture_rows: self.database.record_rows,
                capture_max_rows: self
                    .database
                    .record_max_rows
                    .unwrap_or(defaults.capture_max_rows),
                capture_max_bytes: self
                    .database
                    .record_max_bytes
                    .unwrap_or(defaults.capture_max_bytes),
            }),
            target: Some(self.target),
            quota: Some(self.slice),
            lease_ms: u64::try_from(defaults.lease.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn millis_between(from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
    u64::try_from((to - from).num_milliseconds()).unwrap_or(0)
}

fn grant_message(
    grant: &LoginGrant,
    expires_in_ms: u64,
    window: Option<(DateTime<Utc>, u64)>,
) -> v1::Grant {
    let words = |schedule: &Schedule| schedule.words();
    v1::Grant {
        id: grant.id.0,
        access_level: v1::AccessLevel::from(grant.access_level).into(),
        starts_at_unix_us: grant.starts_at.timestamp_micros(),
        expires_at_unix_us: grant.expires_at.timestamp_micros(),
        expires_in_ms,
        max_queries: grant.max_queries,
        max_bytes: grant.max_bytes,
        block_copy: grant.block_copy,
        block_ddl: grant.block_ddl,
        statement_timeout_ms: grant.statement_timeout_ms,
        max_connections: grant.max_connections,
        audit_level: v1::AuditLevel::from(grant.audit_level).into(),
        window_ends_in_ms: window.map(|(_, in_ms)| in_ms),
        window_ends_at_unix_us: window.map_or(0, |(at, _)| at.timestamp_micros()),
        schedule: grant.schedule.as_ref().map_or_else(String::new, words),
    }
}

/// Ends a session whose proxy went before it heard of it.
pub(super) async fn abandon(app: &App, session_id: SessionId) {
    let abandoned = async {
        let mut client = app.storage.client().await?;
        let txn = client.transaction().await?;
        if let Some((grant_id, queries, bytes)) = abandon_in_txn(&txn, session_id).await? {
            let mut settlement = Settlement::default();
            settlement.add(grant_id, (queries, bytes), (0, 0));
            settlement.apply_in_txn(&txn).await?;
        }
        txn.commit().await?;
        Ok::<(), StoreError>(())
    };
    if let Err(error) = abandoned.await {
        tracing::warn!(session.id = %session_id, error = %Chain(&error), "abandoned login not closed");
    }
}
