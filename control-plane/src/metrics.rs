//! Every instrument of the control plane, with its unit and its closed set of labels.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use pglens_rpc::v1::CancelOutcome;
use pglens_runtime::Metrics;

use crate::feed::Standing;
use crate::fleet::registry::Registry;
use crate::ingest::live::Live;
use crate::storage::Storage;

/// Upper bounds of request durations in seconds, from a cached answer to a request that hit every timeout.
const REQUEST_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Upper bounds of the time that the end of a session takes: below a second while its proxy is attached.
const TERMINATION_SECONDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 30.0,
];

/// How an attempt to prove an identity to the API ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiLogin {
    /// With the right password.
    Password,
    /// With a valid token.
    Token,
    /// Not at all.
    Refused,
}

/// What became of a record of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedOutcome {
    /// The collector has it.
    Exported,
    /// The collector does not want it.
    Rejected,
    /// Retention dropped it before it was sent.
    Dropped,
}

/// The instruments.
#[derive(Debug)]
pub struct ControlMetrics {
    http_requests: Counter<u64>,
    http_seconds: Histogram<f64>,
    api_logins: Counter<u64>,
    logins: Counter<u64>,
    records: Counter<u64>,
    batches: Counter<u64>,
    journaled: Counter<u64>,
    terminations: Counter<u64>,
    quota_recalls: Counter<u64>,
    termination_seconds: Histogram<f64>,
    proxies_lost: Counter<u64>,
    cancels: Counter<u64>,
    certificate_reads: Counter<u64>,
    feed_requests: Counter<u64>,
    feed_records: Counter<u64>,
}

impl ControlMetrics {
    /// Makes the instruments; those of the pool are read when metrics are asked for.
    #[must_use]
    pub fn new(metrics: &Metrics, storage: &Storage) -> Self {
        let meter = metrics.meter("pglens_control_plane");
        let pool = |name: &'static str,
                    help: &'static str,
                    read: fn(&deadpool_postgres::Status) -> usize| {
            let storage = storage.clone();
            let _registered = meter
                .u64_observable_gauge(name)
                .with_description(help)
                .with_callback(move |gauge| gauge.observe(read(&storage.pool_status()) as u64, &[]))
                .build();
        };
        pool(
            "pglens_storage_pool_connections",
            "Connections to the storage database",
            |pool| pool.size,
        );
        pool(
            "pglens_storage_pool_connections_max",
            "Most connections to the storage database",
            |pool| pool.max_size,
        );
        pool(
            "pglens_storage_pool_available",
            "Idle connections to the storage database",
            |pool| pool.available,
        );
        pool(
            "pglens_storage_pool_waiting",
            "Requests waiting for a storage connection",
            |pool| pool.waiting,
        );
        Self {
            http_requests: meter
                .u64_counter("pglens_http_requests_total")
                .with_description("REST requests by route, method and status")
                .build(),
            http_seconds: meter
                .f64_histogram("pglens_http_request_duration_seconds")
                .with_description("Time to answer a REST request")
                .with_boundaries(REQUEST_SECONDS.to_vec())
                .build(),
            api_logins: meter
                .u64_counter("pglens_api_logins_total")
                .with_description("Credentials checked for REST and gRPC, by outcome")
                .build(),
            logins: meter
                .u64_counter("pglens_logins_total")
                .with_description("Logins through proxies, by outcome")
                .build(),
            records: meter
                .u64_counter("pglens_records_total")
                .with_description("Records of proxies, stored or refused for what they hold")
                .build(),
            terminations: meter
                .u64_counter("pglens_sessions_terminated_total")
                .with_description("Sessions whose end proxies were told of, by reason")
                .build(),
            certificate_reads: meter
                .u64_counter("pglens_certificate_reads_total")
                .with_description(
                    "Certificates read again, by outcome; a failure leaves those before in use",
                )
                .build(),
            cancels: meter
                .u64_counter("pglens_cancel_requests_forwarded_total")
                .with_description("Cancel requests for sessions of other proxies, by outcome")
                .build(),
            proxies_lost: meter
                .u64_counter("pglens_proxies_lost_total")
                .with_description("Proxies that did not come back and left sessions open")
                .build(),
            termination_seconds: meter
                .f64_histogram("pglens_termination_seconds")
                .with_description(
                    "From the request to end a session, as storage has it, to its end at its proxy",
                )
                .with_boundaries(TERMINATION_SECONDS.to_vec())
                .build(),
            quota_recalls: meter
                .u64_counter("pglens_quota_recalls_total")
                .with_description("Times that held and unused quota was called back from proxies")
                .build(),
            feed_requests: meter
                .u64_counter("pglens_feed_requests_total")
                .with_description("Requests to the collector, by outcome")
                .build(),
            feed_records: meter
                .u64_counter("pglens_feed_records_total")
                .with_description(
                    "Records of the feed: exported, rejected by the collector, or dropped by retention before",
                )
                .build(),
            batches: meter
                .u64_counter("pglens_record_batches_total")
                .with_description("Batches of records committed")
                .build(),
            journaled: meter
                .u64_counter("pglens_record_journaled_batches_total")
                .with_description("Batches of records made durable before they were stored, for statements that wait")
                .build(),
        }
    }

    /// Counts a REST request. `route` and `method` are of the route table.
    pub fn http_request(
        &self,
        route: &'static str,
        method: &'static str,
        status: u16,
        took: Duration,
    ) {
        let labels = [
            KeyValue::new("route", route),
            KeyValue::new("method", method),
        ];
        self.http_seconds.record(took.as_secs_f64(), &labels);
        let [route, method] = labels;
        self.http_requests.add(
            1,
            &[route, method, KeyValue::new("status", i64::from(status))],
        );
    }

    /// Counts a login through a proxy. `outcome` is "allowed" or the reason of a refusal, a closed set.
    pub fn login(&self, outcome: &'static str) {
        self.logins.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Counts sessions whose end a proxy was told of.
    pub fn terminated(&self, reason: &'static str, sessions: usize) {
        self.terminations
            .add(sessions as u64, &[KeyValue::new("reason", reason)]);
    }

    /// Measures the end of a session, from the request for it to the word of its proxy that it has ended.
    pub fn termination_took(&self, reason: &'static str, took: Duration) {
        self.termination_seconds
            .record(took.as_secs_f64(), &[KeyValue::new("reason", reason)]);
    }

    /// Counts a call for what sessions of a grant hold and do not use.
    pub fn quota_recalled(&self) {
        self.quota_recalls.add(1, &[]);
    }

    /// Counts that certificates were read again.
    pub fn certificates_read(&self, succeeded: bool) {
        let outcome = if succeeded { "succeeded" } else { "failed" };
        self.certificate_reads
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Counts a cancel request that a proxy handed over.
    pub fn cancel(&self, outcome: CancelOutcome) {
        let outcome = match outcome {
            CancelOutcome::HandedOver => "handed_over",
            CancelOutcome::UnknownKey => "unknown_key",
            CancelOutcome::Uncertain | CancelOutcome::Unspecified => "uncertain",
        };
        self.cancels.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Counts a proxy that was given up.
    pub fn proxy_lost(&self) {
        self.proxies_lost.add(1, &[]);
    }

    /// Reads the fleet and those who watch when metrics are asked for.
    pub fn observe(metrics: &Metrics, fleet: &Arc<Registry>, live: &Live) {
        let meter = metrics.meter("pglens_control_plane");
        let registry_of_clocks = fleet;
        let fleet = Arc::clone(fleet);
        let _registered = meter
            .u64_observable_gauge("pglens_proxies_attached")
            .with_description("Proxies attached to this replica")
            .with_callback(move |gauge| gauge.observe(fleet.len() as u64, &[]))
            .build();
        let clocks = Arc::clone(registry_of_clocks);
        let _registered = meter
            .f64_observable_gauge("pglens_proxy_clock_skew_seconds")
            .with_description(
                "How far the clock of an attached proxy is off that of storage: the one that is off furthest",
            )
            .with_callback(move |gauge| gauge.observe(clocks.largest_skew().as_secs_f64(), &[]))
            .build();
        let live = live.clone();
        let _registered = meter
            .u64_observable_gauge("pglens_live_watchers")
            .with_description("Watchers of the live stream")
            .with_callback(move |gauge| gauge.observe(live.watchers() as u64, &[]))
            .build();
    }

    /// Reads how the feed stands when metrics are asked for; a replica without a collector shows nothing.
    pub fn observe_feed(metrics: &Metrics, feed: &Arc<Standing>) {
        let meter = metrics.meter("pglens_control_plane");
        let gauge = |name: &'static str, help: &'static str, read: fn(&Standing) -> Option<f64>| {
            let feed = Arc::clone(feed);
            let _registered = meter
                .f64_observable_gauge(name)
                .with_description(help)
                .with_callback(move |gauge| {
                    if let Some(value) = read(&feed) {
                        gauge.observe(value, &[]);
                    }
                })
                .build();
        };
        gauge(
            "pglens_feed_lag_seconds",
            "Age of the oldest record that the collector has not taken; 0 when it has all",
            Standing::lag_seconds,
        );
        gauge(
            "pglens_feed_last_export_timestamp_seconds",
            "When the collector last took records",
            Standing::exported_unix_seconds,
        );
        gauge(
            "pglens_feed_leading",
            "Whether this replica is the one that sends",
            |feed| Some(f64::from(u8::from(feed.is_leading()?))),
        );
    }

    /// Counts a request to the collector.
    pub fn feed_request(&self, succeeded: bool) {
        let outcome = if succeeded { "succeeded" } else { "failed" };
        self.feed_requests
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Counts records that the feed is done with.
    pub fn feed_records(&self, outcome: FeedOutcome, records: u64) {
        let outcome = match outcome {
            FeedOutcome::Exported => "exported",
            FeedOutcome::Rejected => "rejected",
            FeedOutcome::Dropped => "dropped",
        };
        self.feed_records
            .add(records, &[KeyValue::new("outcome", outcome)]);
    }

    /// Counts a committed batch.
    pub fn batch_stored(&self, records: usize, refused: usize) {
        self.batches.add(1, &[]);
        let stored = records.saturating_sub(refused);
        self.records
            .add(stored as u64, &[KeyValue::new("outcome", "stored")]);
        self.records
            .add(refused as u64, &[KeyValue::new("outcome", "refused")]);
    }

    /// Counts a batch that is durable before it is stored.
    pub fn batch_journaled(&self) {
        self.journaled.add(1, &[]);
    }

    /// Counts a check of credentials.
    pub fn api_login(&self, outcome: ApiLogin) {
        let outcome = match outcome {
            ApiLogin::Password => "password",
            ApiLogin::Token => "token",
            ApiLogin::Refused => "refused",
        };
        self.api_logins.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}
