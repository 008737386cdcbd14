//! One proxy's stream, from its hello to its end.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pglens_core::limits::HEARTBEAT_INTERVAL;
use pglens_core::{ErrorCode, GrantId, RunId, Secret, SessionId};
use pglens_rpc::convert;
use pglens_rpc::status::status;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::proxy_message::Message as Up;
use pglens_rpc::v1::{
    ControlMessage, Heartbeat, Hello, LeaseExtension, ProxyMessage, QuotaRequest, Welcome,
};
use pglens_runtime::Chain;
use tokio::sync::mpsc::Sender;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::lost::{close_unheld, settle};
use super::registry::{Attached, Outgoing};
use super::{desk, end_doomed_of, terminate};
use crate::app::App;
use crate::crypto::keyring::SealContext;
use crate::ingest::text::bounded;
use crate::storage::StoreError;
use crate::storage::proxy_run::RunRegistration;
use crate::storage::quota::QuotaAmount;
use crate::storage::quota_claim::QuotaClaim;

/// From the start of the stream to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A proxy that says nothing for this long is gone, or its connection is.
const SILENCE_TIMEOUT: Duration = HEARTBEAT_INTERVAL.saturating_mul(4);
/// Sessions a proxy may name in its hello: more than one holds.
const MAX_SESSIONS: usize = 100_000;
const MAX_WORD_BYTES: usize = 255;
const RECORD_KEY_BYTES: usize = 32;
/// Beyond this the clocks of a proxy and of the storage database are said to differ; NTP keeps them closer by far.
const MAX_SKEW: Duration = Duration::from_secs(2);

/// Serves the stream of the proxy `proxy_name` until it ends, falls silent, is detached, or this process is to end.
pub async fn run<S>(app: Arc<App>, proxy_name: String, mut inbound: S, outbound: Sender<Outgoing>)
where
    S: Stream<Item = Result<ProxyMessage, Status>> + Unpin,
{
    match welcome(&app, &proxy_name, &mut inbound, outbound.clone()).await {
        Ok((attached, held)) => {
            let run_id = attached.run_id();
            tracing::info!(proxy.name = proxy_name, run.id = %run_id, sessions = held.len(), "proxy attached");
            serve(app, attached, held, inbound).await;
            tracing::info!(proxy.name = proxy_name, run.id = %run_id, "proxy detached");
        }
        // The proxy may have gone in the meantime.
        Err(status) => _ = outbound.send(Err(status)).await,
    }
}

async fn welcome<S>(
    app: &App,
    proxy_name: &str,
    inbound: &mut S,
    outbound: Sender<Outgoing>,
) -> Result<(Attached, Vec<SessionId>), Status>
where
    S: Stream<Item = Result<ProxyMessage, Status>> + Unpin,
{
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.next())
        .await
        .map_err(|_| status(ErrorCode::ProtocolViolation, "no hello came in time"))?;
    let Some(Up::Hello(hello)) = first.transpose()?.and_then(|first| first.message) else {
        return Err(status(
            ErrorCode::ProtocolViolation,
            "the first message must be hello",
        ));
    };
    let run_id = convert::run_id(&hello.run_id)?;
    let held = held_sessions(&hello)?;
    let record_key = register(app, proxy_name, run_id, &hello).await?;
    let attached = app.fleet.attach(run_id, proxy_name, outbound);
    attached.send(message(Down::Welcome(Welcome {
        heartbeat_interval_ms: millis(HEARTBEAT_INTERVAL),
        lease_ms: millis(app.session_defaults.lease),
        record_key: record_key.expose().clone(),
        proxy_name: proxy_name.to_owned(),
    })));
    Ok((attached, held))
}

fn held_sessions(hello: &Hello) -> Result<Vec<SessionId>, Status> {
    if hello.session_ids.len() > MAX_SESSIONS {
        return Err(status(
            ErrorCode::TooLarge,
            "more sessions than a proxy can hold",
        ));
    }
    let ids = hello.session_ids.iter().map(|id| convert::session_id(id));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// What a run's record key is bound to.
pub(super) fn record_key_context(run_id: &str) -> SealContext<'_> {
    SealContext {
        table: "proxy_runs",
        column: "record_key_sealed",
        row: run_id,
    }
}

async fn register(
    app: &App,
    proxy_name: &str,
    run_id: RunId,
    hello: &Hello,
) -> Result<Secret<Vec<u8>>, Status> {
    let row = run_id.to_string();
    let context = record_key_context(&row);
    let fresh: Secret<[u8; RECORD_KEY_BYTES]> = Secret::new(rand::random());
    let registration = RunRegistration {
        run_id,
        proxy_name,
        hostname: &bounded(&hello.hostname, MAX_WORD_BYTES),
        version: &bounded(&hello.version, MAX_WORD_BYTES),
        started_at: DateTime::from_timestamp_micros(hello.started_at_unix_us)
            .unwrap_or_else(Utc::now),
        active_sessions: i32::try_from(hello.session_ids.len()).unwrap_or(i32::MAX),
        record_key_sealed: &app.keys.seal(context, fresh.expose()),
    };
    let sealed = app
        .storage
        .proxy_run_register(&registration)
        .await
        .map_err(unavailable)?;
    let sealed = sealed.ok_or_else(|| {
        tracing::warn!(proxy.name = proxy_name, run.id = %run_id, "run belongs to another proxy");
        status(
            ErrorCode::PermissionDenied,
            "the run belongs to another proxy",
        )
    })?;
    app.keys.open(context, &sealed).map_err(|error| {
        tracing::error!(run.id = %run_id, error = %Chain(&error), "record key does not open");
        status(ErrorCode::Internal, "the run's record key does not open")
    })
}

async fn serve<S>(app: Arc<App>, attached: Attached, held: Vec<SessionId>, mut inbound: S)
where
    S: Stream<Item = Result<ProxyMessage, Status>> + Unpin,
{
    let run_id = attached.run_id();
    if let Err(error) = check_sessions(&app, &attached, &held).await {
        attached.fail(unavailable(error));
        return;
    }
    loop {
        // Each branch may be dropped at any time: messages not yet taken stay in the stream.
        let received = tokio::select! {
            () = app.shutdown.cancelled() => break,
            () = attached.detached() => break,
            received = tokio::time::timeout(SILENCE_TIMEOUT, inbound.next()) => received,
        };
        match received {
            Ok(Some(Ok(ProxyMessage {
                message: Some(Up::Heartbeat(heartbeat)),
            }))) => {
                answer_heartbeat(&app, &attached, &heartbeat).await;
            }
            Ok(Some(Ok(ProxyMessage {
                message: Some(Up::QuotaRequest(request)),
            }))) => {
                claim(&app, run_id, &[request]);
            }
            Ok(Some(Ok(ProxyMessage {
                message: Some(Up::QuotaReport(report)),
            }))) => {
                claim(&app, run_id, &report.sessions);
            }
            Ok(Some(Ok(ProxyMessage {
                message: Some(Up::SessionsEnded(ended)),
            }))) => {
                for session_id in &ended.session_ids {
                    if let Ok(session_id) = convert::session_id(session_id)
                        && let Some((reason, took)) = app.endings.ended(session_id)
                    {
                        app.metrics.termination_took(reason.as_str(), took);
                    }
                }
            }
            Ok(Some(Ok(_))) => {
                attached.fail(status(ErrorCode::ProtocolViolation, "unexpected message"));
                break;
            }
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
}

/// What changed while the proxy was away.
async fn check_sessions(
    app: &App,
    attached: &Attached,
    held: &[SessionId],
) -> Result<(), StoreError> {
    let run_id = attached.run_id();
    end_unknown(app, attached, held).await?;
    close_unheld(app, run_id, held).await?;
    end_doomed_of(app, &[run_id], None).await
}

/// Ends the sessions that the proxy holds and storage does not know as running.
async fn end_unknown(app: &App, attached: &Attached, held: &[SessionId]) -> Result<(), StoreError> {
    let unknown = app
        .storage
        .session_list_unknown(attached.run_id(), held)
        .await?;
    if !unknown.is_empty() {
        attached.send(terminate::unknown(&unknown));
    }
    Ok(())
}

/// A clock that is off does no harm to limits, which are kept by the storage database's clock and by durations; times in
/// the record are the proxy's.
fn note_skew(app: &App, run_id: RunId, skew_us: Option<i64>) {
    let Some(skew_us) = skew_us else { return };
    let skew = Duration::from_micros(skew_us.unsigned_abs());
    if app.fleet.note_skew(run_id, skew_us) && skew > MAX_SKEW {
        tracing::warn!(run.id = %run_id, skew_ms = skew_us / 1000, "the proxy's clock is off, times in its record are too");
    }
}

/// The lease goes on only when storage says so: a control plane that is cut off from it does not know what was revoked.
async fn answer_heartbeat(app: &App, attached: &Attached, heartbeat: &Heartbeat) {
    let run_id = attached.run_id();
    let active_sessions = i32::try_from(heartbeat.active_sessions).unwrap_or(i32::MAX);
    let checked = async {
        let sent_at = Some(heartbeat.sent_at_unix_us).filter(|sent_at| *sent_at > 0);
        let skew_us = app
            .storage
            .proxy_run_seen(run_id, active_sessions, sent_at)
            .await?;
        note_skew(app, run_id, skew_us);
        if heartbeat.lists_sessions {
            let held = heartbeat.session_ids.iter();
            let held: Result<Vec<_>, _> = held.map(|id| convert::session_id(id)).collect();
            if let Ok(held) = held {
                end_unknown(app, attached, &held).await?;
                close_unheld(app, run_id, &held).await?;
            }
        }
        if heartbeat.unacknowledged_records == 0 {
            settle(app, run_id).await?;
        }
        end_doomed_of(app, &[run_id], None).await?;
        let storage_us = skew_us.map(|skew_us| heartbeat.sent_at_unix_us.saturating_sub(skew_us));
        Ok::<_, StoreError>(storage_us.unwrap_or(0))
    };
    match checked.await {
        Ok(storage_us) => {
            attached.send(message(Down::LeaseExtension(LeaseExtension {
                lease_ms: millis(app.session_defaults.lease),
                server_time_unix_us: Utc::now().timestamp_micros(),
                heartbeat_sent_at_unix_us: heartbeat.sent_at_unix_us,
                storage_time_unix_us: storage_us,
            })));
        }
        Err(error) => {
            tracing::warn!(run.id = %run_id, error = %Chain(&error), "lease not extended");
        }
    }
}

/// Hands claims to the desk, which answers them. A proxy that gets no answer asks again, or ends the wait by itself.
fn claim(app: &Arc<App>, run_id: RunId, requests: &[QuotaRequest]) {
    for request in requests {
        let Ok(session_id) = convert::session_id(&request.session_id) else {
            continue;
        };
        let amount = |queries, bytes| QuotaAmount { queries, bytes };
        let claim = QuotaClaim {
            run_id,
            session_id,
            request_id: request.request_id,
            used: amount(request.queries_used, request.bytes_used),
            held: amount(request.queries_held, request.bytes_held),
            need: amount(request.queries, request.bytes),
            wanted: amount(request.queries_wanted, request.bytes_wanted),
        };
        desk::submit(app, GrantId(request.grant_id), [claim]);
    }
}

fn message(message: Down) -> ControlMessage {
    ControlMessage {
        message: Some(message),
    }
}

fn unavailable(error: StoreError) -> Status {
    crate::error::ServiceError::from(error).into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
