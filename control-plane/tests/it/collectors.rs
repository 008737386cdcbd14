//! A collector of OpenTelemetry logs that remembers what it gets, and refuses what it is told to.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use parking_lot::Mutex;
use pglens_runtime::CertifiedKeyPem;
use pglens_testkit::{DEADLINE, eventually};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// How it answers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Mode {
    /// It takes everything.
    #[default]
    Take,
    /// It takes nothing for now.
    Unavailable(&'static str),
    /// It takes the request and says that it did not want so many records of it.
    RejectSome(i64),
    /// It refuses requests with a record of this text.
    RefuseText(&'static str),
    /// It refuses requests of more records.
    AtMost(usize),
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    requests: Vec<ExportLogsServiceRequest>,
    refused: usize,
    authorization: Vec<String>,
}

/// A running collector; it ends with the test.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _shutdown: DropGuard,
}

struct Service(Arc<Mutex<State>>);

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let mut state = self.0.lock();
        let authorization = request.metadata().get("authorization");
        state
            .authorization
            .extend(authorization.map(|value| value.to_str().unwrap().to_owned()));
        let request = request.into_inner();
        let records = records(&request);
        let mut partial = ExportLogsPartialSuccess::default();
        let refused = match state.mode {
            Mode::Take => None,
            Mode::Unavailable(words) => Some(Status::unavailable(words)),
            Mode::RejectSome(count) => {
                partial.rejected_log_records = count;
                partial.error_message = "too old".to_owned();
                None
            }
            Mode::RefuseText(text) => records
                .iter()
                .any(|record| record.text("db.query.text").contains(text))
                .then(|| Status::invalid_argument("not understood")),
            Mode::AtMost(count) => {
                (records.len() > count).then(|| Status::resource_exhausted("too large"))
            }
        };
        if let Some(status) = refused {
            state.refused += 1;
            return Err(status);
        }
        state.requests.push(request);
        Ok(Response::new(ExportLogsServiceResponse {
            partial_success: Some(partial),
        }))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), None).await
    }

    pub(crate) async fn start_at(address: SocketAddr, tls: Option<CertifiedKeyPem>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, shutdown) = (Arc::<Mutex<State>>::default(), CancellationToken::new());
        let mut server = Server::builder();
        if let Some(tls) = tls {
            let identity = Identity::from_pem(tls.certificate, tls.key.expose());
            let tls = ServerTlsConfig::new().identity(identity);
            server = server.tls_config(tls).unwrap();
        }
        let serving = server
            .add_service(LogsServiceServer::new(Service(Arc::clone(&state))))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                shutdown.clone().cancelled_owned(),
            );
        tokio::spawn(serving);
        Self {
            address,
            state,
            _shutdown: shutdown.drop_guard(),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answer(&self, mode: Mode) {
        self.state.lock().mode = mode;
    }

    pub(crate) fn requests(&self) -> Vec<ExportLogsServiceRequest> {
        self.state.lock().requests.clone()
    }

    /// Requests that it did not take.
    pub(crate) fn refused(&self) -> usize {
        self.state.lock().refused
    }

    /// What requests came with.
    pub(crate) fn authorization(&self) -> Vec<String> {
        self.state.lock().authorization.clone()
    }

    /// What it has taken.
    pub(crate) fn records(&self) -> Vec<LogRecord> {
        self.requests().iter().flat_map(records).collect()
    }

    pub(crate) fn named(&self, event_name: &str) -> Vec<LogRecord> {
        let mut records = self.records();
        records.retain(|record| record.event_name == event_name);
        records
    }

    /// The texts of the statements it has taken.
    pub(crate) fn texts(&self) -> Vec<String> {
        let statements = self.named("pglens.statement");
        statements
            .iter()
            .map(|record| record.text("db.query.text"))
            .collect()
    }

    /// Waits for so many records of a name, and returns them.
    pub(crate) async fn wait_for(&self, event_name: &str, count: usize) -> Vec<LogRecord> {
        eventually(DEADLINE, || async { self.named(event_name).len() >= count }).await;
        self.named(event_name)
    }

    /// Every record's id.
    pub(crate) fn uids(&self) -> Vec<String> {
        let records = self.records();
        records
            .iter()
            .map(|record| record.text("log.record.uid"))
            .collect()
    }
}

fn records(request: &ExportLogsServiceRequest) -> Vec<LogRecord> {
    let scopes = request
        .resource_logs
        .iter()
        .flat_map(|logs| &logs.scope_logs);
    scopes
        .flat_map(|logs| logs.log_records.iter().cloned())
        .collect()
}

/// Attributes as tests want them.
pub(crate) trait Attributed {
    fn pairs(&self) -> &[KeyValue];

    fn value(&self, key: &str) -> Option<Value> {
        let pair = self.pairs().iter().find(|pair| pair.key == key)?;
        pair.value.clone().and_then(|AnyValue { value }| value)
    }

    /// Empty: it is not there.
    fn text(&self, key: &str) -> String {
        match self.value(key) {
            Some(Value::StringValue(text)) => text,
            Some(other) => panic!("{key} is {other:?}"),
            None => String::new(),
        }
    }

    fn number(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::IntValue(number) => Some(number),
            other => panic!("{key} is {other:?}"),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::BoolValue(flag) => Some(flag),
            other => panic!("{key} is {other:?}"),
        }
    }
}

impl Attributed for LogRecord {
    fn pairs(&self) -> &[KeyValue] {
        &self.attributes
    }
}

impl Attributed for opentelemetry_proto::tonic::resource::v1::Resource {
    fn pairs(&self) -> &[KeyValue] {
        &self.attributes
    }
}
