//! `/api/stream`: connections and statements as they happen, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use pglens_core::ErrorCode;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};
use utoipa::OpenApi;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::sse::Event;
use warp::{Filter, Reply, sse};

use super::openapi::ErrorBody;
use super::{authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::ingest::live::LiveEvent;
use crate::service::caller::Caller;

/// Says that the stream is alive, for whatever stands between and for the server to notice that nobody is there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A stream ends after this long; the browser comes back by itself, with credentials that are checked again.
const MAX_STREAM_AGE: Duration = Duration::from_secs(15 * 60);

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
        .map(|app, caller| watch(&app, &caller).unwrap_or_else(|error| reply::failure(&error)))
        .boxed()
}

/// Shows connections and statements as they happen; for administrators. Events: `connection_started`,
/// `connection_ended`, `query_started` (with its `end` when it is known already), `query_ended`, and `missed` with the
/// number of events for which the reader was too slow.
#[utoipa::path(get, path = "/api/stream", tag = "stream",
    responses((status = 200, content_type = "text/event-stream"), (status = "4XX", body = ErrorBody)))]
fn watch(app: &Arc<App>, caller: &Caller) -> Result<Response, ServiceError> {
    caller.require_admin()?;
    let (events, place) = app.live.watch().ok_or_else(|| {
        ServiceError::new(ErrorCode::Overloaded, "too many streams are being watched")
    })?;
    let stream = events_of(events, place, Arc::clone(app));
    let stream = sse::keep_alive()
        .interval(KEEP_ALIVE_INTERVAL)
        .stream(stream);
    Ok(sse::reply(stream).into_response())
}

fn events_of(
    events: Receiver<LiveEvent>,
    place: OwnedSemaphorePermit,
    app: Arc<App>,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let end = Instant::now() + MAX_STREAM_AGE;
    unfold(
        (events, place, app),
        move |(mut events, place, app)| async move {
            let received = tokio::select! {
                () = app.shutdown.cancelled() => return None,
                received = timeout_at(end, events.recv()) => received.ok()?,
            };
            let event = match received {
                Ok(LiveEvent { name, data }) => Event::default().event(name).data(data.to_string()),
                Err(RecvError::Lagged(count)) => Event::default()
                    .event("missed")
                    .data(json!({ "count": count }).to_string()),
                Err(RecvError::Closed) => return None,
            };
            Some((Ok(event), (events, place, app)))
        },
    )
}
