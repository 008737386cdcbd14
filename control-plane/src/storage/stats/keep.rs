//! Keeps the sums: a batch adds to them, one replica folds them together.

use std::time::Duration;

use chrono::{DateTime, Utc};
use postgres_types::ToSql;
use uuid::Uuid;

use crate::storage::{Storage, StoreError, Transaction, column};

/// Any number that nobody else locks: "stats" in ASCII.
const LOCK: i64 = 0x73_7461_7473;

const ADD: &str = "insert into stats_deltas (minute, user_id, database_id, fingerprint, example, statements, errors, \
       refusals, rows, bytes_in, bytes_out, duration_us) \
     select * from unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::bigint[], \
       $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])";

/// The columns that are summed.
macro_rules! summed {
    () => {
        "statements, errors, refusals, rows, bytes_in, bytes_out, duration_us"
    };
}

/// Adds what is `gone` to sums by user and database.
macro_rules! fold {
    ($table:literal, $unit:literal) => {
        concat!(
            "insert into ",
            $table,
            " as t (",
            $unit,
            ", user_id, database_id, ",
            summed!(),
            ") \
               select date_trunc('",
            $unit,
            "', minute, 'UTC'), user_id, database_id, ",
            sums!(),
            " \
               from gone group by 1, 2, 3 on conflict (",
            $unit,
            ", user_id, database_id) do update set ",
            added!()
        )
    };
}

/// Adds what is `gone` to sums by fingerprint and database.
macro_rules! fold_fingerprints {
    ($table:literal, $unit:literal) => {
        concat!(
            "insert into ",
            $table,
            " as t (",
            $unit,
            ", fingerprint, database_id, example, ",
            summed!(),
            ") \
               select date_trunc('",
            $unit,
            "', minute, 'UTC'), fingerprint, database_id, \
                 (array_agg(example) filter (where example is not null))[1], ",
            sums!(),
            " \
               from gone where fingerprint <> '' group by 1, 2, 3 \
               on conflict (",
            $unit,
            ", fingerprint, database_id) do update set \
                 example = coalesce(t.example, excluded.example), ",
            added!()
        )
    };
}

macro_rules! sums {
    () => {
        "sum(statements), sum(errors), sum(refusals), sum(rows), sum(bytes_in), sum(bytes_out), sum(duration_us)"
    };
}

macro_rules! added {
    () => {
        "statements = t.statements + excluded.statements, errors = t.errors + excluded.errors, \
         refusals = t.refusals + excluded.refusals, rows = t.rows + excluded.rows, \
         bytes_in = t.bytes_in + excluded.bytes_in, bytes_out = t.bytes_out + excluded.bytes_out, \
         duration_us = t.duration_us + excluded.duration_us"
    };
}

/// What is deleted is what is added, and other transactions see both or neither.
const FOLD: &str = concat!(
    "with gone as (delete from stats_deltas returning *), minutes as (",
    fold!("stats_minutes", "minute"),
    "), hours as (",
    fold!("stats_hours", "hour"),
    "), fingerprint_days as (",
    fold_fingerprints!("stats_fingerprint_days", "day"),
    ") ",
    fold_fingerprints!("stats_fingerprints", "hour")
);

/// Drops sums of times that are past. A day goes when all of it is.
const DROP: [&str; 4] = [
    "delete from stats_minutes where minute < now() - $1::float8 * interval '1 second'",
    "delete from stats_hours where hour < now() - $1::float8 * interval '1 second'",
    "delete from stats_fingerprints where hour < now() - $1::float8 * interval '1 second'",
    "delete from stats_fingerprint_days where day < now() - interval '1 day' - $1::float8 * interval '1 second'",
];

/// What a batch adds to the sums of a minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// When the statements began.
    pub minute: DateTime<Utc>,
    /// Whose they are.
    pub user_id: i64,
    /// Where they ran.
    pub database_id: i64,
    /// Equal for statements that differ in constants only; empty: not kept apart.
    pub fingerprint: String,
    /// One of them.
    pub example: Uuid,
    /// How many began.
    pub statements: i64,
    /// How many the target ended with an error.
    pub errors: i64,
    /// How many were refused.
    pub refusals: i64,
    /// Rows they gave.
    pub rows: i64,
    /// Payload from clients.
    pub bytes_in: i64,
    /// Payload to clients.
    pub bytes_out: i64,
    /// How long they took together.
    pub duration_us: i64,
}

impl Delta {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.statements += other.statements;
        self.errors += other.errors;
        self.refusals += other.refusals;
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.duration_us = self.duration_us.saturating_add(other.duration_us);
    }
}

/// Adds a batch's sums.
///
/// # Errors
/// When the database cannot be reached.
pub async fn add_in_txn(txn: &Transaction<'_>, deltas: &[Delta]) -> Result<(), StoreError> {
    fn all<'a, T>(deltas: &'a [Delta], value: impl Fn(&'a Delta) -> T) -> Vec<T> {
        deltas.iter().map(value).collect()
    }
    if deltas.is_empty() {
        return Ok(());
    }
    let statement = txn.prepare_cached(ADD).await?;
    let parameters: [&(dyn ToSql + Sync); 12] = [
        &all(deltas, |delta| delta.minute),
        &all(deltas, |delta| delta.user_id),
        &all(deltas, |delta| delta.database_id),
        &all(deltas, |delta| delta.fingerprint.as_str()),
        &all(deltas, |delta| delta.example),
        &all(deltas, |delta| delta.statements),
        &all(deltas, |delta| delta.errors),
        &all(deltas, |delta| delta.refusals),
        &all(deltas, |delta| delta.rows),
        &all(deltas, |delta| delta.bytes_in),
        &all(deltas, |delta| delta.bytes_out),
        &all(deltas, |delta| delta.duration_us),
    ];
    txn.execute(&statement, &parameters).await?;
    Ok(())
}

impl Storage {
    /// Folds together what batches have added, and drops sums older than `kept_for`. `false`: another replica is at it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn stats_fold(&self, kept_for: Duration) -> Result<bool, StoreError> {
        let mut client = self.client().await?;
        let txn = client.transaction().await?;
        let locked = txn
            .query_one("select pg_try_advisory_xact_lock($1) as locked", &[&LOCK])
            .await?;
        if !column::<bool>(&locked, "locked")? {
            return Ok(false);
        }
        txn.execute(FOLD, &[]).await?;
        for text in DROP {
            txn.execute(text, &[&kept_for.as_secs_f64()]).await?;
        }
        txn.commit().await?;
        Ok(true)
    }
}
