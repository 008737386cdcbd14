//! `/api/stream`: connections and statements as they happen, as server-sent events.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use pglens_core::ErrorCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use utoipa::OpenApi;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::sse::Event;
use warp::{Filter, Reply, sse};

use super::openapi::ErrorBody;
use super::{authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::ingest::live::{LiveEvent, stored_event};
use crate::service::caller::Caller;
use crate::service::queries::{Order, QueryFilter};

/// Says that the stream is alive, for whatever stands between and for the server to notice that nobody is there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A stream ends after this long; the browser comes back by itself, with credentials that are checked again.
const MAX_STREAM_AGE: Duration = Duration::from_secs(15 * 60);
/// Statements that a watcher who comes back is told; more are in the record.
const MAX_CAUGHT_UP: i64 = 1000;

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(watch))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "stream")
        .and(warp::get())
        .and(authenticated(app))
        .and(warp::filters::header::optional("last-event-id"))
        .then(async |app, caller, last: Option<String>| {
            let watching = watch(&app, &caller, last.as_deref()).await;
            watching.unwrap_or_else(|error| reply::failure(&error))
        })
        .boxed()
}

/// Shows connections and statements as they happen, through any replica; for administrators. Events:
/// `connection_started`, `connection_ended`, `query_started` (with its `end` when it is known already), `query_ended`,
/// and `lagged` with the number of events that were missed, where it is known. With `Last-Event-ID`, statements that
/// began behind that one come first.
#[utoipa::path(get, path = "/api/stream", tag = "stream",
    params(("Last-Event-ID" = Option<Uuid>, Header, description = "Id of the last statement seen")),
    responses((status = 200, content_type = "text/event-stream"), (status = "4XX", body = ErrorBody)))]
async fn watch(
    app: &Arc<App>,
    caller: &Caller,
    last: Option<&str>,
) -> Result<Response, ServiceError> {
    caller.require_admin()?;
    let last = last.filter(|id| !id.is_empty()).map(|id| {
        id.parse::<Uuid>()
            .map_err(|_| ServiceError::invalid("Last-Event-ID", "is not a UUID"))
    });
    let (events, place) = app.live.watch().ok_or_else(|| {
        ServiceError::new(ErrorCode::Overloaded, "too many streams are being watched")
    })?;
    // Watched before it is read: what is stored in between comes twice, and is told once.
    let missed = match last.transpose()? {
        Some(last) => stored_behind(app, last).await?,
        None => Vec::new(),
    };
    let told: HashSet<Uuid> = missed.iter().filter_map(|event| event.id).collect();
    let watching = Watching {
        app: Arc::clone(app),
        events,
        missed: missed.into_iter(),
        told,
        end: Instant::now() + MAX_STREAM_AGE,
        _place: place,
    };
    let stream = unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(sent(&event)), watching))
    });
    let stream = sse::keep_alive()
        .interval(KEEP_ALIVE_INTERVAL)
        .stream(stream);
    Ok(sse::reply(stream).into_response())
}

/// The statements of the record behind `last`, up to [`MAX_CAUGHT_UP`].
async fn stored_behind(app: &App, last: Uuid) -> Result<Vec<LiveEvent>, ServiceError> {
    let found = app
        .storage
        .query_list(
            &QueryFilter::default(),
            Order::Oldest,
            Some(last),
            MAX_CAUGHT_UP,
        )
        .await?;
    let mut events: Vec<LiveEvent> = found.rows.iter().map(stored_event).collect();
    if i64::try_from(events.len()).is_ok_and(|count| count >= MAX_CAUGHT_UP) {
        events.push(LiveEvent::lagged(None));
    }
    Ok(events)
}

/// A stream that is being sent.
struct Watching {
    app: Arc<App>,
    events: Receiver<LiveEvent>,
    missed: std::vec::IntoIter<LiveEvent>,
    told: HashSet<Uuid>,
    end: Instant,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<LiveEvent> {
        if let Some(event) = self.missed.next() {
            return Some(event);
        }
        loop {
            let received = tokio::select! {
                () = self.app.shutdown.cancelled() => return None,
                received = timeout_at(self.end, self.events.recv()) => received.ok()?,
            };
            match received {
                Ok(event) if event.id.is_some_and(|id| self.told.remove(&id)) => {}
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(count)) => return Some(LiveEvent::lagged(Some(count))),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn sent(event: &LiveEvent) -> Event {
    let sent = Event::default()
        .event(event.name.clone())
        .data(event.data.to_string());
    match event.id {
        Some(id) => sent.id(id.to_string()),
        None => sent,
    }
}
