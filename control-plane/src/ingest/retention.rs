//! Keeps the days' partitions: some ahead of time, none past the retention.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, NaiveDate, Utc};
use pglens_runtime::Chain;
use serde_json::json;

use crate::app::App;
use crate::service::audit::{Action, Actor, AuditEntry};
use crate::storage::StoreError;
use crate::storage::partition::PartitionsKept;

const INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Records of yesterday still come in, from sessions around midnight and clocks that are behind.
const DAYS_BEHIND: u64 = 1;
/// Long enough for somebody to notice that none are made any more.
const DAYS_AHEAD: u64 = 7;

/// Makes and drops partitions once. To be called before records are taken in.
///
/// # Errors
/// When storage is not available.
pub async fn keep_once(app: &App) -> Result<(), StoreError> {
    let today = Utc::now().date_naive();
    let (first, last, keep_from) = days(today, app.session_defaults.retention_days);
    let Some(kept) = app.storage.partition_keep(first, last, keep_from).await? else {
        return Ok(()); // another replica is at it
    };
    report(&kept);
    if !kept.dropped.is_empty() {
        app.storage.audit_insert(&event(&kept)).await?;
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
        if let Err(error) = keep_once(&app).await {
            tracing::warn!(error = %Chain(&error), "partitions not kept");
        }
    }
}

/// The first and the last day that need a partition, and the first day that is kept.
fn days(today: NaiveDate, retention_days: u32) -> (NaiveDate, NaiveDate, NaiveDate) {
    let first = today
        .checked_sub_days(Days::new(DAYS_BEHIND))
        .unwrap_or(today);
    let last = today
        .checked_add_days(Days::new(DAYS_AHEAD))
        .unwrap_or(today);
    let keep_from = today
        .checked_sub_days(Days::new(retention_days.into()))
        .unwrap_or(NaiveDate::MIN);
    (first, last, keep_from)
}

fn event(kept: &PartitionsKept) -> AuditEntry {
    AuditEntry::of(Actor::System, Action::RecordsDropped, "record", "days")
        .after(json!({ "days": kept.dropped }))
}

fn report(kept: &PartitionsKept) {
    if !kept.created.is_empty() {
        tracing::info!(partitions = ?kept.created, "partitions created");
    }
    if !kept.dropped.is_empty() {
        tracing::info!(days = ?kept.dropped, "records past their retention dropped with their keys");
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
        let (first, last, keep_from) = days("2026-03-10".parse().unwrap(), 9);
        assert_eq!(first.to_string(), "2026-03-09");
        assert_eq!(last.to_string(), "2026-03-17");
        assert_eq!(keep_from.to_string(), "2026-03-01");
    }
}
