//! Numbers about what runs, for the console's charts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use crate::app::App;
use crate::error::ServiceError;
use crate::fleet::attached_within;
pub use crate::storage::stats::{StatsBucket, StatsNow};

/// The time shown when the caller does not say.
const DEFAULT_RANGE: TimeDelta = TimeDelta::hours(24);
/// The record of a longer time is too much to sum up on request.
const MAX_RANGE: TimeDelta = TimeDelta::days(92);
/// Buckets of the default; a chart shows no more.
const DEFAULT_BUCKETS: i64 = 96;
/// Most buckets of an answer.
const MAX_BUCKETS: i64 = 2000;
/// Shortest bucket.
const MIN_BUCKET_SECONDS: i64 = 1;

/// Which numbers are wanted; absent fields have defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatsQuery {
    /// From then on; by default a day before the end.
    pub from: Option<DateTime<Utc>>,
    /// Until then; by default now.
    pub to: Option<DateTime<Utc>>,
    /// Seconds of a bucket; by default a 96th of the time.
    pub bucket: Option<i64>,
}

/// What ran, in buckets of time, and how things stand.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Stats {
    /// From then on.
    pub from: DateTime<Utc>,
    /// Until then.
    pub to: DateTime<Utc>,
    /// Seconds of a bucket.
    pub bucket: i64,
    /// Buckets in which something ran.
    pub buckets: Vec<StatsBucket>,
    /// How things stand now.
    #[serde(flatten)]
    pub now: StatsNow,
}

/// A time in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    bucket_seconds: i64,
}

/// Sums up what ran.
///
/// # Errors
/// When the caller is no administrator, the time is too long or has too many buckets, or storage is not available.
pub async fn fetch(app: &App, caller: &Caller, query: StatsQuery) -> Result<Stats, ServiceError> {
    caller.require_admin()?;
    let range = range(query, Utc::now())?;
    let bucket = Duration::from_secs(range.bucket_seconds.unsigned_abs());
    let buckets = app
        .storage
        .stats_buckets(range.from, range.to, bucket)
        .await?;
    let now = app.storage.stats_now(attached_within()).await?;
    Ok(Stats {
        from: range.from,
        to: range.to,
        bucket: range.bucket_seconds,
        buckets,
        now,
    })
}

fn range(query: StatsQuery, now: DateTime<Utc>) -> Result<Range, ServiceError> {
    let out_of_range = || ServiceError::invalid("from", "is out of range");
    let to = query.to.unwrap_or(now);
    let from = match query.from {
        Some(from) => from,
        None => to
            .checked_sub_signed(DEFAULT_RANGE)
            .ok_or_else(out_of_range)?,
    };
    let length = to.signed_duration_since(from);
    if length <= TimeDelta::zero() {
        return Err(ServiceError::invalid("from", "must be before to"));
    }
    if length > MAX_RANGE {
        let days = MAX_RANGE.num_days();
        return Err(ServiceError::invalid(
            "from",
            format_args!("must be within {days} days of to"),
        ));
    }
    let seconds = length.num_seconds().max(1);
    let bucket_seconds = query
        .bucket
        .unwrap_or_else(|| (seconds / DEFAULT_BUCKETS).max(MIN_BUCKET_SECONDS));
    let shortest = (seconds / MAX_BUCKETS).max(MIN_BUCKET_SECONDS);
    if !(shortest..=MAX_RANGE.num_seconds()).contains(&bucket_seconds) {
        let reason = format!("must be at least {shortest} seconds for this time");
        return Err(ServiceError::invalid("bucket", reason));
    }
    Ok(Range {
        from,
        to,
        bucket_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_quarters_of_an_hour_is_the_default() {
        let now = Utc::now();
        let range = range(StatsQuery::default(), now).unwrap();
        assert_eq!((range.to, range.from), (now, now - DEFAULT_RANGE));
        assert_eq!(range.bucket_seconds, 900);
    }

    #[test]
    fn what_would_be_too_much_is_refused() {
        let now = Utc::now();
        let check = |days: i64, bucket, field: &str| {
            let from = Some(now - TimeDelta::days(days));
            let query = StatsQuery {
                from,
                to: Some(now),
                bucket,
            };
            let message = range(query, now).unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        };
        check(93, None, "from");
        check(0, None, "from");
        check(-1, None, "from");
        check(90, Some(60), "bucket");
        check(1, Some(0), "bucket");
        check(1, Some(i64::MAX), "bucket");
    }
}
