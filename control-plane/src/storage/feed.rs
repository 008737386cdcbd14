//! What waits to be sent to a collector, and who sends it.
//!
//! An entry of the queue is written in the transaction of what it names and deleted when that has been sent. There is no
//! cursor that a transaction which commits late could be behind: whatever is committed and not sent is in the queue.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Storage, StoreError, Transaction, column};

/// Keeps others from sending until `leader_until`, by the clock of the database.
const LEAD: &str = "update feed_state \
     set wanted_at = now(), leader = $1, leader_until = now() + $2::float8 * interval '1 second' \
     where leader = $1 or leader is null or leader_until < now()";

const WANT: &str = "update feed_state set wanted_at = now() \
     where wanted_at is null or wanted_at < now() - $1::float8 * interval '1 second'";

const RELEASE: &str = "update feed_state set leader = null, leader_until = null where leader = $1";

const STANDING: &str = "select exported_at, \
       (select extract(epoch from now() - queued_at)::float8 from feed_queue order by id limit 1) as oldest_seconds \
     from feed_state";

const QUEUE_STATEMENTS: &str = "insert into feed_queue (kind, statements) \
     select 'statements', $1::uuid[] where feed_is_wanted()";

/// No more entries than it takes for $1 records: each may have thousands of ids. What an array takes says how many are in
/// it without reading it: sixteen bytes each, and twenty; they are not compressed (V11).
const READ: &str = "select id, uid, queued_at, kind, statements[1:$1] as statements, \
       coalesce(cardinality(statements), 0) as statement_count, connection_id, audit_event_id \
     from (select *, sum(greatest((pg_column_size(statements) - 20) / 16, 1)) \
         over (order by id rows between unbounded preceding and 1 preceding) as before \
       from (select * from feed_queue order by id limit $2) head) entry \
     where before is null or before < $1 order by id";

/// Holds the row of the state, so that a replica that takes over meanwhile waits for what this one has done.
const STILL_LEADING: &str = "update feed_state set exported_at = now() where leader = $1";

const DELETE: &str = "delete from feed_queue where id = any($1)";

const SHORTEN: &str =
    "update feed_queue set statements = statements[$2 + 1:cardinality(statements)] where id = $1";

const UNWANT: &str = "update feed_state set wanted_at = null, leader = null, leader_until = null \
     where wanted_at < now() - $1::float8 * interval '1 second'";

/// What an entry of the queue names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queued {
    /// Statements that ended, or that nobody will tell the end of.
    Statements {
        /// The first of them.
        ids: Vec<Uuid>,
        /// How many there are in all.
        count: usize,
    },
    /// A session was let in.
    SessionStarted(Uuid),
    /// A session ended, or more became known about its end.
    SessionEnded(Uuid),
    /// An event of the audit log.
    AuditEvent(i64),
}

/// An entry of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its place, for [`FeedProgress`].
    pub id: i64,
    /// Identifies what is sent of it, unless that is a statement.
    pub uid: Uuid,
    /// When it was written.
    pub queued_at: DateTime<Utc>,
    /// What is to be sent.
    pub queued: Queued,
}

/// What need not be sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedProgress {
    /// Entries that are done.
    pub done: Vec<i64>,
    /// The entry of which so many statements are done, from the front.
    pub partly: Option<(i64, usize)>,
}

/// How the feed stands, whichever replica sends.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FeedStanding {
    /// Age of the oldest entry.
    pub oldest: Option<Duration>,
    /// When the collector last took something.
    pub exported_at: Option<DateTime<Utc>>,
}

/// Queues statements that ended, if a feed is wanted.
///
/// # Errors
/// When the database cannot be reached.
pub async fn statements_queue_in_txn(
    txn: &Transaction<'_>,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let statement = txn.prepare_cached(QUEUE_STATEMENTS).await?;
    txn.execute(&statement, &[&ids]).await?;
    Ok(())
}

impl Storage {
    /// Says that a feed is wanted: from now on what happens is queued. Said again when that is older than `age`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_want(&self, age: Duration) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(WANT, &[&age.as_secs_f64()]).await?;
        Ok(())
    }

    /// Makes `leader` the one that sends, for `lease`, unless another one is; says whether it is now.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_lead(&self, leader: Uuid, lease: Duration) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LEAD).await?;
        let leading = client
            .execute(&statement, &[&leader, &lease.as_secs_f64()])
            .await?;
        Ok(leading > 0)
    }

    /// Lets others send, if `leader` did.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_release(&self, leader: Uuid) -> Result<(), StoreError> {
        self.client().await?.execute(RELEASE, &[&leader]).await?;
        Ok(())
    }

    /// How the feed stands.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_standing(&self) -> Result<FeedStanding, StoreError> {
        let row = self.client().await?.query_one(STANDING, &[]).await?;
        let oldest: Option<f64> = column(&row, "oldest_seconds")?;
        Ok(FeedStanding {
            oldest: oldest.map(|seconds| {
                Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
            }),
            exported_at: column(&row, "exported_at")?,
        })
    }

    /// The first entries of the queue, up to `limit` of them, and up to so many statements of each.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_read(&self, limit: i32) -> Result<Vec<FeedEntry>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(READ).await?;
        let rows = client
            .query(&statement, &[&limit, &i64::from(limit)])
            .await?;
        rows.iter().map(entry).collect()
    }

    /// Takes what has been sent off the queue; `false`, and nothing is done, when `leader` is not the one that sends any
    /// more.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_done(
        &self,
        leader: Uuid,
        progress: &FeedProgress,
    ) -> Result<bool, StoreError> {
        let mut client = self.client().await?;
        let txn = client.transaction().await?;
        let leading = txn.prepare_cached(STILL_LEADING).await?;
        if txn.execute(&leading, &[&leader]).await? == 0 {
            return Ok(false);
        }
        if !progress.done.is_empty() {
            let delete = txn.prepare_cached(DELETE).await?;
            txn.execute(&delete, &[&progress.done]).await?;
        }
        if let Some((id, count)) = progress.partly {
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            let shorten = txn.prepare_cached(SHORTEN).await?;
            txn.execute(&shorten, &[&id, &count]).await?;
        }
        txn.commit().await?;
        Ok(true)
    }

    /// Forgets the feed if nobody has wanted it for `age`; says how many entries went with it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn feed_forget(&self, age: Duration) -> Result<Option<u64>, StoreError> {
        let mut client = self.client().await?;
        let txn = client.transaction().await?;
        if txn.execute(UNWANT, &[&age.as_secs_f64()]).await? == 0 {
            return Ok(None);
        }
        let dropped = txn.execute("delete from feed_queue", &[]).await?;
        txn.commit().await?;
        Ok(Some(dropped))
    }
}

fn entry(row: &tokio_postgres::Row) -> Result<FeedEntry, StoreError> {
    let kind: &str = column(row, "kind")?;
    let queued = match kind {
        "statements" => Queued::Statements {
            ids: column::<Option<_>>(row, "statements")?.unwrap_or_default(),
            count: usize::try_from(column::<i32>(row, "statement_count")?).unwrap_or_default(),
        },
        "session_started" => Queued::SessionStarted(column(row, "connection_id")?),
        "session_ended" => Queued::SessionEnded(column(row, "connection_id")?),
        "audit_event" => Queued::AuditEvent(column(row, "audit_event_id")?),
        other => {
            return Err(StoreError::Malformed {
                column: "kind",
                reason: format!("{other} is not known here"),
            });
        }
    };
    Ok(FeedEntry {
        id: column(row, "id")?,
        uid: column(row, "uid")?,
        queued_at: column(row, "queued_at")?,
        queued,
    })
}

#[cfg(test)]
mod tests {
    use pglens_testkit::TestPostgres;

    use super::*;
    use crate::storage::{Dsn, migrate};

    #[tokio::test]
    async fn no_more_entries_are_read_than_it_takes() {
        let database = TestPostgres::shared().await.create_database().await;
        let dsn = Dsn::parse(&database.url).unwrap();
        let storage = Storage::connect(dsn, 1).await.unwrap();
        migrate::migrate(&storage).await.unwrap();
        let filled = "insert into feed_queue (kind, statements) \
             select 'statements', array(select gen_random_uuid() from generate_series(1, count)) \
             from unnest(array[3, 600, 1]) with ordinality e (count, place) order by place; \
             insert into feed_queue (kind, audit_event_id) values ('audit_event', 1), ('audit_event', 2)";
        let client = storage.client().await.unwrap();
        client.batch_execute(filled).await.unwrap();
        drop(client);
        for (limit, expected) in [
            (1, 1),
            (3, 1),
            (4, 2),
            (603, 2),
            (604, 3),
            (605, 4),
            (606, 5),
        ] {
            let entries = storage.feed_read(limit).await.unwrap();
            assert_eq!(entries.len(), expected, "for {limit} records");
        }
    }
}
