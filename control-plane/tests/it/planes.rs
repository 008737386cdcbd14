//! Control planes as processes would run them, with certificates of their own, and the administrator's client.

use std::sync::Arc;

use chrono::{Duration, Utc};
use pglens_control_plane::{Bound, Config, SETTINGS, run};
use pglens_rpc::convert::timestamp;
use pglens_rpc::v1;
use pglens_rpc::v1::databases_client::DatabasesClient;
use pglens_rpc::v1::grants_client::GrantsClient;
use pglens_rpc::v1::observability_client::ObservabilityClient;
use pglens_rpc::v1::users_client::UsersClient;
use pglens_runtime::{Authority, Settings};
use pglens_testkit::TestDatabase;
use reqwest::Method;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Request;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::support::{ADMIN_PASSWORD, basic, pairs};

/// What all planes of a test share.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) authority: Arc<Authority>,
    pub(crate) storage: TestDatabase,
}

/// A running control plane; it ends with the test.
pub(crate) struct Plane {
    pub(crate) bound: Bound,
    pub(crate) fleet: Fleet,
    _shutdown: DropGuard,
    _files: tempfile::TempDir,
}

impl Fleet {
    pub(crate) fn new(storage: TestDatabase) -> Self {
        Self {
            authority: Arc::new(Authority::new("test authority").unwrap()),
            storage,
        }
    }

    pub(crate) async fn start_plane(&self) -> Plane {
        self.start_plane_with(&[]).await
    }

    pub(crate) async fn start_plane_with(&self, others: &[(&'static str, &str)]) -> Plane {
        let files = tempfile::tempdir().unwrap();
        let mut pairs = pairs(&self.storage, &files, &self.authority);
        pairs.push(("PGL_LEASE_SECONDS", "15".to_owned()));
        pairs.retain(|(name, _)| !others.iter().any(|(other, _)| other == name));
        pairs.extend(
            others
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let settings = Settings::from_pairs(SETTINGS, pairs).unwrap();
        let config = Config::from_settings(&settings).unwrap();
        let shutdown = CancellationToken::new();
        let (sender, ready) = tokio::sync::oneshot::channel();
        let stopped = tokio::spawn(run(config, shutdown.clone(), sender));
        let bound = match ready.await {
            Ok(bound) => bound,
            Err(_) => panic!("the control plane did not start: {:?}", stopped.await),
        };
        Plane {
            bound,
            fleet: self.clone(),
            _shutdown: shutdown.drop_guard(),
            _files: files,
        }
    }
}

/// Adds the administrator's credentials to each call.
#[derive(Clone)]
pub(crate) struct AsAdmin;

impl Interceptor for AsAdmin {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        let value = basic("admin", ADMIN_PASSWORD).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

pub(crate) type AdminChannel = InterceptedService<Channel, AsAdmin>;

impl Plane {
    /// A connection with the certificate of `name`, or with none.
    pub(crate) async fn channel(&self, name: Option<&str>) -> Channel {
        let authority = &self.fleet.authority;
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority.ca_pem()))
            .domain_name("localhost");
        if let Some(name) = name {
            let client = authority.client(name).unwrap();
            tls = tls.identity(Identity::from_pem(client.certificate, client.key.expose()));
        }
        let url = format!("https://{}", self.bound.grpc);
        Channel::from_shared(url)
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn admin(&self) -> Admin {
        let channel = self.channel(None).await;
        Admin {
            users: UsersClient::with_interceptor(channel.clone(), AsAdmin),
            databases: DatabasesClient::with_interceptor(channel.clone(), AsAdmin),
            grants: GrantsClient::with_interceptor(channel.clone(), AsAdmin),
            observability: ObservabilityClient::with_interceptor(channel, AsAdmin),
        }
    }

    /// What the REST API answers to a GET by the administrator: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.rest(Method::GET, path, &basic("admin", ADMIN_PASSWORD))
            .await
    }

    /// What the REST API answers.
    pub(crate) async fn rest(
        &self,
        method: Method,
        path: &str,
        authorization: &str,
    ) -> (u16, Value) {
        let url = format!("http://{}{path}", self.bound.api);
        let request = reqwest::Client::new()
            .request(method, url)
            .header("authorization", authorization);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }
}

/// The administration API with the administrator's credentials.
pub(crate) struct Admin {
    pub(crate) users: UsersClient<AdminChannel>,
    pub(crate) databases: DatabasesClient<AdminChannel>,
    pub(crate) grants: GrantsClient<AdminChannel>,
    pub(crate) observability: ObservabilityClient<AdminChannel>,
}

impl Admin {
    pub(crate) async fn create_user(&mut self, username: &str, password: &str) -> i64 {
        let request = v1::CreateUserRequest {
            username: username.to_owned(),
            password: password.to_owned(),
            is_admin: false,
        };
        self.users
            .create_user(request)
            .await
            .unwrap()
            .into_inner()
            .id
    }

    pub(crate) async fn create_database(&mut self, name: &str) -> i64 {
        self.create_database_with(name, |_| {}).await
    }

    pub(crate) async fn create_database_with(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut v1::CreateDatabaseRequest),
    ) -> i64 {
        let mut request = v1::CreateDatabaseRequest {
            name: name.to_owned(),
            host: "db.example.com".to_owned(),
            database_name: "shop".to_owned(),
            username: "stored_login".to_owned(),
            password: "stored-login-password".to_owned(),
            ..Default::default()
        };
        change(&mut request);
        self.databases
            .create_database(request)
            .await
            .unwrap()
            .into_inner()
            .id
    }

    pub(crate) async fn create_grant(&mut self, grant: v1::CreateGrantRequest) -> i64 {
        self.grants
            .create_grant(grant)
            .await
            .unwrap()
            .into_inner()
            .id
    }

    pub(crate) async fn grant(&mut self, id: i64) -> v1::GrantInfo {
        self.grants
            .get_grant(v1::GetGrantRequest { id })
            .await
            .unwrap()
            .into_inner()
    }
}

impl Fleet {
    /// What the events of an action say, the oldest first.
    pub(crate) async fn events(&self, action: &str) -> Vec<serde_json::Value> {
        let client = self.storage.connect().await;
        let rows = client
            .query(
                "select after from audit_events where action = $1 order by id",
                &[&action],
            )
            .await
            .unwrap();
        rows.iter()
            .map(|row| row.get::<_, Option<_>>(0).unwrap_or_default())
            .collect()
    }

    /// The reasons of the refused logins, the oldest first.
    pub(crate) async fn refusals(&self) -> Vec<String> {
        let events = self.events("login.refused").await;
        events
            .iter()
            .map(|after| after["reason"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// One number.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.storage
            .connect()
            .await
            .query_one(sql, &[])
            .await
            .unwrap()
            .get(0)
    }
}

/// A read grant for an hour from now.
pub(crate) fn read_grant(user_id: i64, database_id: i64) -> v1::CreateGrantRequest {
    v1::CreateGrantRequest {
        user_id,
        database_id,
        access_level: v1::AccessLevel::Read.into(),
        expires_at: Some(timestamp(Utc::now() + Duration::hours(1))),
        ..Default::default()
    }
}
