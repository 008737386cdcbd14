//! Sends the head of the queue, again and again, while this replica is the leader.

use std::time::Duration;

use pglens_runtime::{Backoff, Chain};
use tokio::time::Instant;
use uuid::Uuid;

use super::collector::{Collector, SendError, Taken};
use super::config::FeedConfig;
use super::gather::{Gathered, gather};
use super::message;
use crate::app::App;
use crate::metrics::FeedOutcome;
use crate::storage::StoreError;

/// For how long a replica that vanished keeps others from sending. It is renewed before each request, and longer than one
/// may take, so that two replicas do not send the same as long as nothing stands still.
const LEASE: Duration = Duration::from_secs(30);
/// How soon what is recorded is sent when nothing waits.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// How often a replica asks whether the leader is gone.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(2);
/// Most records in a request.
const MAX_RECORDS: usize = 512;
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Records that a collector rejects are told of at most so often, with their number.
const TELL_REJECTED_INTERVAL: Duration = Duration::from_secs(60);

/// Why a round did nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("storage cannot be used")]
    Storage(#[from] StoreError),
    #[error("records are not taken")]
    Send(#[from] SendError),
}

impl RoundError {
    /// What makes one failure another one than that before, for the log.
    fn kind(&self) -> String {
        match self {
            Self::Send(SendError::Refused { code, .. }) => format!("{code:?}"),
            Self::Send(_) => "endpoint".to_owned(),
            Self::Storage(_) => "storage".to_owned(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Send(error) => error.retry_after(),
            Self::Storage(_) => None,
        }
    }
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Another replica sends.
    Following,
    /// Nothing waits.
    Idle,
    /// The collector did not take so many records at once; fewer are tried.
    Narrowed,
    /// Something was sent; more may wait.
    Sent,
}

/// Sends until the process is to end. A request that is on its way then is waited for: what it brought is not sent again.
pub(super) async fn run(app: &App, config: &FeedConfig) {
    let mut exporter = Exporter {
        app,
        config,
        collector: Collector::new(config),
        me: Uuid::now_v7(),
        limit: MAX_RECORDS,
        failing: None,
        rejected: Rejected::default(),
    };
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    while !app.shutdown.is_cancelled() {
        let rest = match exporter.round().await {
            Ok(round) => {
                exporter.succeeded(round);
                if round != Round::Narrowed {
                    backoff.reset();
                }
                match round {
                    Round::Following => FOLLOW_INTERVAL,
                    Round::Idle => IDLE_INTERVAL,
                    Round::Sent | Round::Narrowed => Duration::ZERO,
                }
            }
            Err(error) => {
                let wanted = error.retry_after().unwrap_or_default();
                let rest = backoff.next_delay().max(wanted).min(LAST_RETRY);
                exporter.failed(&error, rest);
                rest
            }
        };
        tokio::select! {
            () = app.shutdown.cancelled() => break,
            () = tokio::time::sleep(rest) => {}
        }
    }
    app.feed.set_leading(false);
    if let Err(error) = app.storage.feed_release(exporter.me).await {
        tracing::debug!(error = %Chain(&error), "lease of the feed not given back");
    }
}

struct Exporter<'a> {
    app: &'a App,
    config: &'a FeedConfig,
    collector: Collector<'a>,
    /// This process, as leader and as instance of the service.
    me: Uuid,
    /// Records of the next request: fewer after the collector found one too large, or not to be understood.
    limit: usize,
    /// The kind of the last failure, when nothing has succeeded since.
    failing: Option<String>,
    rejected: Rejected,
}

impl Exporter<'_> {
    async fn round(&mut self) -> Result<Round, RoundError> {
        let storage = &self.app.storage;
        let leading = storage.feed_lead(self.me, LEASE).await?;
        self.app.feed.set_leading(leading);
        if !leading {
            return Ok(Round::Following);
        }
        let mut gathered = gather(storage, self.limit, self.config.has_query_text).await?;
        if gathered.is_empty() {
            return Ok(Round::Idle);
        }
        if !gathered.records.is_empty() {
            let records = std::mem::take(&mut gathered.records);
            if !self.send(records).await? {
                return Ok(Round::Narrowed);
            }
        }
        self.done(gathered).await
    }

    /// Whether the records are dealt with; if not, fewer are to be tried.
    async fn send(
        &mut self,
        records: Vec<opentelemetry_proto::tonic::logs::v1::LogRecord>,
    ) -> Result<bool, RoundError> {
        let metrics = &self.app.metrics;
        let count = records.len();
        let sent = self
            .collector
            .send(message::request(self.me, records))
            .await;
        metrics.feed_request(sent.is_ok());
        match sent {
            Ok(taken) => {
                let rejected = taken.rejected.min(count as u64);
                metrics.feed_records(FeedOutcome::Exported, count as u64 - rejected);
                self.reject(rejected, &taken);
                self.limit = self.limit.saturating_mul(2).min(MAX_RECORDS);
                Ok(true)
            }
            Err(error) if error.is_about_the_content() && count > 1 => {
                tracing::debug!(error = %Chain(&error), records = count, "fewer records are tried");
                self.limit = count / 2;
                Ok(false)
            }
            // One that no collector takes must not hold up the others for ever.
            Err(error) if error.is_final() && count == 1 => {
                let taken = Taken {
                    rejected: 1,
                    words: Chain(&error).to_string(),
                };
                self.reject(1, &taken);
                self.limit = self.limit.saturating_mul(2).min(MAX_RECORDS);
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn done(&mut self, gathered: Gathered) -> Result<Round, RoundError> {
        if gathered.dropped > 0 {
            let metrics = &self.app.metrics;
            metrics.feed_records(FeedOutcome::Dropped, gathered.dropped);
            tracing::warn!(
                statements = gathered.dropped,
                "statements dropped by retention before the collector took them"
            );
        }
        let storage = &self.app.storage;
        let leading = storage.feed_done(self.me, &gathered.progress).await?;
        Ok(match leading {
            true => Round::Sent,
            // It stood still for longer than its lease; what it sent comes twice.
            false => Round::Following,
        })
    }

    fn reject(&mut self, count: u64, taken: &Taken) {
        if count == 0 {
            return;
        }
        self.app.metrics.feed_records(FeedOutcome::Rejected, count);
        if let Some(rejected) = self.rejected.add(count, Instant::now()) {
            tracing::warn!(
                rejected,
                words = taken.words,
                "the collector rejects records, they are not sent again"
            );
        }
    }

    fn succeeded(&mut self, round: Round) {
        // Following says nothing about the collector, and an empty queue does not either.
        let is_storage = self.failing.as_deref() == Some("storage");
        if (round == Round::Sent || is_storage) && self.failing.take().is_some() {
            tracing::info!("feed goes on");
        }
    }

    /// Says it once for each kind of failure in a row.
    fn failed(&mut self, error: &RoundError, rest: Duration) {
        let kind = error.kind();
        if self.failing.as_ref() == Some(&kind) {
            tracing::debug!(error = %Chain(error), retry_in = ?rest, "feed still does not go on");
            return;
        }
        tracing::warn!(
            endpoint = %self.config.endpoint,
            error = %Chain(error),
            retry_in = ?rest,
            "feed does not go on, records wait in storage"
        );
        self.failing = Some(kind);
    }
}

/// Records that were rejected and not told of yet.
#[derive(Debug, Default)]
struct Rejected {
    untold: u64,
    told_at: Option<Instant>,
}

impl Rejected {
    /// How many to tell of, if it is time to.
    fn add(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.untold += count;
        let is_early = self
            .told_at
            .is_some_and(|at| now.duration_since(at) < TELL_REJECTED_INTERVAL);
        if is_early {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_records_are_told_of_now_and_then_with_their_number() {
        let (mut rejected, start) = (Rejected::default(), Instant::now());
        assert_eq!(rejected.add(2, start), Some(2));
        assert_eq!(rejected.add(3, start), None);
        let later = start + TELL_REJECTED_INTERVAL;
        assert_eq!(rejected.add(1, later), Some(4));
    }
}
