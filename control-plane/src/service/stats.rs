//! Numbers about what runs, for the console's charts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use pglens_runtime::Chain;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use crate::app::App;
use crate::error::ServiceError;
use crate::fleet::attached_within;
pub use crate::storage::stats::{
    Counts, SessionChanges, StatsBucket, StatsNow, TopDatabase, TopFingerprint, TopUser,
};

/// The time shown when the caller does not say.
const DEFAULT_RANGE: TimeDelta = TimeDelta::hours(24);
/// The record of a longer time is too much to sum up on request.
const MAX_RANGE: TimeDelta = TimeDelta::days(92);
/// Buckets of the default; a chart shows no more.
const DEFAULT_BUCKETS: i64 = 96;
/// Most buckets of an answer.
const MAX_BUCKETS: i64 = 2000;
/// Sums are kept by the minute; buckets are made of whole ones.
const MIN_BUCKET_SECONDS: i64 = 60;
const MINUTE: TimeDelta = TimeDelta::minutes(1);

const HOUR: TimeDelta = TimeDelta::hours(1);

/// Entries of a list of the greatest, when the caller does not say.
const DEFAULT_TOP: u32 = 10;
/// Most entries of such a list.
const MAX_TOP: u32 = 100;
/// How often sums of batches are folded together.
const FOLD_INTERVAL: Duration = Duration::from_secs(10);

/// Which numbers are wanted; absent fields have defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatsQuery {
    /// From the minute of then on, or the hour where buckets are hours by default; by default a day before the end.
    pub from: Option<DateTime<Utc>>,
    /// To the end of the minute of then; by default now.
    pub to: Option<DateTime<Utc>>,
    /// Seconds of a bucket, whole minutes; by default about a 96th of the time, whole hours if that is an hour or more.
    pub bucket: Option<i64>,
    /// Entries of each list of the greatest.
    pub top: Option<u32>,
}

/// What ran, in buckets of time, who ran most, and how things stand.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Stats {
    /// From then on.
    pub from: DateTime<Utc>,
    /// Until then.
    pub to: DateTime<Utc>,
    /// Seconds of a bucket.
    pub bucket: i64,
    /// Buckets in which something ran, or somebody was connected.
    pub buckets: Vec<StatsBucket>,
    /// Users with the most statements.
    pub top_users: Vec<TopUser>,
    /// Databases with the most statements.
    pub top_databases: Vec<TopDatabase>,
    /// Statements that differ in constants only, the most frequent first; counted by the hour.
    pub top_fingerprints: Vec<TopFingerprint>,
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
    let top = query.top.unwrap_or(DEFAULT_TOP);
    if !(1..=MAX_TOP).contains(&top) {
        let reason = format!("must be 1 to {MAX_TOP}");
        return Err(ServiceError::invalid("top", reason));
    }
    let Range {
        from,
        to,
        bucket_seconds,
    } = range(query, Utc::now())?;
    let bucket = Duration::from_secs(bucket_seconds.unsigned_abs());
    let (storage, top) = (&app.storage, i64::from(top));
    let counts = storage.stats_buckets(from, to, bucket).await?;
    let sessions = storage.stats_sessions(from, to, bucket).await?;
    Ok(Stats {
        from,
        to,
        bucket: bucket_seconds,
        buckets: buckets(
            Range {
                from,
                to,
                bucket_seconds,
            },
            &counts,
            &sessions,
        ),
        top_users: storage.stats_top_users(from, to, top).await?,
        top_databases: storage.stats_top_databases(from, to, top).await?,
        top_fingerprints: storage.stats_top_fingerprints(from, to, top).await?,
        now: storage.stats_now(attached_within()).await?,
    })
}

/// Puts counts and sessions of one time together; buckets of the future hold nobody.
fn buckets(
    range: Range,
    counts: &[(DateTime<Utc>, Counts)],
    sessions: &[SessionChanges],
) -> Vec<StatsBucket> {
    let counts: HashMap<DateTime<Utc>, Counts> = counts.iter().copied().collect();
    let before = sessions.iter().find(|changes| changes.starts_at.is_none());
    let mut open = before.map_or(0, |changes| changes.opened);
    let changes: HashMap<DateTime<Utc>, SessionChanges> = sessions
        .iter()
        .filter_map(|changes| Some((changes.starts_at?, *changes)))
        .collect();
    let mut buckets = Vec::new();
    let mut starts_at = range.from;
    let end = range.to.min(Utc::now());
    while starts_at < end {
        let changed = changes.get(&starts_at);
        let active_sessions = open + changed.map_or(0, |changes| changes.opened);
        open = active_sessions - changed.map_or(0, |changes| changes.ended);
        let counts = counts.get(&starts_at).copied();
        if counts.is_some() || active_sessions > 0 {
            buckets.push(StatsBucket {
                starts_at,
                counts: counts.unwrap_or_default(),
                active_sessions,
            });
        }
        starts_at += TimeDelta::seconds(range.bucket_seconds);
    }
    buckets
}

/// Folds the sums of batches together until the process is to end.
pub async fn keep(app: Arc<App>) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(FOLD_INTERVAL) => {}
        }
        let kept_for = DAY * app.session_defaults.retention.statements_days;
        if let Err(error) = app.storage.stats_fold(kept_for).await {
            tracing::warn!(error = %Chain(&error), "sums of the record not folded");
        }
    }
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
    let last = to.checked_add_signed(MINUTE - TimeDelta::nanoseconds(1));
    let (from, last) = (beginning(from, MINUTE), last.ok_or_else(out_of_range)?);
    let to = beginning(last, MINUTE);
    let seconds = to.signed_duration_since(from).num_seconds();
    let by_default = seconds / DEFAULT_BUCKETS;
    let (from, bucket_seconds) = match query.bucket {
        Some(bucket) => (from, bucket),
        None if by_default < HOUR.num_seconds() => (from, whole(by_default, MINUTE)),
        None => (beginning(from, HOUR), whole(by_default, HOUR)),
    };
    let shortest = whole(seconds / MAX_BUCKETS, MINUTE);
    if bucket_seconds % MIN_BUCKET_SECONDS != 0 {
        return Err(ServiceError::invalid("bucket", "must be whole minutes"));
    }
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

fn beginning(time: DateTime<Utc>, of: TimeDelta) -> DateTime<Utc> {
    time.duration_trunc(of).unwrap_or(time)
}

/// Seconds rounded up to whole units, at least one.
fn whole(seconds: i64, unit: TimeDelta) -> i64 {
    let unit = unit.num_seconds();
    seconds.max(1).saturating_add(unit - 1) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_quarters_of_an_hour_is_the_default() {
        let now = Utc::now();
        let range = range(StatsQuery::default(), now).unwrap();
        assert!(range.to >= now && range.to < now + MINUTE);
        assert!(range.from <= now - DEFAULT_RANGE);
        assert!([900, 960].contains(&range.bucket_seconds), "{range:?}");
    }

    #[test]
    fn a_month_comes_in_whole_hours() {
        let from = "2026-11-01T10:20:30Z".parse().unwrap();
        let query = StatsQuery {
            from: Some(from),
            to: Some(from + TimeDelta::days(30)),
            ..StatsQuery::default()
        };
        let range = range(query, from).unwrap();
        assert_eq!(range.from.to_rfc3339(), "2026-11-01T10:00:00+00:00");
        assert_eq!(range.bucket_seconds, 8 * 3600);
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
                top: None,
            };
            let message = range(query, now).unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        };
        check(93, None, "from");
        check(0, None, "from");
        check(-1, None, "from");
        check(90, Some(60), "bucket");
        check(1, Some(0), "bucket");
        check(1, Some(90), "bucket");
        check(1, Some(i64::MAX), "bucket");
    }

    #[test]
    fn sessions_are_open_from_bucket_to_bucket() {
        let from = beginning(Utc::now() - HOUR, MINUTE);
        let to = from + TimeDelta::minutes(5);
        let at = |minutes| from + TimeDelta::minutes(minutes);
        let changes = |starts_at, opened, ended| SessionChanges {
            starts_at,
            opened,
            ended,
        };
        let sessions = [
            changes(None, 1, 0),
            changes(Some(at(1)), 2, 2),
            changes(Some(at(2)), 0, 1),
        ];
        let counts = [(
            at(4),
            Counts {
                statements: 7,
                ..Counts::default()
            },
        )];
        let range = Range {
            from,
            to,
            bucket_seconds: 60,
        };
        let seen: Vec<_> = buckets(range, &counts, &sessions)
            .iter()
            .map(|bucket| {
                (
                    bucket.starts_at,
                    bucket.active_sessions,
                    bucket.counts.statements,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [(at(0), 1, 0), (at(1), 3, 0), (at(2), 1, 0), (at(4), 0, 7)]
        );
    }
}
