//! All instruments of the data plane. Labels come from closed sets, never from names, hosts or SQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, UpDownCounter};

use crate::audit::Outbox;
use crate::listener::starting::StartingSet;

/// Logins take from a millisecond to the patience of a person.
const SECONDS_BUCKETS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// How a login ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LoginOutcome {
    Allowed,
    Denied,
    ControlPlaneUnavailable,
    ClientGone,
}

impl LoginOutcome {
    fn label(self) -> KeyValue {
        let outcome = match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::ControlPlaneUnavailable => "control_plane_unavailable",
            Self::ClientGone => "client_gone",
        };
        KeyValue::new("outcome", outcome)
    }
}

/// Why a connection was not served.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NotServed {
    TooManySessions,
    TooManyStarting,
}

impl NotServed {
    fn label(self) -> KeyValue {
        let reason = match self {
            Self::TooManySessions => "too_many_sessions",
            Self::TooManyStarting => "too_many_starting",
        };
        KeyValue::new("reason", reason)
    }
}

/// Who brought a cancel request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CancelOrigin {
    Client,
    /// Another proxy, by way of the control plane.
    Fleet,
}

/// What became of a cancel request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelOutcome {
    /// The target was told.
    Delivered,
    /// The session ran nothing.
    Idle,
    /// The statement that ran had begun after the cancel was asked for.
    TooLate,
    TargetFailed,
    /// The control plane passes it on to the proxy that holds the session.
    HandedOver,
    /// The control plane could not say who holds the session, and asked those it could reach.
    Uncertain,
    UnknownKey,
    /// The client has sent too many wrong keys.
    RateLimited,
    /// No control plane took it.
    Unavailable,
    /// There were too many at once.
    Dropped,
}

impl CancelOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Idle => "idle",
            Self::TooLate => "too_late",
            Self::TargetFailed => "target_failed",
            Self::HandedOver => "handed_over",
            Self::Uncertain => "uncertain",
            Self::UnknownKey => "unknown_key",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Dropped => "dropped",
        }
    }
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum StatementOutcome {
    Succeeded,
    Failed,
    Refused,
    #[default]
    Unknown,
}

impl StatementOutcome {
    const ALL: [Self; 4] = [Self::Succeeded, Self::Failed, Self::Refused, Self::Unknown];

    fn label(self) -> KeyValue {
        let outcome = match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        };
        KeyValue::new("outcome", outcome)
    }
}

/// Statements by outcome. Each is counted: a place of its own costs a fraction of looking one up by its labels.
#[derive(Debug, Default)]
struct StatementCounts {
    succeeded: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

impl StatementCounts {
    fn of(&self, outcome: StatementOutcome) -> &AtomicU64 {
        match outcome {
            StatementOutcome::Succeeded => &self.succeeded,
            StatementOutcome::Failed => &self.failed,
            StatementOutcome::Refused => &self.refused,
            StatementOutcome::Unknown => &self.unknown,
        }
    }
}

/// Which way bytes of rows and COPY data went.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    ToClient,
    ToTarget,
}

/// The instruments.
#[derive(Debug)]
pub(crate) struct Metrics {
    sessions_active: UpDownCounter<i64>,
    connections_refused: Counter<u64>,
    logins: Counter<u64>,
    login_seconds: Histogram<f64>,
    target_connect_seconds: Histogram<f64>,
    statements: Arc<StatementCounts>,
    refusals: Counter<u64>,
    sessions_ended: Counter<u64>,
    bytes: Counter<u64>,
    attached: Gauge<u64>,
    cancel_requests: Counter<u64>,
    certificate_reads: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new(registry: &pglens_runtime::Metrics, outbox: &Arc<Outbox>) -> Arc<Self> {
        let meter = registry.meter("pglens-data-plane");
        let seconds = |name, help| {
            meter
                .f64_histogram(name)
                .with_description(help)
                .with_boundaries(SECONDS_BUCKETS.to_vec())
                .build()
        };
        let counter = |name, help| meter.u64_counter(name).with_description(help).build();
        let depth = Arc::clone(outbox);
        meter
            .u64_observable_gauge("pglens_record_outbox_records")
            .with_description("Records that the control plane has not acknowledged")
            .with_callback(move |gauge| gauge.observe(depth.depth().records, &[]))
            .build();
        let depth = Arc::clone(outbox);
        meter
            .u64_observable_gauge("pglens_record_outbox_bytes")
            .with_description("Bytes in the spool that the control plane has not acknowledged")
            .with_callback(move |gauge| gauge.observe(depth.depth().bytes, &[]))
            .build();
        let statements = Arc::new(StatementCounts::default());
        let counts = Arc::clone(&statements);
        meter
            .u64_observable_counter("pglens_statements_total")
            .with_description("Statements by outcome")
            .with_callback(move |counter| {
                for outcome in StatementOutcome::ALL {
                    let count = counts.of(outcome).load(Ordering::Relaxed);
                    counter.observe(count, &[outcome.label()]);
                }
            })
            .build();
        Arc::new(Self {
            sessions_active: meter
                .i64_up_down_counter("pglens_sessions_active")
                .with_description("Sessions that were let in and have not ended")
                .build(),
            connections_refused: counter(
                "pglens_connections_refused_total",
                "Connections not served because there were too many",
            ),
            logins: counter("pglens_logins_total", "Logins by outcome"),
            login_seconds: seconds(
                "pglens_login_duration_seconds",
                "From the startup packet to the decision",
            ),
            target_connect_seconds: seconds(
                "pglens_target_connect_duration_seconds",
                "From dialling the target to its readiness",
            ),
            statements,
            refusals: counter("pglens_refusals_total", "Refused statements by rule"),
            sessions_ended: counter("pglens_sessions_ended_total", "Ends of sessions by reason"),
            bytes: counter(
                "pglens_session_bytes_total",
                "Payload bytes by direction, counted when their session ends",
            ),
            attached: meter
                .u64_gauge("pglens_control_plane_attached")
                .with_description("1 while attached to a control plane")
                .build(),
            cancel_requests: counter(
                "pglens_cancel_requests_total",
                "Cancel requests by who brought them and what became of them",
            ),
            certificate_reads: counter(
                "pglens_certificate_reads_total",
                "Certificates read again, by outcome; a failure leaves those before in use",
            ),
        })
    }

    /// Shows how many connections are not logged in.
    pub(crate) fn observe_starting(
        registry: &pglens_runtime::Metrics,
        starting: &Arc<StartingSet>,
    ) {
        let starting = Arc::clone(starting);
        registry
            .meter("pglens-data-plane")
            .u64_observable_gauge("pglens_connections_starting")
            .with_description("Connections that are not logged in yet")
            .with_callback(move |gauge| gauge.observe(starting.len() as u64, &[]))
            .build();
    }

    /// Counts a session until the guard is dropped.
    pub(crate) fn session(self: &Arc<Self>) -> ActiveSession {
        self.sessions_active.add(1, &[]);
        ActiveSession(Arc::clone(self))
    }

    pub(crate) fn not_served(&self, reason: NotServed) {
        self.connections_refused.add(1, &[reason.label()]);
    }

    pub(crate) fn login(&self, outcome: LoginOutcome, took: Duration) {
        self.logins.add(1, &[outcome.label()]);
        self.login_seconds
            .record(took.as_secs_f64(), &[outcome.label()]);
    }

    pub(crate) fn target_connected(&self, took: Duration) {
        self.target_connect_seconds.record(took.as_secs_f64(), &[]);
    }

    pub(crate) fn statement(&self, outcome: StatementOutcome) {
        self.statements.of(outcome).fetch_add(1, Ordering::Relaxed);
    }

    /// `rule` is one of the names in the code of the guards.
    pub(crate) fn refusal(&self, rule: &'static str) {
        self.refusals.add(1, &[KeyValue::new("rule", rule)]);
    }

    /// `reason` is one of the words in the code of the relay.
    pub(crate) fn session_ended(&self, reason: &'static str) {
        self.sessions_ended
            .add(1, &[KeyValue::new("reason", reason)]);
    }

    pub(crate) fn row_bytes(&self, direction: Direction, bytes: u64) {
        let direction = match direction {
            Direction::ToClient => "to_client",
            Direction::ToTarget => "to_target",
        };
        self.bytes
            .add(bytes, &[KeyValue::new("direction", direction)]);
    }

    pub(crate) fn attached(&self, attached: bool) {
        self.attached.record(u64::from(attached), &[]);
    }

    pub(crate) fn certificates_read(&self, succeeded: bool) {
        let outcome = if succeeded { "succeeded" } else { "failed" };
        self.certificate_reads
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn cancel(&self, origin: CancelOrigin, outcome: CancelOutcome) {
        let origin = match origin {
            CancelOrigin::Client => "client",
            CancelOrigin::Fleet => "fleet",
        };
        let labels = [
            KeyValue::new("origin", origin),
            KeyValue::new("outcome", outcome.as_str()),
        ];
        self.cancel_requests.add(1, &labels);
    }
}

/// Counts one session while it lives.
#[derive(Debug)]
pub(crate) struct ActiveSession(Arc<Metrics>);

impl Drop for ActiveSession {
    fn drop(&mut self) {
        self.0.sessions_active.add(-1, &[]);
    }
}
