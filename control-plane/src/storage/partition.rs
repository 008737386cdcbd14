//! Day partitions of the record, with the keys of their days.

use chrono::{Days, NaiveDate, Utc};
use uuid::Uuid;

use super::manager::UsedClient;
use super::query::first_id;
use super::{Storage, StoreError, column};
use crate::crypto::sealed_value::KeyPurpose;

/// Partitioned by the time in a statement's id.
const TABLES: [(&str, KeyPurpose); 2] = [
    ("queries", KeyPurpose::Statements),
    ("query_rows", KeyPurpose::Rows),
];

/// Any number that nobody else locks: "partit" in ASCII.
const LOCK: i64 = 0x7061_7274_6974;

/// Making and dropping a partition holds up everybody, so it gives way to whoever reads for long; the next round tries
/// again.
const DDL_LOCK_TIMEOUT: &str = "set lock_timeout = '2s'";
const USUAL_LOCK_TIMEOUT: &str = "set lock_timeout = '10s'";

const EXISTING: &str = "select c.relname as name, pg_total_relation_size(c.oid) as bytes \
     from pg_inherits i join pg_class c on c.oid = i.inhrelid \
     where i.inhparent = $1::text::regclass order by c.relname";

const NOTE_KEPT_FROM: &str = "update retention set \
       statements_kept_from = greatest(statements_kept_from, $1), rows_kept_from = greatest(rows_kept_from, $2)";

/// The first days that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptFrom {
    /// Of statements.
    pub statements: NaiveDate,
    /// Of rows; not before those of statements.
    pub rows: NaiveDate,
}

impl KeptFrom {
    /// Statements and rows alike.
    #[must_use]
    pub fn all(day: NaiveDate) -> Self {
        Self {
            statements: day,
            rows: day,
        }
    }

    fn of(self, purpose: KeyPurpose) -> NaiveDate {
        match purpose {
            KeyPurpose::Statements => self.statements,
            KeyPurpose::Rows => self.rows,
        }
    }
}

/// The record of a day that is past its retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDay {
    /// Statements, or rows.
    pub purpose: KeyPurpose,
    /// The day.
    pub day: NaiveDate,
    /// Its table.
    pub table: String,
    /// The room it takes, indexes included.
    pub bytes: i64,
}

/// What a round of keeping partitions did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PartitionsKept {
    /// Names of tables made.
    pub created: Vec<String>,
    /// Days dropped with their keys.
    pub dropped: Vec<PastDay>,
    /// Tables that could not be made or dropped, and why. The default partition takes what belongs there.
    pub failed: Vec<String>,
}

impl Storage {
    /// Makes the partitions of the days from `first` to `last`, and drops those before `kept_from` with their keys.
    /// `None`: somebody else is at it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn partition_keep(
        &self,
        first: NaiveDate,
        last: NaiveDate,
        kept_from: KeptFrom,
    ) -> Result<Option<PartitionsKept>, StoreError> {
        let client = self.client().await?;
        let locked = client
            .query_one("select pg_try_advisory_lock($1) as locked", &[&LOCK])
            .await?;
        if !column::<bool>(&locked, "locked")? {
            return Ok(None);
        }
        let kept = keep(&client, first, last, kept_from).await;
        // The lock and the setting are the connection's, which goes back to the pool.
        client.batch_execute(USUAL_LOCK_TIMEOUT).await?;
        client
            .execute("select pg_advisory_unlock($1)", &[&LOCK])
            .await?;
        kept.map(Some)
    }

    /// What [`Storage::partition_keep`] would drop.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn partition_past(&self, kept_from: KeptFrom) -> Result<Vec<PastDay>, StoreError> {
        let client = self.client().await?;
        let mut past = Vec::new();
        for (table, purpose) in TABLES {
            let existing = existing(&client, table).await?;
            past.extend(past_days(table, purpose, &existing, kept_from));
        }
        Ok(past)
    }
}

async fn keep(
    client: &UsedClient,
    first: NaiveDate,
    last: NaiveDate,
    kept_from: KeptFrom,
) -> Result<PartitionsKept, StoreError> {
    client.batch_execute(DDL_LOCK_TIMEOUT).await?;
    // Before anything goes: who reads meanwhile is told that it is no longer kept, and not that it is missing.
    client
        .execute(NOTE_KEPT_FROM, &[&kept_from.statements, &kept_from.rows])
        .await?;
    let mut kept = PartitionsKept::default();
    for (table, purpose) in TABLES {
        let existing = existing(client, table).await?;
        let days = first.iter_days().take_while(|day| *day <= last);
        for (day, name) in days.map(|day| (day, partition_name(table, day))) {
            if !existing.iter().any(|(existing, _)| *existing == name) {
                create(client, table, (day, name), &mut kept).await?;
            }
        }
        for past in past_days(table, purpose, &existing, kept_from) {
            drop_day(client, past, &mut kept).await?;
        }
    }
    forget_before(client, kept_from).await?;
    Ok(kept)
}

/// The partitions of a table with their sizes.
async fn existing(client: &UsedClient, table: &str) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = client.query(EXISTING, &[&table]).await?;
    rows.iter()
        .map(|row| Ok((column(row, "name")?, column(row, "bytes")?)))
        .collect()
}

fn past_days(
    table: &str,
    purpose: KeyPurpose,
    existing: &[(String, i64)],
    kept_from: KeptFrom,
) -> Vec<PastDay> {
    let past = existing.iter().filter_map(|(name, bytes)| {
        let day = day_of_partition(table, name)?;
        (day < kept_from.of(purpose)).then(|| PastDay {
            purpose,
            day,
            table: name.clone(),
            bytes: *bytes,
        })
    });
    past.collect()
}

async fn create(
    client: &UsedClient,
    table: &str,
    (day, name): (NaiveDate, String),
    kept: &mut PartitionsKept,
) -> Result<(), StoreError> {
    let Some((from, to)) = id_range(day) else {
        return Ok(());
    };
    let text =
        format!("create table {name} partition of {table} for values from ('{from}') to ('{to}')");
    match client.batch_execute(&text).await.map_err(StoreError::from) {
        Ok(()) => kept.created.push(name),
        // Rows of the day are in the default partition already, where they stay.
        Err(error) if !error.is_unavailable() => kept.failed.push(format!("{name}: {error}")),
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn drop_day(
    client: &UsedClient,
    past: PastDay,
    kept: &mut PartitionsKept,
) -> Result<(), StoreError> {
    match client
        .batch_execute(&format!("drop table {}", past.table))
        .await
        .map_err(StoreError::from)
    {
        Ok(()) => kept.dropped.push(past),
        Err(error) if !error.is_unavailable() => {
            kept.failed.push(format!("{}: {error}", past.table));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Keys of days that are over, and what was sealed with them outside the days' partitions.
async fn forget_before(client: &UsedClient, kept_from: KeptFrom) -> Result<(), StoreError> {
    for (text, purpose) in [
        (
            "delete from data_keys where purpose = 'statements' and day < $1",
            KeyPurpose::Statements,
        ),
        (
            "delete from data_keys where purpose = 'rows' and day < $1",
            KeyPurpose::Rows,
        ),
        (
            "delete from queries_default where key_day < $1",
            KeyPurpose::Statements,
        ),
        (
            "delete from query_rows_default where key_day < $1",
            KeyPurpose::Rows,
        ),
        // Nothing is left there for long, but by a run of which nobody ever heard again.
        (
            "delete from record_journal where key_day < $1",
            KeyPurpose::Rows,
        ),
    ] {
        client.execute(text, &[&kept_from.of(purpose)]).await?;
    }
    Ok(())
}

/// The name of a day's partition, for example "queries_20260131".
fn partition_name(table: &str, day: NaiveDate) -> String {
    format!("{table}_{}", day.format("%Y%m%d"))
}

pub(super) fn day_of_partition(table: &str, name: &str) -> Option<NaiveDate> {
    let digits = name.strip_prefix(table)?.strip_prefix('_')?;
    NaiveDate::parse_from_str(digits, "%Y%m%d").ok()
}

/// The ids of a day: from the first, to the first of the day behind.
pub(super) fn id_range(day: NaiveDate) -> Option<(Uuid, Uuid)> {
    let start = |day: NaiveDate| first_id(day.and_hms_opt(0, 0, 0)?.and_utc());
    Some((start(day)?, start(day.checked_add_days(Days::new(1))?)?))
}

/// The UTC day in a statement's id, if it is one that the record may be filed under: not before `earliest`, and not
/// later than tomorrow. Anything else is a clock that is far off.
#[must_use]
pub fn day_of_id(id: Uuid, earliest: NaiveDate, today: NaiveDate) -> Option<NaiveDate> {
    let tomorrow = today.checked_add_days(Days::new(1))?;
    day_in_id(id).filter(|day| (earliest..=tomorrow).contains(day))
}

/// The UTC day in an id, whatever it is.
pub(super) fn day_in_id(id: Uuid) -> Option<NaiveDate> {
    let unix_ms = i64::try_from(id.as_u128() >> 80).ok()?;
    Some(chrono::DateTime::<Utc>::from_timestamp_millis(unix_ms)?.date_naive())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn names_lead_back_to_their_day() {
        let name = partition_name("queries", day("2026-01-31"));
        assert_eq!(name, "queries_20260131");
        assert_eq!(day_of_partition("queries", &name), Some(day("2026-01-31")));
        assert_eq!(day_of_partition("queries", "queries_default"), None);
        assert_eq!(day_of_partition("query_rows", &name), None);
    }

    #[test]
    fn ranges_of_days_meet() {
        let (_, end) = id_range(day("2026-02-28")).unwrap();
        let (start, _) = id_range(day("2026-03-01")).unwrap();
        assert_eq!(end, start);
    }

    #[test]
    fn the_day_of_an_id_is_the_day_it_was_made() {
        let today = Utc::now().date_naive();
        let earliest = today - Days::new(90);
        assert_eq!(day_of_id(Uuid::now_v7(), earliest, today), Some(today));
        assert_eq!(day_of_id(Uuid::nil(), earliest, today), None);
        assert_eq!(day_of_id(Uuid::max(), earliest, today), None);
    }
}
