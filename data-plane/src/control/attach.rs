//! The stream on which this proxy and a control plane keep each other informed: heartbeats and quota requests up;
//! leases, slices, terminations and drain down. When it breaks, sessions go on for as long as their lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::{GrantId, RunId, Secret, SessionId};
use pglens_rpc::convert;
use pglens_rpc::v1;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::fleet_client::FleetClient;
use pglens_rpc::v1::proxy_message::Message as Up;
use pglens_runtime::{Backoff, Chain, Readiness};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::channel::ControlPlane;
use super::registry::Termination;
use super::{CancelExchange, ControlPlanes, LeaseClock, Registry, StorageClock};
use crate::audit::Outbox;
use crate::audit::frame::FrameError;
use crate::clock::unix_us;
use crate::metrics::Metrics;

/// Name of the component in `/readyz`.
pub(crate) const COMPONENT: &str = "control-plane";
/// Storage may be slow to answer when many proxies come back at once.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Heartbeats without an answer after which the stream counts as dead.
const MISSED_HEARTBEATS: u32 = 3;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Messages to the control plane that may wait while the stream is slow.
const UP_QUEUE: usize = 256;
/// A heartbeat interval of zero would be a busy loop.
const SHORTEST_HEARTBEAT_MS: u64 = 100;

/// With every such heartbeat all sessions are named: a login that was lost on its way here is found by it, half a minute at
/// most after the control plane takes it for lost (see `LOGIN_UNDER_WAY` there).
const SESSION_LIST_BEATS: u32 = 6;

/// What sessions have to say to the control plane.
pub(crate) struct News {
    pub(crate) quota_requests: mpsc::Receiver<v1::QuotaRequest>,
    /// Sessions that were terminated and have ended.
    pub(crate) ended: mpsc::Receiver<SessionId>,
}

/// What the attach loop works with.
pub(crate) struct Attach {
    pub(crate) run_id: RunId,
    pub(crate) started_at_unix_us: i64,
    pub(crate) planes: Arc<ControlPlanes>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) cancels: Arc<CancelExchange>,
    pub(crate) clock: Arc<StorageClock>,
    pub(crate) lease: Arc<LeaseClock>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Arc<Metrics>,
    /// Set when the control plane asks this proxy to drain, with the time it gives.
    pub(crate) drain: watch::Sender<Option<Duration>>,
    /// Becomes true once a control plane knows this run.
    pub(crate) known: watch::Sender<bool>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error("control plane {url} refused or broke the stream")]
    Status {
        url: String,
        #[source]
        status: Box<tonic::Status>,
    },
    #[error("control plane {url} said nothing for {after:?}")]
    Silent { url: String, after: Duration },
    #[error("control plane {url} closed the stream")]
    Closed { url: String },
    #[error("control plane {url} did not begin with a welcome")]
    NoWelcome { url: String },
    #[error("control plane {url} gave a key for the spool that is none")]
    Key {
        url: String,
        #[source]
        error: FrameError,
    },
}

impl Attach {
    /// Keeps attached until `shutdown` is cancelled.
    pub(crate) async fn run(self, mut news: News, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        loop {
            for (index, plane) in self.planes.in_order() {
                let attached = self.attached(index, plane, &mut backoff, &mut news);
                let ended = tokio::select! {
                    () = shutdown.cancelled() => return,
                    ended = attached => ended,
                };
                self.metrics.attached(false);
                self.readiness
                    .set(COMPONENT, Err("not attached".to_owned()));
                tracing::warn!(error = %Chain(&ended), "not attached to the control plane");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn attached(
        &self,
        index: usize,
        plane: ControlPlane,
        backoff: &mut Backoff,
        news: &mut News,
    ) -> AttachError {
        let url = plane.url.clone();
        let (up, welcome, mut down) = match self.open(plane).await {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        let key = Secret::new(welcome.record_key);
        if let Err(error) = self.outbox.unlock(self.run_id, &key) {
            return AttachError::Key { url, error };
        }
        self.planes.answered(index);
        backoff.reset();
        self.metrics.attached(true);
        self.known.send_replace(true);
        self.readiness.set(COMPONENT, Ok(()));
        tracing::info!(control_plane = %url, proxy.name = %welcome.proxy_name, "attached");
        let interval =
            Duration::from_millis(welcome.heartbeat_interval_ms.max(SHORTEST_HEARTBEAT_MS));
        self.lease
            .extend(Instant::now(), Duration::from_millis(welcome.lease_ms));
        let mut heartbeat = tokio::time::interval(interval);
        let silence = interval * MISSED_HEARTBEATS;
        let mut heard = tokio::time::Instant::now();
        let mut beats = 0_u32;
        let mut sent = None;
        loop {
            tokio::select! {
                message = down.message() => match message {
                    Ok(Some(message)) => {
                        heard = tokio::time::Instant::now();
                        if let Some(answer) = self.take(message, sent)
                            && up.send(message_up(answer)).await.is_err()
                        {
                            return AttachError::Closed { url };
                        }
                    }
                    Ok(None) => return AttachError::Closed { url },
                    Err(status) => return AttachError::status(url, status),
                },
                _ = heartbeat.tick() => {
                    if heard.elapsed() > silence {
                        return AttachError::Silent { url, after: silence };
                    }
                    let heartbeat = self.heartbeat(beats);
                    sent = Some((heartbeat.sent_at_unix_us, Instant::now()));
                    if up.try_send(message_up(Up::Heartbeat(heartbeat))).is_err() {
                        return AttachError::Silent { url, after: silence };
                    }
                    beats = beats.wrapping_add(1);
                }
                Some(session_id) = news.ended.recv() => {
                    let mut session_ids = vec![session_id.to_wire()];
                    while let Ok(session_id) = news.ended.try_recv() {
                        session_ids.push(session_id.to_wire());
                    }
                    let ended = Up::SessionsEnded(v1::SessionsEnded { session_ids });
                    if up.send(message_up(ended)).await.is_err() {
                        return AttachError::Closed { url };
                    }
                }
                Some(request) = news.quota_requests.recv() => {
                    // Lost when the stream breaks: the session asks again.
                    if up.send(message_up(Up::QuotaRequest(request))).await.is_err() {
                        return AttachError::Closed { url };
                    }
                }
            }
        }
    }

    async fn open(&self, plane: ControlPlane) -> Result<Opened, AttachError> {
        let url = plane.url;
        let (up, receiver) = mpsc::channel(UP_QUEUE);
        let hello = message_up(Up::Hello(self.hello()));
        if up.send(hello).await.is_err() {
            return Err(AttachError::Closed { url });
        }
        let opening = async {
            let mut client = FleetClient::new(plane.decisions);
            let mut down = client
                .attach(ReceiverStream::new(receiver))
                .await?
                .into_inner();
            let first = down.message().await?;
            Ok::<_, tonic::Status>((down, first))
        };
        let (down, first) = match tokio::time::timeout(WELCOME_TIMEOUT, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Err(AttachError::status(url, status)),
            Err(_elapsed) => {
                let after = WELCOME_TIMEOUT;
                return Err(AttachError::Silent { url, after });
            }
        };
        match first.and_then(|first| first.message) {
            Some(Down::Welcome(welcome)) => Ok((up, welcome, down)),
            _ => Err(AttachError::NoWelcome { url }),
        }
    }

    fn hello(&self) -> v1::Hello {
        let sessions = self.registry.session_ids();
        v1::Hello {
            run_id: self.run_id.to_wire(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            hostname: hostname(),
            started_at_unix_us: self.started_at_unix_us,
            session_ids: sessions.into_iter().map(SessionId::to_wire).collect(),
        }
    }

    fn heartbeat(&self, beats: u32) -> v1::Heartbeat {
        // Before the depth of the outbox: what has ended by then is in it.
        let lists_sessions = beats % SESSION_LIST_BEATS == SESSION_LIST_BEATS - 1;
        let sessions = if lists_sessions {
            self.registry.session_ids()
        } else {
            Vec::new()
        };
        let depth = self.outbox.depth();
        v1::Heartbeat {
            sent_at_unix_us: unix_us(),
            active_sessions: u32::try_from(self.registry.session_count()).unwrap_or(u32::MAX),
            unacknowledged_records: depth.records,
            unacknowledged_bytes: depth.bytes,
            session_ids: sessions.into_iter().map(SessionId::to_wire).collect(),
            lists_sessions,
        }
    }

    /// Does what the control plane says, and returns what it is answered at once. `sent` is the last heartbeat: what it
    /// says of the time, and when it left.
    fn take(&self, message: v1::ControlMessage, sent: Option<(i64, Instant)>) -> Option<Up> {
        let now = Instant::now();
        match message.message {
            Some(Down::LeaseExtension(lease)) => {
                self.lease
                    .extend(now, Duration::from_millis(lease.lease_ms));
                if let Some((name, left)) = sent
                    && name == lease.heartbeat_sent_at_unix_us
                    && lease.storage_time_unix_us != 0
                {
                    self.clock.observe(left, now, lease.storage_time_unix_us);
                }
            }
            Some(Down::Cancel(cancel)) => self.cancels.deliver(&cancel),
            Some(Down::QuotaSlice(slice)) => match convert::session_id(&slice.session_id) {
                Ok(session_id) => self.registry.quota_slice(session_id, &slice, now),
                Err(error) => tracing::warn!(%error, "quota slice not understood"),
            },
            Some(Down::QuotaRecall(recall)) => {
                let sessions = self.registry.recall(GrantId(recall.grant_id));
                let report = v1::QuotaReport { sessions };
                return (!report.sessions.is_empty()).then_some(Up::QuotaReport(report));
            }
            Some(Down::GrantSpent(spent)) => self.registry.grant_spent(&spent),
            Some(Down::Terminate(terminate)) => self.terminate(&terminate, now),
            Some(Down::Drain(drain)) => {
                tracing::info!(grace_ms = drain.grace_ms, "asked to drain");
                let grace = Duration::from_millis(drain.grace_ms);
                self.drain.send_replace(Some(grace));
            }
            Some(Down::Welcome(_)) | None => {
                tracing::warn!("control message not understood");
            }
        }
        None
    }

    fn terminate(&self, terminate: &v1::Terminate, now: Instant) {
        let termination = Termination {
            reason: terminate.reason(),
            message: terminate.message.clone(),
            detail: terminate.detail.clone(),
            hint: terminate.hint.clone(),
        };
        let ids = terminate.session_ids.iter();
        let ids = ids.filter_map(|bytes| match convert::session_id(bytes) {
            Ok(session_id) => Some(session_id),
            Err(error) => {
                tracing::warn!(%error, "termination not understood");
                None
            }
        });
        self.registry.terminate(ids, &termination, now);
    }
}

type Opened = (
    mpsc::Sender<v1::ProxyMessage>,
    v1::Welcome,
    Streaming<v1::ControlMessage>,
);

impl AttachError {
    fn status(url: String, status: tonic::Status) -> Self {
        Self::Status {
            url,
            status: Box::new(status),
        }
    }
}

fn message_up(message: Up) -> v1::ProxyMessage {
    v1::ProxyMessage {
        message: Some(message),
    }
}

/// The kernel's name of this machine; for people who look for the process, so a machine without one says so.
fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
