//! Day partitions of the record, with the keys of their days.

use chrono::{Days, NaiveDate, Utc};
use uuid::Uuid;

use super::query::first_id;
use super::{Storage, StoreError, column};

/// Partitioned by the time in a statement's id.
const TABLES: [&str; 2] = ["queries", "query_rows"];

/// Any number that nobody else locks: "partit" in ASCII.
const LOCK: i64 = 0x7061_7274_6974;

const EXISTING: &str = "select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid \
     where i.inhparent = $1::text::regclass";

/// What a round of keeping partitions did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PartitionsKept {
    /// Names of tables made.
    pub created: Vec<String>,
    /// Days dropped with their keys.
    pub dropped: Vec<NaiveDate>,
    /// Tables that could not be made or dropped, and why. The default partition takes what belongs there.
    pub failed: Vec<String>,
}

impl Storage {
    /// Makes the partitions of the days from `first` to `last`, and drops those before `keep_from` with their keys.
    /// `None`: another replica is at it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn partition_keep(
        &self,
        first: NaiveDate,
        last: NaiveDate,
        keep_from: NaiveDate,
    ) -> Result<Option<PartitionsKept>, StoreError> {
        let client = self.client().await?;
        let locked = client
            .query_one("select pg_try_advisory_lock($1) as locked", &[&LOCK])
            .await?;
        if !column::<bool>(&locked, "locked")? {
            return Ok(None);
        }
        let kept = keep(&client, first, last, keep_from).await;
        // The lock is the connection's, which goes back to the pool.
        client
            .execute("select pg_advisory_unlock($1)", &[&LOCK])
            .await?;
        kept.map(Some)
    }
}

async fn keep(
    client: &deadpool_postgres::Client,
    first: NaiveDate,
    last: NaiveDate,
    keep_from: NaiveDate,
) -> Result<PartitionsKept, StoreError> {
    let mut kept = PartitionsKept::default();
    for table in TABLES {
        let rows = client.query(EXISTING, &[&table]).await?;
        let existing: Vec<String> = rows
            .iter()
            .map(|row| column(row, "name"))
            .collect::<Result<_, _>>()?;
        let days = first.iter_days().take_while(|day| *day <= last);
        for name in days.map(|day| (day, partition_name(table, day))) {
            if !existing.contains(&name.1) {
                create(client, table, name, &mut kept).await?;
            }
        }
        for name in &existing {
            match day_of_partition(table, name) {
                Some(day) if day < keep_from => drop_day(client, name, day, &mut kept).await?,
                _ => {}
            }
        }
    }
    forget_before(client, keep_from).await?;
    Ok(kept)
}

async fn create(
    client: &deadpool_postgres::Client,
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
    client: &deadpool_postgres::Client,
    name: &str,
    day: NaiveDate,
    kept: &mut PartitionsKept,
) -> Result<(), StoreError> {
    match client
        .batch_execute(&format!("drop table {name}"))
        .await
        .map_err(StoreError::from)
    {
        Ok(()) if !kept.dropped.contains(&day) => kept.dropped.push(day),
        Ok(()) => {}
        Err(error) if !error.is_unavailable() => kept.failed.push(format!("{name}: {error}")),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Keys of days that are over, and what was sealed with them outside the days' partitions.
async fn forget_before(
    client: &deadpool_postgres::Client,
    keep_from: NaiveDate,
) -> Result<(), StoreError> {
    for text in [
        "delete from data_keys where day < $1",
        "delete from queries_default where key_day < $1",
        "delete from query_rows_default where key_day < $1",
    ] {
        client.execute(text, &[&keep_from]).await?;
    }
    Ok(())
}

/// The name of a day's partition, for example "queries_20260131".
fn partition_name(table: &str, day: NaiveDate) -> String {
    format!("{table}_{}", day.format("%Y%m%d"))
}

fn day_of_partition(table: &str, name: &str) -> Option<NaiveDate> {
    let digits = name.strip_prefix(table)?.strip_prefix('_')?;
    NaiveDate::parse_from_str(digits, "%Y%m%d").ok()
}

/// The ids of a day: from the first, to the first of the day behind.
fn id_range(day: NaiveDate) -> Option<(Uuid, Uuid)> {
    let start = |day: NaiveDate| first_id(day.and_hms_opt(0, 0, 0)?.and_utc());
    Some((start(day)?, start(day.checked_add_days(Days::new(1))?)?))
}

/// The UTC day in a statement's id, if it is one that the record may be filed under: not before `earliest`, and not
/// later than tomorrow. Anything else is a clock that is far off.
#[must_use]
pub fn day_of_id(id: Uuid, earliest: NaiveDate, today: NaiveDate) -> Option<NaiveDate> {
    let unix_ms = i64::try_from(id.as_u128() >> 80).ok()?;
    let day = chrono::DateTime::<Utc>::from_timestamp_millis(unix_ms)?.date_naive();
    let tomorrow = today.checked_add_days(Days::new(1))?;
    (earliest..=tomorrow).contains(&day).then_some(day)
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
