//! A collector of OpenTelemetry logs that counts what it gets, and the wait until it has everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A feed that is slower than this would never come to an end under load.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs in this process until it ends.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    received: Arc<AtomicUsize>,
}

struct Counter(Arc<AtomicUsize>);

#[tonic::async_trait]
impl LogsService for Counter {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resources = request.get_ref().resource_logs.iter();
        let scopes = resources.flat_map(|resource| &resource.scope_logs);
        let records: usize = scopes.map(|scope| scope.log_records.len()).sum();
        self.0.fetch_add(records, Ordering::Relaxed);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let received = Arc::new(AtomicUsize::new(0));
        let service = LogsServiceServer::new(Counter(Arc::clone(&received)));
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Ok(Self { endpoint, received })
    }

    /// Log records received so far.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until nothing is on the queue; returns how long that took.
    pub(crate) async fn drained(&self, storage: &tokio_postgres::Client) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let waiting = storage
                .query_one("select count(*) from feed_queue", &[])
                .await?;
            match waiting.try_get::<_, i64>(0)? {
                0 => return Ok(begun.elapsed()),
                waiting if begun.elapsed() > DRAIN_TIMEOUT => {
                    bail!("{waiting} entries of the feed still wait after {DRAIN_TIMEOUT:?}")
                }
                _ => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}
