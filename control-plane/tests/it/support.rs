//! A control plane for each test, and a small client of its REST API.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pglens_control_plane::{Bound, Config, RunError, SETTINGS, run};
use pglens_runtime::{Authority, Settings};
use pglens_testkit::{TestDatabase, TestPostgres};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The password of `admin` in tests.
pub(crate) const ADMIN_PASSWORD: &str = "correct horse";

/// A running control plane; it ends with the test.
pub(crate) struct Plane {
    pub(crate) bound: Bound,
    pub(crate) storage: TestDatabase,
    pub(crate) authority: Authority,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), RunError>>,
    http: reqwest::Client,
    _files: TempDir,
}

/// An answer of the REST API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// Settings of a control plane over `storage`, with fresh certificates in `files`.
pub(crate) fn pairs(
    storage: &TestDatabase,
    files: &TempDir,
    authority: &Authority,
) -> Vec<(&'static str, String)> {
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let server = authority.server(&["localhost", "127.0.0.1"]).unwrap();
    vec![
        ("PGL_DSN", storage.url.clone()),
        ("PGL_KEY", STANDARD.encode([7; 32])),
        ("PGL_API_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_GRPC_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_OPS_ADDR", "127.0.0.1:0".to_owned()),
        (
            "PGL_GRPC_TLS_CERT",
            write("server.pem", &server.certificate),
        ),
        ("PGL_GRPC_TLS_KEY", write("server.key", server.key.expose())),
        ("PGL_GRPC_CLIENT_CA", write("ca.pem", authority.ca_pem())),
        ("PGL_ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
        ("PGL_STORAGE_POOL_SIZE", "4".to_owned()),
    ]
}

impl Plane {
    /// Starts one over an empty storage database.
    pub(crate) async fn start() -> Self {
        Self::start_over(TestPostgres::shared().await.create_database().await, &[]).await
    }

    /// Starts one over `storage` with other settings on top.
    pub(crate) async fn start_over(storage: TestDatabase, others: &[(&'static str, &str)]) -> Self {
        let files = TempDir::new().unwrap();
        let authority = Authority::new("PgLens test").unwrap();
        let mut pairs = pairs(&storage, &files, &authority);
        pairs.retain(|(name, _)| !others.iter().any(|(other, _)| other == name));
        pairs.extend(
            others
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let settings = Settings::from_pairs(SETTINGS, pairs).unwrap();
        let config = Config::from_settings(&settings).unwrap();
        let shutdown = CancellationToken::new();
        let (ready, started) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(run(config, shutdown.clone(), ready));
        let bound = started.await.unwrap();
        let http = reqwest::Client::new();
        Self {
            bound,
            storage,
            authority,
            shutdown,
            running,
            http,
            _files: files,
        }
    }

    /// A request with credentials and a JSON body; `Value::Null` is none.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        authorization: &str,
        body: Value,
    ) -> Answer {
        let mut request = self.http.request(method, url(self.bound.api, path));
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        answer(request.send().await.unwrap()).await
    }

    /// A request by the administrator.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        self.send(method, path, &basic("admin", ADMIN_PASSWORD), body)
            .await
    }

    /// A GET by the administrator that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.admin(Method::GET, path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// A POST by the administrator that must create something.
    pub(crate) async fn create(&self, path: &str, body: Value) -> Value {
        let answer = self.admin(Method::POST, path, body).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.body);
        answer.body
    }

    /// Creates a user whose password is its name and " secret"; returns its id and credentials.
    pub(crate) async fn user(&self, name: &str) -> (i64, String) {
        let password = format!("{name} secret");
        let user = self
            .create(
                "/api/users",
                json!({ "username": name, "password": password }),
            )
            .await;
        (user["id"].as_i64().unwrap(), basic(name, &password))
    }

    /// Creates a database that nobody can reach; returns its id.
    pub(crate) async fn database(&self, name: &str) -> i64 {
        let database = json!({
            "name": name, "description": "a test", "host": "db.invalid", "port": 5432, "database_name": "app",
            "username": "stored", "password": "hunter2", "ssl_mode": "prefer",
        });
        self.create("/api/databases", database).await["id"]
            .as_i64()
            .unwrap()
    }

    /// Creates a read grant for an hour; returns its id.
    pub(crate) async fn grant(&self, user_id: i64, database_id: i64) -> i64 {
        let grant = json!({
            "user_id": user_id, "database_id": database_id, "access_level": "read",
            "starts_at": "2020-01-01T00:00:00Z", "expires_at": "2090-01-01T00:00:00Z",
        });
        self.create("/api/grants", grant).await["id"]
            .as_i64()
            .unwrap()
    }

    /// An operations request; the answer is text.
    pub(crate) async fn operations(&self, path: &str) -> (u16, String) {
        let answer = self
            .http
            .get(url(self.bound.operations, path))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The newest audit event of an action.
    pub(crate) async fn last_event(&self, action: &str) -> Value {
        let events = self
            .get(&format!("/api/audit?action={action}&limit=1"))
            .await;
        assert_eq!(
            events["events"].as_array().unwrap().len(),
            1,
            "no event of {action}"
        );
        events["events"][0].clone()
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

async fn answer(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

/// An `Authorization` header of name and password.
pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// An `Authorization` header of a token.
pub(crate) fn bearer(token: &Value) -> String {
    format!("Bearer {}", token.as_str().unwrap())
}

impl Answer {
    /// Checks an error's status, code and field.
    pub(crate) fn is_error(&self, status: u16, code: &str, field: Option<&str>) {
        assert_eq!(
            (self.status, &self.body["code"]),
            (status, &json!(code)),
            "{}",
            self.body
        );
        assert!(self.body["error"].is_string(), "{}", self.body);
        if let Some(field) = field {
            assert_eq!(self.body["details"]["field"], field, "{}", self.body);
        }
    }
}
