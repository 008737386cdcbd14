//! Keeps the text indexes of days that are over.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use pglens_runtime::Chain;

use crate::app::App;
use crate::storage::StoreError;
use crate::storage::text_index::TextIndexes;

const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Builds what is missing at once and hourly, until the process is to end.
pub async fn run(app: Arc<App>) {
    let mut was_unavailable = false;
    loop {
        let Some(built) = app
            .shutdown
            .run_until_cancelled(app.storage.text_index_build(Utc::now().date_naive()))
            .await
        else {
            return;
        };
        was_unavailable = report(built, was_unavailable);
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Says what was done, and returns whether there can be no indexes here, which is said once.
fn report(built: Result<TextIndexes, StoreError>, was_unavailable: bool) -> bool {
    match built {
        Ok(TextIndexes::Built(days)) if !days.is_empty() => {
            tracing::info!(?days, "texts of days that are over indexed");
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
