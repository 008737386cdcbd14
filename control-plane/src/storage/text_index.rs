//! Indexes on the texts of days that are over, for searches.
//!
//! An index of trigrams costs a statement more than all else that is stored of it. Of a day that is over it is built once,
//! in one go, while nobody waits; statements that come late find it there. The day at hand is walked.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use pglens_runtime::Chain;
use tokio_postgres::Client;

use super::manager::UsedClient;
use super::partition::day_of_partition;
use super::{Storage, StoreError, column};

/// Partitioned by day.
const TABLE: &str = "queries";

/// Any number that nobody else locks: "trgm" in ASCII.
const LOCK: i64 = 0x7472_676d;

/// To build an index takes as long as it takes, and waits for transactions that began before.
const SETTINGS: &str = "set statement_timeout = 0; set lock_timeout = 0; set timezone = 'UTC'";

const EXTENSION_SCHEMA: &str = "select quote_ident(n.nspname) as schema from pg_extension e \
     join pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_trgm'";

/// Partitions with the name that their index has, and whether it is there: whole, or left half-made by a build that
/// was broken off.
const PARTITIONS: &str = "select c.relname as name, x.indisvalid as whole from pg_inherits i \
     join pg_class c on c.oid = i.inhrelid \
     left join (pg_index x join pg_class xc on xc.oid = x.indexrelid) \
       on x.indrelid = c.oid and xc.relname = c.relname || '_text' \
     where i.inhparent = 'queries'::regclass order by c.relname desc";

/// What came of building the indexes that were missing.
#[derive(Debug, PartialEq, Eq)]
pub enum TextIndexes {
    /// Of these days; of none, if all were there.
    Built(Vec<NaiveDate>),
    /// Somebody else is at it.
    Busy,
    /// This server, or this role, cannot have them.
    Unavailable {
        /// In the server's words.
        reason: String,
    },
}

impl Storage {
    /// Builds the text indexes of the days before `today`, the last day first. Takes half a minute for a million
    /// statements, and a connection of its own; to stop it is safe at any time.
    ///
    /// # Errors
    /// When the database cannot be reached; when a day's index cannot be built, after those of the other days were.
    pub async fn text_index_build(&self, today: NaiveDate) -> Result<TextIndexes, StoreError> {
        let (client, connection) = self.connect_apart().await?;
        // It ends with the client, and the lock with it.
        let driver = tokio::spawn(connection);
        let built = build_missing(&client, today).await;
        drop(client);
        let _ = driver.await; // how it ended is in `built`
        built
    }
}

async fn build_missing(client: &Client, today: NaiveDate) -> Result<TextIndexes, StoreError> {
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
    let (mut built, mut failed) = (Vec::new(), None);
    for row in client.query(PARTITIONS, &[]).await? {
        let name: &str = column(&row, "name")?;
        let Some(day) = day_of_partition(TABLE, name).filter(|day| *day < today) else {
            continue;
        };
        let is_left = match column::<Option<bool>>(&row, "whole")? {
            Some(true) => continue,
            Some(false) => true,
            None => false,
        };
        match build(client, &schema, name, is_left).await {
            Ok(()) => built.push(day),
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

/// Builds the index of one partition; `is_left` says that half of one is there.
async fn build(
    client: &Client,
    schema: &str,
    partition: &str,
    is_left: bool,
) -> Result<(), StoreError> {
    if is_left {
        let text = format!("drop index concurrently {partition}_text");
        client.batch_execute(&text).await?;
    }
    let text = format!(
        "create index concurrently {partition}_text on {partition} using gin (sql {schema}.gin_trgm_ops)"
    );
    Ok(client.batch_execute(&text).await?)
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

/// The days whose texts are indexed.
pub(super) async fn indexed_days(client: &UsedClient) -> Result<BTreeSet<NaiveDate>, StoreError> {
    let statement = client.prepare_cached(PARTITIONS).await?;
    let mut days = BTreeSet::new();
    for row in client.query(&statement, &[]).await? {
        if column::<Option<bool>>(&row, "whole")? == Some(true) {
            days.extend(day_of_partition(TABLE, column(&row, "name")?));
        }
    }
    Ok(days)
}

/// Whether an index of trigrams narrows a search for `text`: three letters or digits in a row make one. Others than
/// those of ASCII are letters in some databases only.
pub(super) fn can_search(text: &str) -> bool {
    let mut words = text.split(|character: char| !character.is_ascii_alphanumeric());
    words.any(|word| word.len() >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_letters_in_a_row_can_be_searched_for() {
        for text in ["abc", "x = 100", "T_77 where", "'%day%'"] {
            assert!(can_search(text), "{text}");
        }
        for text in ["", "ab", "a_b c", "äöü", "a1 = b2"] {
            assert!(!can_search(text), "{text}");
        }
    }
}
