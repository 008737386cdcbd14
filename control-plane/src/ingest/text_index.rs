//! Keeps the text indexes of days and hours that are over.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pglens_runtime::Chain;

use crate::app::App;
use crate::storage::StoreError;
use crate::storage::text_index::TextIndexes;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Behind each full hour; when it counts as over (see [`crate::storage::text_index`]), and a little later.
const MINUTE: Duration = Duration::from_secs(6 * 60);

/// Builds what is missing at once and hourly, until the process is to end.
pub async fn run(app: Arc<App>) {
    let mut was_unavailable = false;
    loop {
        let Some(built) = app
            .shutdown
            .run_until_cancelled(app.storage.text_index_build(Utc::now()))
            .await
        else {
            return;
        };
        was_unavailable = report(built, was_unavailable);
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(until_next(Utc::now())) => {}
        }
    }
}

/// The time from `now` to [`MINUTE`] of an hour; not none.
fn until_next(now: DateTime<Utc>) -> Duration {
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    let since = (seconds + HOUR.as_secs() - MINUTE.as_secs()) % HOUR.as_secs();
    HOUR - Duration::from_secs(since)
}

/// Says what was done, and returns whether there can be no indexes here, which is said once.
fn report(built: Result<TextIndexes, StoreError>, was_unavailable: bool) -> bool {
    match built {
        Ok(TextIndexes::Built(spans)) if !spans.is_empty() => {
            let spans: Vec<String> = spans.iter().map(ToString::to_string).collect();
            tracing::info!(?spans, "texts indexed");
        }
        Ok(TextIndexes::Built(_) | TextIndexes::Busy) => {}
        Ok(TextIndexes::Unavailable { reason }) => {
            if !was_unavailable {
                tracing::info!(
                    reason,
                    "texts are not indexed, searches for them read the record; to have them, let somebody run \
                     `create extension pg_trgm` in the storage database"
                );
            }
            return true;
        }
        Err(error) => tracing::warn!(error = %Chain(&error), "texts not indexed"),
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_round_is_a_few_minutes_behind_the_hour() {
        for (now, minutes) in [
            ("2026-03-01T10:05:00Z", 1),
            ("2026-03-01T10:06:00Z", 60),
            ("2026-03-01T10:07:00Z", 59),
            ("2026-03-01T23:59:00Z", 7),
        ] {
            let wait = until_next(now.parse().unwrap());
            assert_eq!(wait, Duration::from_secs(minutes * 60), "{now}");
        }
    }
}
