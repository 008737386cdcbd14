//! The end of a run that died and whose record was completed afterwards.

use pglens_core::{RunId, SessionId};
use uuid::Uuid;

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

/// Rows may have been delivered that are not on record where a statement has no end. What sessions hold of quotas is
/// withheld, so that it is settled from the record.
const CLOSE: &str = "update connections c set ended_at = coalesce(c.ended_at, now()), end_reason = 'proxy_restarted', \
         quota_withheld = c.quota_withheld or c.ended_at is null and (c.queries_reserved > 0 or c.bytes_reserved > 0), \
         audit_complete = $2 and c.refused_records = 0 and not exists ( \
             select from queries q where q.connection_id = c.id and q.duration_us is null) \
     where c.id = any($1) returning c.id, c.audit_complete";

/// What became of the sessions of a run.
#[derive(Debug, Default)]
pub struct ClosedRun {
    /// All that are closed now. Their quotas are withheld until they are settled.
    pub sessions: Vec<SessionId>,
    /// So many of them may lack records.
    pub incomplete: usize,
}

/// Says of the statements of these sessions that have no end that nobody knows how they went on.
pub(super) async fn mark_unknown_in_txn(
    txn: &Transaction<'_>,
    sessions: &[Uuid],
) -> Result<(), StoreError> {
    let mark = txn.prepare_cached(MARK_UNKNOWN).await?;
    txn.execute(&mark, &[&sessions]).await?;
    Ok(())
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
    mark_unknown_in_txn(txn, &ids).await?;
    let close = txn.prepare_cached(CLOSE).await?;
    let mut closed = ClosedRun::default();
    for row in txn.query(&close, &[&ids, &is_complete]).await? {
        closed.incomplete += usize::from(!column::<bool>(&row, "audit_complete")?);
        closed.sessions.push(SessionId(column(&row, "id")?));
    }
    Ok(Some(closed))
}
