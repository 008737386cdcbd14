//! A control plane that lets in whom the test says, keeps what it is sent, and says what the test tells it to.

mod service;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use pglens_rpc::v1;
use pglens_rpc::v1::access_server::AccessServer;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::events_server::EventsServer;
use pglens_rpc::v1::fleet_server::FleetServer;
use pglens_rpc::v1::record::Event;
use pglens_runtime::Authority;
use pglens_testkit::{DEADLINE, TestDatabase, eventually};
use service::Service;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// The password of every user the fake knows.
pub(crate) const PASSWORD: &str = "correct horse";

/// What the fake answers to a right password.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) grant: v1::Grant,
    pub(crate) limits: v1::Limits,
    pub(crate) target: v1::Target,
    pub(crate) quota: v1::QuotaSlice,
    pub(crate) lease_ms: u64,
    /// What there is for one session beyond its first slice.
    pub(crate) more_queries: u64,
    pub(crate) more_bytes: u64,
}

/// One statement as it was recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    pub(crate) started: v1::StatementStarted,
    pub(crate) ended: Option<v1::StatementEnded>,
    pub(crate) chunks: Vec<v1::RowsCaptured>,
}

impl Statement {
    pub(crate) fn end(&self) -> &v1::StatementEnded {
        self.ended.as_ref().unwrap()
    }

    pub(crate) fn rows(&self) -> Vec<u8> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.data.clone())
            .collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) terms: Option<Terms>,
    pub(crate) deny: Option<v1::Deny>,
    pub(crate) records: Vec<v1::Record>,
    pub(crate) committed: HashMap<Vec<u8>, u64>,
    /// The texts of statements, and when their start was committed.
    pub(crate) committed_starts: HashMap<String, SystemTime>,
    /// Batches are durable if somebody waits for them, and not stored.
    pub(crate) only_journals: bool,
    /// It is of a version that knows no brief records.
    pub(crate) knows_no_brief_records: bool,
    /// Last sequence of the newest batch, committed or not.
    pub(crate) received: u64,
    pub(crate) hellos: Vec<v1::Hello>,
    pub(crate) heartbeats: Vec<v1::Heartbeat>,
    pub(crate) starts: Vec<v1::LoginStart>,
    pub(crate) sessions: Vec<Vec<u8>>,
    pub(crate) quota_requests: Vec<v1::QuotaRequest>,
    /// Runs whose key was asked for, and those that were said to be done.
    pub(crate) recovered: Vec<Vec<u8>>,
    pub(crate) recoveries: Vec<v1::FinishRecoveryRequest>,
    /// How often it still answers as one that knows nothing of recoveries.
    pub(crate) too_old: u32,
    pub(crate) quota_reports: Vec<v1::QuotaReport>,
    /// Sessions that were terminated and have ended.
    pub(crate) ended: Vec<Vec<u8>>,
    pub(crate) cancels: Vec<v1::ForwardCancelRequest>,
    down: Vec<mpsc::Sender<Result<v1::ControlMessage, Status>>>,
}

/// The fake, its address and the certificates it trusts.
pub(crate) struct FakeControlPlane {
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    /// While false, batches are not acknowledged, heartbeats and cancel requests not answered.
    pub(crate) answers: watch::Sender<bool>,
    /// The connections live in it, and end with it.
    server: Mutex<Option<Runtime>>,
}

impl FakeControlPlane {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("PgLens test").unwrap();
        let server = authority.server(&["127.0.0.1", "localhost"]).unwrap();
        let client = authority.client("proxy-1").unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
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

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes what the next login gets.
    pub(crate) fn terms(&self, change: impl FnOnce(&mut Terms)) {
        change(self.state().terms.as_mut().unwrap());
    }

    /// As if the process were gone: connections break, and new ones are refused.
    pub(crate) fn stop(&self) {
        if let Some(runtime) = self.server.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) async fn attached(&self) {
        eventually(DEADLINE, || async { !self.state().hellos.is_empty() }).await;
    }

    /// Says something to every attached proxy.
    pub(crate) async fn say(&self, message: Down) {
        let down = self.state().down.clone();
        for sender in down {
            let message = v1::ControlMessage {
                message: Some(message.clone()),
            };
            let _detached = sender.send(Ok(message)).await;
        }
    }

    pub(crate) async fn terminate(&self, reason: v1::TerminateReason) {
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
    pub(crate) fn statements(&self) -> Vec<Statement> {
        let mut statements: Vec<Statement> = Vec::new();
        for record in self.state().records.clone() {
            let find = |statements: &mut Vec<Statement>, id: &[u8]| {
                statements
                    .iter()
                    .position(|s| s.started.query_id == id)
                    .unwrap()
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
                brief => panic!("nobody asked for it: {brief:?}"),
            }
        }
        statements
    }

    /// Waits for `count` statements that have ended, and checks that there are no more.
    pub(crate) async fn ended_statements(&self, count: usize) -> Vec<Statement> {
        let ended = || {
            self.statements()
                .into_iter()
                .filter(|s| s.ended.is_some())
                .count()
        };
        eventually(DEADLINE, || async { ended() >= count }).await;
        let statements = self.statements();
        let texts: Vec<_> = statements.iter().map(|s| s.started.sql.clone()).collect();
        assert_eq!(statements.len(), count, "{texts:?}");
        statements
    }

    pub(crate) async fn ended_session(&self) -> v1::SessionEnded {
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
            allowed_functions: Vec::new(),
        },
        quota: v1::QuotaSlice::default(),
        lease_ms: 60_000,
        more_queries: 0,
        more_bytes: 0,
    }
}
