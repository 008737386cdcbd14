//! A control plane that lets in whom the test says, keeps what it is sent, and says what the test tells it to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use pglens_rpc::v1;
use pglens_rpc::v1::access_server::{Access, AccessServer};
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::events_server::{Events, EventsServer};
use pglens_rpc::v1::fleet_server::{Fleet, FleetServer};
use pglens_rpc::v1::login_request::Step as Request;
use pglens_rpc::v1::login_response::Step as Response;
use pglens_rpc::v1::proxy_message::Message as Up;
use pglens_rpc::v1::publish_request::Message as Publish;
use pglens_rpc::v1::record::Event;
use pglens_runtime::Authority;
use pglens_testkit::{DEADLINE, TestDatabase, eventually};
use pglens_wire::scram::{ChannelBinding, ScramVerifier, ServerExchange};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Status, Streaming};
use uuid::Uuid;

/// The password of every user the fake knows.
pub const PASSWORD: &str = "correct horse";

/// What the fake answers to a right password.
#[derive(Debug, Clone)]
pub struct Terms {
    pub grant: v1::Grant,
    pub limits: v1::Limits,
    pub target: v1::Target,
    pub quota: v1::QuotaSlice,
    pub lease_ms: u64,
    /// What further requests for quota get; what is left after each is what is there.
    pub more_queries: u64,
    pub more_bytes: u64,
}

/// One statement as it was recorded.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    pub started: v1::StatementStarted,
    pub ended: Option<v1::StatementEnded>,
    pub chunks: Vec<v1::RowsCaptured>,
}

impl Statement {
    pub fn end(&self) -> &v1::StatementEnded {
        self.ended.as_ref().unwrap()
    }

    pub fn rows(&self) -> Vec<u8> {
        self.chunks.iter().flat_map(|chunk| chunk.data.clone()).collect()
    }
}

#[derive(Debug, Default)]
pub struct State {
    pub terms: Option<Terms>,
    pub deny: Option<v1::Deny>,
    pub records: Vec<v1::Record>,
    pub committed: HashMap<Vec<u8>, u64>,
    pub hellos: Vec<v1::Hello>,
    pub starts: Vec<v1::LoginStart>,
    pub sessions: Vec<Vec<u8>>,
    pub quota_requests: Vec<v1::QuotaRequest>,
    down: Vec<mpsc::Sender<Result<v1::ControlMessage, Status>>>,
}

/// The fake, its address and the certificates it trusts.
pub struct FakeControlPlane {
    pub url: String,
    pub folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    /// While false, batches are not acknowledged and heartbeats not answered.
    pub answers: watch::Sender<bool>,
    /// The connections live in it, and end with it.
    server: Mutex<Option<Runtime>>,
}

impl FakeControlPlane {
    pub async fn start(database: &TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("PgLens test").unwrap();
        let server = authority.server(&["127.0.0.1", "localhost"]).unwrap();
        let client = authority.client("proxy-1").unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", authority.ca_pem());
        write("proxy.pem", &client.certificate);
        write("proxy.key", client.key.expose());
        write("server.pem", &server.certificate);
        write("server.key", server.key.expose());

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            terms: Some(terms(database)),
            ..State::default()
        }));
        let answers = watch::Sender::new(true);
        let service = Service {
            state: Arc::clone(&state),
            answers: answers.subscribe(),
        };
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&server.certificate, server.key.expose()))
            .client_ca_root(Certificate::from_pem(authority.ca_pem()));
        let serving = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(AccessServer::new(service.clone()))
            .add_service(FleetServer::new(service.clone()))
            .add_service(EventsServer::new(service).max_decoding_message_size(8 * 1024 * 1024));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
            serving.await.unwrap();
        });
        Self {
            url: format!("https://{address}"),
            folder,
            state,
            answers,
            server: Mutex::new(Some(runtime)),
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes what the next login gets.
    pub fn terms(&self, change: impl FnOnce(&mut Terms)) {
        change(self.state().terms.as_mut().unwrap());
    }

    /// As if the process were gone: connections break, and new ones are refused.
    pub fn stop(&self) {
        if let Some(runtime) = self.server.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }

    pub async fn attached(&self) {
        eventually(DEADLINE, || async { !self.state().hellos.is_empty() }).await;
    }

    /// Says something to every attached proxy.
    pub async fn say(&self, message: Down) {
        let down = self.state().down.clone();
        for sender in down {
            let message = v1::ControlMessage {
                message: Some(message.clone()),
            };
            let _detached = sender.send(Ok(message)).await;
        }
    }

    pub async fn terminate(&self, reason: v1::TerminateReason) {
        let session_ids = self.state().sessions.clone();
        self.say(Down::Terminate(v1::Terminate {
            session_ids,
            reason: reason.into(),
            message: "the grant was revoked".to_owned(),
            detail: "It was revoked by admin.".to_owned(),
            hint: "Ask for another grant.".to_owned(),
        }))
        .await;
    }

    /// The statements recorded so far.
    pub fn statements(&self) -> Vec<Statement> {
        let mut statements: Vec<Statement> = Vec::new();
        for record in self.state().records.clone() {
            let find = |statements: &mut Vec<Statement>, id: &[u8]| {
                statements.iter().position(|s| s.started.query_id == id).unwrap()
            };
            match record.event.unwrap() {
                Event::StatementStarted(started) => statements.push(Statement {
                    started,
                    ..Statement::default()
                }),
                Event::RowsCaptured(chunk) => {
                    let index = find(&mut statements, &chunk.query_id);
                    statements[index].chunks.push(chunk);
                }
                Event::StatementEnded(ended) => {
                    let index = find(&mut statements, &ended.query_id);
                    let before = statements[index].ended.replace(ended);
                    assert!(before.is_none(), "a statement ended twice");
                }
                Event::SessionEnded(_) => {}
            }
        }
        statements
    }

    /// Waits for `count` statements that have ended, and checks that there are no more.
    pub async fn ended_statements(&self, count: usize) -> Vec<Statement> {
        let ended = || self.statements().into_iter().filter(|s| s.ended.is_some()).count();
        eventually(DEADLINE, || async { ended() >= count }).await;
        let statements = self.statements();
        let texts: Vec<_> = statements.iter().map(|s| s.started.sql.clone()).collect();
        assert_eq!(statements.len(), count, "{texts:?}");
        statements
    }

    pub async fn ended_session(&self) -> v1::SessionEnded {
        let find = || {
            let state = self.state();
            let mut records = state.records.iter();
            records.find_map(|record| match &record.event {
                Some(Event::SessionEnded(ended)) => Some(ended.clone()),
                _ => None,
            })
        };
        eventually(DEADLINE, || async { find().is_some() }).await;
        find().unwrap()
    }
}

impl Drop for FakeControlPlane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn terms(database: &TestDatabase) -> Terms {
    Terms {
        grant: v1::Grant {
            id: 3,
            access_level: v1::AccessLevel::Write.into(),
            expires_in_ms: 3_600_000,
            audit_level: v1::AuditLevel::Spooled.into(),
            ..Default::default()
        },
        limits: v1::Limits {
            capture_rows: true,
            capture_max_rows: 100_000,
            capture_max_bytes: 64 * 1024 * 1024,
        },
        target: v1::Target {
            host: database.host.clone(),
            port: u32::from(database.port),
            database_name: database.name.clone(),
            username: database.user.clone(),
            password: database.password.clone(),
            ssl_mode: v1::SslMode::Disable.into(),
            ssl_root_cert: String::new(),
        },
        quota: v1::QuotaSlice::default(),
        lease_ms: 60_000,
        more_queries: 0,
        more_bytes: 0,
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    answers: watch::Receiver<bool>,
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Access for Service {
    type LoginStream = Boxed<v1::LoginResponse>;

    async fn login(
        &self,
        request: tonic::Request<Streaming<v1::LoginRequest>>,
    ) -> Result<tonic::Response<Self::LoginStream>, Status> {
        let (sender, receiver) = mpsc::channel(4);
        let service = self.clone();
        tokio::spawn(async move {
            let answer = |step| Ok(v1::LoginResponse { step: Some(step) });
            let mut requests = request.into_inner();
            let decision = service.decide(&mut requests, &sender).await;
            let _gone = sender.send(answer(decision)).await;
        });
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Service {
    async fn decide(
        &self,
        requests: &mut Streaming<v1::LoginRequest>,
        answers: &mpsc::Sender<Result<v1::LoginResponse, Status>>,
    ) -> Response {
        let wrong = || {
            Response::Deny(v1::Deny {
                code: "authentication_failed".to_owned(),
                message: "password authentication failed".to_owned(),
                ..Default::default()
            })
        };
        let say = async |step| {
            let _gone = answers.send(Ok(v1::LoginResponse { step: Some(step) })).await;
        };
        let Some(Request::Start(start)) = next(requests).await else {
            return wrong();
        };
        self.state.lock().unwrap().starts.push(start.clone());
        let mut sasl_final = Vec::new();
        if start.method() == v1::AuthMethod::Password {
            say(Response::Authenticate(v1::Authenticate::default())).await;
            match next(requests).await {
                Some(Request::Password(given)) if given.password == PASSWORD.as_bytes() => {}
                _ => return wrong(),
            }
        } else {
            let binding = start.tls.clone().map(|tls| tls.server_end_point);
            let binding = binding.filter(|hash| !hash.is_empty());
            let mut sasl_mechanisms = vec!["SCRAM-SHA-256".to_owned()];
            if binding.is_some() {
                sasl_mechanisms.insert(0, "SCRAM-SHA-256-PLUS".to_owned());
            }
            say(Response::Authenticate(v1::Authenticate { sasl_mechanisms })).await;
            let verifier = ScramVerifier::derive(PASSWORD, b"salt".to_vec(), 4096);
            let binding = binding.map(ChannelBinding::tls_server_end_point);
            let exchange = ServerExchange::start(verifier, binding);
            let Some(Request::SaslInitial(first)) = next(requests).await else {
                return wrong();
            };
            let Ok((exchange, data)) = exchange.client_first(&first.mechanism, &first.data) else {
                return wrong();
            };
            say(Response::SaslContinue(v1::SaslContinue { data })).await;
            let Some(Request::SaslResponse(last)) = next(requests).await else {
                return wrong();
            };
            match exchange.client_final(&last.data) {
                Ok(proven) => sasl_final = proven.server_final,
                Err(_) => return wrong(),
            }
        }
        let mut state = self.state.lock().unwrap();
        if let Some(deny) = state.deny.clone() {
            return Response::Deny(deny);
        }
        let terms = state.terms.clone().unwrap();
        let session_id = Uuid::now_v7().as_bytes().to_vec();
        state.sessions.push(session_id.clone());
        Response::Allow(v1::Allow {
            sasl_final,
            session_id,
            user_id: 1,
            database_id: 2,
            grant: Some(terms.grant),
            limits: Some(terms.limits),
            target: Some(terms.target),
            quota: Some(terms.quota),
            lease_ms: terms.lease_ms,
        })
    }
}

async fn next(requests: &mut Streaming<v1::LoginRequest>) -> Option<Request> {
    requests.message().await.ok()??.step
}

#[tonic::async_trait]
impl Fleet for Service {
    type AttachStream = Boxed<v1::ControlMessage>;

    async fn attach(
        &self,
        request: tonic::Request<Streaming<v1::ProxyMessage>>,
    ) -> Result<tonic::Response<Self::AttachStream>, Status> {
        let (down, receiver) = mpsc::channel(64);
        let service = self.clone();
        tokio::spawn(async move {
            let mut up = request.into_inner();
            while let Some(Ok(message)) = up.next().await {
                if let Some(message) = service.attached(message.message.unwrap(), &down)
                    && *service.answers.borrow()
                {
                    let message = v1::ControlMessage {
                        message: Some(message),
                    };
                    let _gone = down.send(Ok(message)).await;
                }
            }
        });
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Service {
    fn attached(
        &self,
        message: Up,
        down: &mpsc::Sender<Result<v1::ControlMessage, Status>>,
    ) -> Option<Down> {
        let mut state = self.state.lock().unwrap();
        match message {
            Up::Hello(hello) => {
                state.hellos.push(hello);
                state.down.push(down.clone());
                Some(Down::Welcome(v1::Welcome {
                    heartbeat_interval_ms: 200,
                    lease_ms: 1000,
                    record_key: vec![0; 32],
                    proxy_name: "proxy-1".to_owned(),
                }))
            }
            Up::Heartbeat(_) => Some(Down::LeaseExtension(v1::LeaseExtension {
                lease_ms: 1000,
                server_time_unix_us: 0,
            })),
            Up::QuotaRequest(request) => {
                state.quota_requests.push(request.clone());
                let terms = state.terms.as_mut()?;
                let queries = request.queries.min(terms.more_queries);
                let bytes = request.bytes.min(terms.more_bytes);
                terms.more_queries -= queries;
                terms.more_bytes -= bytes;
                Some(Down::QuotaSlice(v1::QuotaSlice {
                    request_id: request.request_id,
                    session_id: request.session_id,
                    queries: Some(queries),
                    bytes: Some(bytes),
                    queries_spent: terms.more_queries == 0,
                    bytes_spent: terms.more_bytes == 0,
                }))
            }
        }
    }
}

#[tonic::async_trait]
impl Events for Service {
    type PublishStream = Boxed<v1::PublishResponse>;

    async fn publish(
        &self,
        request: tonic::Request<Streaming<v1::PublishRequest>>,
    ) -> Result<tonic::Response<Self::PublishStream>, Status> {
        let (sender, receiver) = mpsc::channel(4);
        let service = self.clone();
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            let mut run = Vec::new();
            while let Some(Ok(request)) = requests.next().await {
                let mut answers = service.answers.clone();
                let _closed = answers.wait_for(|answers| *answers).await.is_err();
                let committed = match request.message.unwrap() {
                    Publish::Hello(hello) => {
                        run = hello.run_id;
                        let state = service.state.lock().unwrap();
                        state.committed.get(&run).copied().unwrap_or(0)
                    }
                    Publish::Batch(batch) => service.commit(&run, batch),
                };
                let answer = v1::PublishResponse {
                    committed_sequence: committed,
                };
                let _gone = sender.send(Ok(answer)).await;
            }
        });
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Service {
    fn commit(&self, run: &[u8], batch: v1::RecordBatch) -> u64 {
        let mut state = self.state.lock().unwrap();
        let before = state.committed.get(run).copied().unwrap_or(0);
        assert!(batch.first_sequence <= before + 1, "records are missing");
        let known = usize::try_from(before + 1 - batch.first_sequence).unwrap();
        state.records.extend(batch.records.into_iter().skip(known));
        let committed = before.max(batch.last_sequence);
        state.committed.insert(run.to_vec(), committed);
        committed
    }
}
