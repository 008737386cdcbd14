//! What a batch of records changes about its sessions: their counters, their end, and what goes back to their grants.

use pglens_core::{GrantId, RunId, SessionId};
use uuid::Uuid;

use super::quota::Settlement;
use super::{StoreError, Transaction, column};
use crate::ingest::merge::SessionCounts;
use crate::ingest::record::SessionEnd;

const COUNT: &str = "update connections c set query_count = c.query_count + n.statements, \
       bytes_in = c.bytes_in + n.bytes_in, bytes_out = c.bytes_out + n.bytes_out, \
       refused_records = c.refused_records + n.refused, audit_complete = c.audit_complete and n.refused = 0 \
     from unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
       n (id, statements, bytes_in, bytes_out, refused) \
     where c.id = n.id and c.run_id = $1";

/// A session that was given up is completed by the end that comes after all.
const LOCK_ENDING: &str = "select id, grant_id, queries_reserved, bytes_reserved from connections \
     where id = any($1) and run_id = $2 \
       and (ended_at is null or end_reason in ('proxy_lost', 'not_held', 'login_interrupted')) \
     order by id for no key update";

/// The run's record has no gaps: with its last record a session's record is complete, but for refused ones.
const END_SESSIONS: &str = "update connections c set ended_at = e.ended_at, end_reason = e.reason, \
       sqlstate = nullif(e.sqlstate, ''), bytes_in = greatest(c.bytes_in, e.bytes_in), \
       bytes_out = greatest(c.bytes_out, e.bytes_out), queries_reserved = e.queries_used, \
       bytes_reserved = e.bytes_used, queries_told = e.queries_used, bytes_told = e.bytes_used, \
       quota_withheld = false, audit_complete = (c.refused_records = 0) \
     from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], \
         $8::bigint[]) \
       e (id, ended_at, reason, sqlstate, bytes_in, bytes_out, queries_used, bytes_used) \
     where c.id = e.id";

/// Adds what a batch brought to the counters of its sessions.
///
/// # Errors
/// When the database cannot be reached.
pub async fn sessions_count_in_txn(
    txn: &Transaction<'_>,
    run_id: RunId,
    counts: &[(SessionId, SessionCounts)],
) -> Result<(), StoreError> {
    if counts.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = counts.iter().map(|(id, _)| id.0).collect();
    let all = |value: fn(&SessionCounts) -> i64| -> Vec<i64> {
        counts.iter().map(|(_, counts)| value(counts)).collect()
    };
    let statement = txn.prepare_cached(COUNT).await?;
    txn.execute(
        &statement,
        &[
            &run_id.0,
            &ids,
            &all(|counts| counts.statements),
            &all(|counts| counts.bytes_in),
            &all(|counts| counts.bytes_out),
            &all(|counts| counts.refused),
        ],
    )
    .await?;
    Ok(())
}

/// Ends sessions of a run and settles their quotas.
///
/// # Errors
/// When the database cannot be reached.
pub async fn sessions_end_in_txn(
    txn: &Transaction<'_>,
    run_id: RunId,
    ends: &[SessionEnd],
) -> Result<(), StoreError> {
    if ends.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = ends.iter().map(|end| end.session_id.0).collect();
    let lock = txn.prepare_cached(LOCK_ENDING).await?;
    let mut settlement = Settlement::default();
    let mut ending = Vec::new();
    for row in txn.query(&lock, &[&ids, &run_id.0]).await? {
        let id = SessionId(column(&row, "id")?);
        let reserved = (
            column(&row, "queries_reserved")?,
            column(&row, "bytes_reserved")?,
        );
        if let Some(end) = ends.iter().find(|end| end.session_id == id) {
            settlement.add(
                GrantId(column(&row, "grant_id")?),
                reserved,
                (end.queries_used, end.bytes_used),
            );
            ending.push(end);
        }
    }
    end_locked(txn, &ending).await?;
    settlement.apply_in_txn(txn).await
}

async fn end_locked(txn: &Transaction<'_>, ends: &[&SessionEnd]) -> Result<(), StoreError> {
    fn all<'a, T>(ends: &[&'a SessionEnd], value: impl Fn(&'a SessionEnd) -> T) -> Vec<T> {
        ends.iter().map(|end| value(end)).collect()
    }
    let statement = txn.prepare_cached(END_SESSIONS).await?;
    txn.execute(
        &statement,
        &[
            &all(ends, |end| end.session_id.0),
            &all(ends, |end| end.ended_at),
            &all(ends, |end| &*end.reason),
            &all(ends, |end| &*end.sqlstate),
            &all(ends, |end| end.bytes_in),
            &all(ends, |end| end.bytes_out),
            &all(ends, |end| end.queries_used),
            &all(ends, |end| end.bytes_used),
        ],
    )
    .await?;
    Ok(())
}
