//! Keeps the days' partitions: some ahead of time, none past the retention.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, NaiveDate, Utc};
use pglens_runtime::Chain;
use serde_json::json;

use crate::app::App;
use crate::crypto::sealed_value::KeyPurpose;
use crate::service::audit::{Action, Actor, AuditEntry};
use crate::storage::partition::{KeptFrom, PartitionsKept};
use crate::storage::{Storage, StoreError};

const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Records of yesterday still come in, from sessions around midnight and clocks that are behind.
const DAYS_BEHIND: u64 = 1;
/// Long enough for somebody to notice that none are made any more.
const DAYS_AHEAD: u64 = 7;

/// For how long the record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days after which statements are dropped with their parameters.
    pub statements_days: u32,
    /// Days after which captured rows are dropped; at most as many.
    pub rows_days: u32,
}

impl Retention {
    /// The first days that are kept when it is `today`.
    #[must_use]
    pub fn kept_from(self, today: NaiveDate) -> KeptFrom {
        let first = |days: u32| {
            today
                .checked_sub_days(Days::new(days.into()))
                .unwrap_or(NaiveDate::MIN)
        };
        KeptFrom {
            statements: first(self.statements_days),
            rows: first(self.rows_days.min(self.statements_days)),
        }
    }
}

/// Makes and drops partitions once. To be called before records are taken in. `None`: another replica is at it.
///
/// # Errors
/// When storage is not available.
pub async fn keep_once(
    storage: &Storage,
    retention: Retention,
) -> Result<Option<PartitionsKept>, StoreError> {
    let today = Utc::now().date_naive();
    let (first, last) = days(today);
    let kept_from = retention.kept_from(today);
    let Some(kept) = storage.partition_keep(first, last, kept_from).await? else {
        return Ok(None);
    };
    if !kept.dropped.is_empty() {
        storage.audit_insert(&event(&kept)).await?;
    }
    Ok(Some(kept))
}

/// As [`keep_once`], and says in the log what was done.
///
/// # Errors
/// As [`keep_once`].
pub async fn keep_and_report(app: &App) -> Result<(), StoreError> {
    if let Some(kept) = keep_once(&app.storage, app.session_defaults.retention).await? {
        report(&kept);
    }
    Ok(())
}

/// Makes and drops partitions hourly until the process is to end.
pub async fn run(app: Arc<App>) {
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = keep_and_report(&app).await {
            tracing::warn!(error = %Chain(&error), "partitions not kept");
        }
    }
}

/// The first and the last day that need a partition.
fn days(today: NaiveDate) -> (NaiveDate, NaiveDate) {
    let first = today
        .checked_sub_days(Days::new(DAYS_BEHIND))
        .unwrap_or(today);
    let last = today
        .checked_add_days(Days::new(DAYS_AHEAD))
        .unwrap_or(today);
    (first, last)
}

fn dropped_days(kept: &PartitionsKept, purpose: KeyPurpose) -> Vec<NaiveDate> {
    let dropped = kept.dropped.iter().filter(|past| past.purpose == purpose);
    dropped.map(|past| past.day).collect()
}

fn event(kept: &PartitionsKept) -> AuditEntry {
    AuditEntry::of(Actor::System, Action::RecordsDropped, "record", "days").after(json!({
        "statements_of": dropped_days(kept, KeyPurpose::Statements),
        "rows_of": dropped_days(kept, KeyPurpose::Rows),
    }))
}

fn report(kept: &PartitionsKept) {
    if !kept.created.is_empty() {
        tracing::info!(partitions = ?kept.created, "partitions created");
    }
    if !kept.dropped.is_empty() {
        tracing::info!(
            statements_of = ?dropped_days(kept, KeyPurpose::Statements),
            rows_of = ?dropped_days(kept, KeyPurpose::Rows),
            "records past their retention dropped with their keys"
        );
    }
    for failure in &kept.failed {
        tracing::warn!(
            failure,
            "partition not kept, the default partition takes its records"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_kept_for_as_long_as_the_retention_says() {
        let today = "2026-03-10".parse().unwrap();
        let (first, last) = days(today);
        assert_eq!(first.to_string(), "2026-03-09");
        assert_eq!(last.to_string(), "2026-03-17");
        let kept_from = |statements_days, rows_days| {
            let retention = Retention {
                statements_days,
                rows_days,
            };
            let kept_from = retention.kept_from(today);
            (kept_from.statements.to_string(), kept_from.rows.to_string())
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(kept_from(9, 2), pair("2026-03-01", "2026-03-08"));
        assert_eq!(kept_from(2, 9), pair("2026-03-08", "2026-03-08"));
    }
}
