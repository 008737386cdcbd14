//! The end of a run that died and whose record was completed afterwards.

use pglens_core::RunId;
use uuid::Uuid;

use super::proxy_run::{LostSession, lost_session};
use super::{StoreError, Transaction, column};

/// A run that comes back is not lost any more. The cursor says whether its record is there.
const LOCK_RUN: &str = "update proxy_runs set lost_at = null, active_sessions = 0 \
     where run_id = $1 returning committed_sequence";

/// Sessions that have not told their end, whether they were given up meanwhile or not.
const LOCK_SESSIONS: &str = "select id from connections \
     where run_id = $1 and (ended_at is null or end_reason in ('proxy_lost', 'not_held')) order by id for no key update";

/// What ran when the process died. Nobody knows how it went on.
const MARK_UNKNOWN: &str = "update queries set outcome_unknown = true \
     where connection_id = any($1) and duration_us is null";

/// Rows may have been delivered that are not on record where a statement has no end.
const CLOSE: &str = "with closing as ( \
         update connections c set ended_at = coalesce(c.ended_at, now()), end_reason = 'proxy_restarted', \
             audit_complete = $2 and c.refused_records = 0 and not exists ( \
                 select from queries q where q.connection_id = c.id and q.duration_us is null) \
         where c.id = any($1) \
         returning c.id, c.grant_id, c.queries_reserved, c.bytes_reserved, c.audit_complete) \
     select c.id, c.grant_id, c.queries_reserved, c.bytes_reserved, c.audit_complete, \
         coalesce(used.queries, 0) as queries_used, coalesce(used.bytes, 0)::bigint as bytes_used \
     from closing c left join lateral ( \
         select count(*) filter (where q.refusal = '') as queries, \
             sum(q.bytes_out + case when q.kind = 'COPY' then q.bytes_in else 0 end) as bytes \
         from queries q where q.connection_id = c.id) used on true \
     order by c.id";

/// What became of the sessions of a run.
#[derive(Debug, Default)]
pub struct ClosedRun {
    /// All that are closed now, with what their record shows.
    pub sessions: Vec<LostSession>,
    /// So many of them may lack records.
    pub incomplete: usize,
}

/// Closes the sessions of a run whose record is there up to `last_sequence`. `None`: it is not.
///
/// # Errors
/// When the database cannot be reached.
pub async fn close_recovered_in_txn(
    txn: &Transaction<'_>,
    run_id: RunId,
    last_sequence: i64,
    is_complete: bool,
) -> Result<Option<ClosedRun>, StoreError> {
    let lock = txn.prepare_cached(LOCK_RUN).await?;
    let run = txn.query_one(&lock, &[&run_id.0]).await?;
    if column::<i64>(&run, "committed_sequence")? != last_sequence {
        return Ok(None);
    }
    let lock = txn.prepare_cached(LOCK_SESSIONS).await?;
    let rows = txn.query(&lock, &[&run_id.0]).await?;
    let ids: Vec<Uuid> = rows
        .iter()
        .map(|row| column(row, "id"))
        .collect::<Result<_, _>>()?;
    if ids.is_empty() {
        return Ok(Some(ClosedRun::default()));
    }
    let mark = txn.prepare_cached(MARK_UNKNOWN).await?;
    txn.execute(&mark, &[&ids]).await?;
    let close = txn.prepare_cached(CLOSE).await?;
    let mut closed = ClosedRun::default();
    for row in txn.query(&close, &[&ids, &is_complete]).await? {
        closed.incomplete += usize::from(!column::<bool>(&row, "audit_complete")?);
        closed.sessions.push(lost_session(&row)?);
    }
    Ok(Some(closed))
}
