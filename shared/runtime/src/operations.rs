//! The operations server: `/livez`, `/readyz`, `/metrics` over plain HTTP/1.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::Metrics;

/// Connections served at once; probes and scrapers are few, and others wait in the listener's queue.
const MAX_CONNECTIONS: usize = 64;
/// Probes send a few hundred bytes of request.
const MAX_REQUEST_HEAD_BYTES: usize = 16 * 1024;
/// A prober that has sent no request by then is gone.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// One connection for one prober; a new one costs nothing, an abandoned one must not hold a place for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// Rest after the listener itself failed, as it does while the process is out of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Which parts of a process can do their work now. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    components: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
}

impl Readiness {
    /// Not ready until each of `components` has been set so.
    #[must_use]
    pub fn new(components: &[&'static str]) -> Self {
        let starting = |component: &&'static str| (*component, Err("starting".to_owned()));
        Self {
            components: Arc::new(Mutex::new(components.iter().map(starting).collect())),
        }
    }

    /// Sets what `component` can do; the words of an error are shown to whoever asks `/readyz`.
    pub fn set(&self, component: &'static str, state: Result<(), String>) {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(component, state);
    }

    /// Whether every component is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.problems().is_empty()
    }

    /// One line for each component that is not ready.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(|(component, state)| {
                let reason = state.as_ref().err()?;
                Some(format!("{component}: {reason}"))
            })
            .collect()
    }
}

/// Serves until `shutdown` is cancelled; requests in progress are then dropped.
pub async fn serve_operations(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((socket, place)) = accepted else {
            break;
        };
        let (readiness, metrics, shutdown) = (readiness.clone(), metrics.clone(), shutdown.clone());
        connections.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(CONNECTION_LIFETIME) => {}
                () = serve_connection(socket, readiness, metrics) => {}
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

/// The next connection together with its place among [`MAX_CONNECTIONS`].
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((socket, _peer)) => return Some((socket, place)),
            Err(error) => {
                tracing::warn!(%error, "operations listener failed to accept");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_connection(socket: TcpStream, readiness: Readiness, metrics: Metrics) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &readiness, &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD_TIMEOUT)
        .max_buf_size(MAX_REQUEST_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "operations connection ended with an error");
    }
}

fn respond(
    method: &Method,
    path: &str,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    if !matches!(*method, Method::GET | Method::HEAD) {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET\n".to_owned(),
        );
    }
    match path {
        "/livez" => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => match readiness.problems() {
            problems if problems.is_empty() => response(StatusCode::OK, TEXT, "ok\n".to_owned()),
            problems => {
                let body = problems.join("\n") + "\n";
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT, body)
            }
        },
        "/metrics" => response(StatusCode::OK, PROMETHEUS_TEXT, metrics.render()),
        _ => response(StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned()),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn get(address: std::net::SocketAddr, request: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }

    #[tokio::test]
    async fn the_three_paths_answer_and_the_server_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::new(&["storage", "grpc"]);
        let metrics = Metrics::new();
        metrics
            .meter("test")
            .u64_counter("pglens_test_total")
            .build()
            .add(1, &[]);
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve_operations(
            listener,
            readiness.clone(),
            metrics,
            shutdown.clone(),
        ));

        assert_eq!(get(address, "GET /livez").await, (200, "ok\n".to_owned()));
        readiness.set("storage", Err("connection refused".to_owned()));
        let not_ready = "grpc: starting\nstorage: connection refused\n".to_owned();
        assert_eq!(get(address, "GET /readyz").await, (503, not_ready));
        readiness.set("storage", Ok(()));
        readiness.set("grpc", Ok(()));
        assert_eq!(get(address, "GET /readyz").await, (200, "ok\n".to_owned()));
        let (status, body) = get(address, "GET /metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("pglens_test_total 1"), "{body}");
        assert_eq!(get(address, "GET /").await.0, 404);
        assert_eq!(get(address, "POST /livez").await.0, 405);

        shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), server).await;
        ended.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn nothing_declared_is_ready() {
        assert!(Readiness::default().is_ready());
        assert!(!Readiness::new(&["a"]).is_ready());
    }
}
