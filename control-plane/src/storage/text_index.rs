//! Indexes on the texts of days that are over, and of hours of the day at hand, for searches.
//!
//! An index of trigrams costs a statement more than all else that is stored of it. Of a time that is over it is built once,
//! in one go, while nobody waits; statements that come late find it there. Hours have theirs until their day has its own.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use pglens_runtime::Chain;
use tokio_postgres::{Client, Row};

use super::manager::UsedClient;
use super::partition::day_of_partition;
use super::text_span::TextSpan;
use super::{Storage, StoreError, column};

/// Partitioned by day.
const TABLE: &str = "queries";

/// Any number that nobody else locks: "trgm" in ASCII.
const LOCK: i64 = 0x7472_676d;

/// A day and an hour are taken for over so long after their end: most of what proxies send late is there by then.
const LATE: TimeDelta = TimeDelta::minutes(5);

/// To build an index takes as long as it takes, and waits for transactions that began before.
const SETTINGS: &str = "set statement_timeout = 0; set lock_timeout = 0; set timezone = 'UTC'";

const EXTENSION_SCHEMA: &str = "select quote_ident(n.nspname) as schema from pg_extension e \
     join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm'";

/// Partitions with their text indexes, and whether each of those is whole, or left half-made by a build that was broken
/// off.
const PARTITIONS: &str = "select c.relname as name, xc.relname as index, x.indisvalid as whole from pg_inherits i \
     join pg_class c on c.oid = i.inhrelid \
     left join (pg_index x join pg_class xc on xc.oid = x.indexrelid) \
       on x.indrelid = c.oid and starts_with(xc.relname::text, c.relname || '_text') \
     where i.inhparent = 'queries'::regclass";

/// What came of building the indexes that were missing.
#[derive(Debug, PartialEq, Eq)]
pub enum TextIndexes {
    /// Of these days and hours; of none, if all were there.
    Built(Vec<TextSpan>),
    /// Somebody else is at it.
    Busy,
    /// This server, or this role, cannot have them.
    Unavailable {
        /// In the server's words.
        reason: String,
    },
}

/// The partition of a day.
struct Partition {
    name: String,
    /// Its text indexes, and whether they are whole.
    indexes: BTreeMap<TextSpan, bool>,
}

impl Storage {
    /// Builds the text indexes of what is over at `now`, the last first. Takes half a minute for a million statements, and
    /// a connection of its own; to stop it is safe at any time.
    ///
    /// # Errors
    /// When the database cannot be reached; when an index cannot be built, after the others were.
    pub async fn text_index_build(&self, now: DateTime<Utc>) -> Result<TextIndexes, StoreError> {
        let (client, connection) = self.connect_apart().await?;
        // It ends with the client, and the lock with it.
        let driver = tokio::spawn(connection);
        let built = build_missing(&client, now).await;
        drop(client);
        let _ = driver.await; // how it ended is in `built`
        built
    }
}

async fn build_missing(client: &Client, now: DateTime<Utc>) -> Result<TextIndexes, StoreError> {
    client.batch_execute(SETTINGS).await?;
    let locked = client
        .query_one("select pg_try_advisory_lock($1) as locked", &[&LOCK])
        .await?;
    if !column::<bool>(&locked, "locked")? {
        return Ok(TextIndexes::Busy);
    }
    let schema = match extension_schema(client).await? {
        Ok(schema) => schema,
        Err(reason) => return Ok(TextIndexes::Unavailable { reason }),
    };
    let over_at = now.checked_sub_signed(LATE).unwrap_or(now);
    let (mut built, mut failed) = (Vec::new(), None);
    let partitions = partitions(&client.query(PARTITIONS, &[]).await?)?;
    for (day, partition) in partitions.into_iter().rev() {
        let spans = TextSpan::over(day, over_at);
        match build_partition(client, &schema, partition, &spans, &mut built).await {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => return Err(error),
            // A day whose index is refused is no reason to go without those of the days before it.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(TextIndexes::Built(built)),
    }
}

/// Builds the indexes of `spans` that a partition lacks, and drops those of hours once there is that of the day.
async fn build_partition(
    client: &Client,
    schema: &str,
    partition: Partition,
    spans: &[TextSpan],
    built: &mut Vec<TextSpan>,
) -> Result<(), StoreError> {
    let Partition { name, mut indexes } = partition;
    for span in spans {
        match indexes.get(span) {
            Some(true) => continue,
            Some(false) => drop_index(client, &name, *span).await?,
            None => {}
        }
        build(client, schema, &name, *span).await?;
        indexes.insert(*span, true);
        built.push(*span);
    }
    if has_day(&indexes) {
        for hour in indexes.into_keys().filter(|span| !span.is_day()) {
            drop_index(client, &name, hour).await?;
        }
    }
    Ok(())
}

async fn build(
    client: &Client,
    schema: &str,
    partition: &str,
    span: TextSpan,
) -> Result<(), StoreError> {
    let name = span.index_name(partition);
    let text = format!(
        "create index concurrently {name} on {partition} using gin (sql {schema}.gin_trgm_ops)"
    );
    let Some((first, behind)) = span.ids().filter(|_| !span.is_day()) else {
        return Ok(client.batch_execute(&text).await?);
    };
    let text = format!("{text} where id >= '{first}' and id < '{behind}'");
    client.batch_execute(&text).await?;
    // The planner would take what came since the last time for next to nothing, and read all of it.
    let text = format!("analyze {partition}");
    Ok(client.batch_execute(&text).await?)
}

async fn drop_index(client: &Client, partition: &str, span: TextSpan) -> Result<(), StoreError> {
    let name = span.index_name(partition);
    let text = format!("drop index concurrently {name}");
    Ok(client.batch_execute(&text).await?)
}

fn partitions(rows: &[Row]) -> Result<BTreeMap<NaiveDate, Partition>, StoreError> {
    let mut partitions = BTreeMap::new();
    for row in rows {
        let name: &str = column(row, "name")?;
        let Some(day) = day_of_partition(TABLE, name) else {
            continue;
        };
        let partition = partitions.entry(day).or_insert_with(|| Partition {
            name: name.to_owned(),
            indexes: BTreeMap::new(),
        });
        let index = column::<Option<&str>>(row, "index")?;
        if let Some(span) = index.and_then(|index| TextSpan::of_index(day, name, index)) {
            let is_whole = column::<Option<bool>>(row, "whole")? == Some(true);
            partition.indexes.insert(span, is_whole);
        }
    }
    Ok(partitions)
}

/// Whether the index of the day, of which `indexes` are, is there and whole.
fn has_day(indexes: &BTreeMap<TextSpan, bool>) -> bool {
    indexes
        .iter()
        .any(|(span, is_whole)| span.is_day() && *is_whole)
}

/// Where the extension is, which is added if it is not there; or why it cannot be.
async fn extension_schema(client: &Client) -> Result<Result<String, String>, StoreError> {
    if let Some(row) = client.query_opt(EXTENSION_SCHEMA, &[]).await? {
        return Ok(Ok(column(&row, "schema")?));
    }
    let added = client.batch_execute("create extension pg_trgm").await;
    match added.map_err(StoreError::from) {
        Ok(()) => {
            let row = client.query_one(EXTENSION_SCHEMA, &[]).await?;
            Ok(Ok(column(&row, "schema")?))
        }
        Err(error) if error.is_unavailable() => Err(error),
        Err(error) => Ok(Err(Chain(&error).to_string())),
    }
}

/// What is indexed: days, and hours of days without an index of their own.
pub(super) async fn indexed_spans(client: &UsedClient) -> Result<Vec<TextSpan>, StoreError> {
    let statement = client.prepare_cached(PARTITIONS).await?;
    let partitions = partitions(&client.query(&statement, &[]).await?)?;
    let mut spans = Vec::new();
    for Partition { indexes, .. } in partitions.into_values() {
        let has_day = has_day(&indexes);
        let whole = indexes.into_iter().filter(|(_, is_whole)| *is_whole);
        spans.extend(
            whole
                .map(|(span, _)| span)
                .filter(|span| span.is_day() == has_day),
        );
    }
    Ok(spans)
}

/// Whether an index of trigrams narrows a search for `text`: three letters or digits in a row make one, and so do two at
/// the beginning or the end of a word. Others than those of ASCII are letters in some databases only.
pub(super) fn can_search(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric();
    let ends_word = |byte: u8| byte.is_ascii() && !is_letter(byte);
    text.as_bytes().windows(3).any(|three| match *three {
        [one, two, three] => {
            is_letter(two)
                && (is_letter(one) || ends_word(one))
                && (is_letter(three) || ends_word(three))
                && (is_letter(one) || is_letter(three))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_letters_in_a_row_and_two_at_a_words_end_can_be_searched_for() {
        for text in ["abc", "x = 100", "T_77 ", "'%day%'", "=10", "id,", "ä in"] {
            assert!(can_search(text), "{text}");
        }
        for text in ["", "ab", "a_b c", "äöü", "éab", "a = b", " "] {
            assert!(!can_search(text), "{text}");
        }
    }
}
