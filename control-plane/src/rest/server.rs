//! The HTTP server: connections with limits, and around each request its metrics and headers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::{Peer, route_table};
use crate::app::App;

/// Connections at once; others wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;
/// A client that has sent no request by then is gone; also how long an idle connection is kept.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Credentials and a query string fit many times over.
const MAX_REQUEST_HEAD_BYTES: usize = 32 * 1024;
/// Rest after the listener itself failed, as it does while the process is out of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves until the app's shutdown token is cancelled; requests in progress then have `grace` to finish.
pub async fn serve(listener: TcpListener, app: Arc<App>, grace: Duration) {
    let routes = super::routes(&app);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = app.shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((socket, peer, place)) = accepted else {
            break;
        };
        let (app, routes) = (Arc::clone(&app), routes.clone());
        connections.spawn(async move {
            serve_connection(socket, peer, app, routes).await;
            drop(place);
        });
    }
    connections.close();
    // What is left then is dropped together with the runtime or the embedding program's tasks.
    let _ = timeout(grace, connections.wait()).await;
}

/// The next connection together with its place among [`MAX_CONNECTIONS`].
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => return Some((socket, peer, place)),
            Err(error) => {
                tracing::warn!(%error, "api listener failed to accept");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_connection(
    socket: TcpStream,
    peer: SocketAddr,
    app: Arc<App>,
    routes: BoxedFilter<(Response,)>,
) {
    // Small answers go out at once; a failure here costs latency only.
    let _ = socket.set_nodelay(true);
    let shutdown = app.shutdown.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let (app, routes) = (Arc::clone(&app), routes.clone());
        async move { Ok::<_, Infallible>(respond(&app, routes, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD_TIMEOUT)
        .max_buf_size(MAX_REQUEST_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "api connection ended with an error");
    }
}

async fn respond(
    app: &App,
    routes: BoxedFilter<(Response,)>,
    request: Request<Incoming>,
) -> Response {
    let started = Instant::now();
    let template = route_table::template(request.uri().path());
    let method = route_table::method_label(request.method());
    let answered = warp::service(routes).oneshot(request).await;
    let mut response = answered.unwrap_or_else(|never| match never {});
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Some(template) = template
        && let Ok(methods) = HeaderValue::from_str(&route_table::allowed_methods(template))
    {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    harden(&mut response);
    app.metrics.http_request(
        template.unwrap_or(route_table::NO_ROUTE),
        method,
        response.status().as_u16(),
        started.elapsed(),
    );
    response
}

/// Answers are for the one who asked, and are what they say they are.
fn harden(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
