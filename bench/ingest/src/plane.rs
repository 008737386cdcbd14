//! A control plane in a process of its own, with an administrator, a user, a database and a grant.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pglens_rpc::convert::timestamp;
use pglens_rpc::v1;
use pglens_rpc::v1::databases_client::DatabasesClient;
use pglens_rpc::v1::grants_client::GrantsClient;
use pglens_rpc::v1::users_client::UsersClient;
use pglens_runtime::Authority;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

const ADMIN_PASSWORD: &str = "benchmark-admin";
/// The user who logs in.
pub(crate) const USER: &str = "bench";
/// That user's password.
pub(crate) const PASSWORD: &str = "benchmark-user";
/// The database that is logged in to; nothing ever connects to its target.
pub(crate) const DATABASE: &str = "shop";

/// Migrations of an empty database take a second or two.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The process; it is killed when this is dropped.
pub(crate) struct Plane {
    child: Child,
    grpc_port: u16,
    authority: Authority,
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Plane {
    /// Starts `program` over the storage database of `dsn`, with its files in `folder`, and perhaps a feed to a collector.
    pub(crate) async fn start(
        program: &Path,
        dsn: &str,
        folder: &Path,
        feed_endpoint: Option<&str>,
    ) -> Result<Self> {
        let authority = Authority::new("PgLens benchmark")?;
        let server = authority.server(&["localhost"])?;
        let file = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let grpc_port = free_port()?;
        let child = Command::new(program)
            .arg("control-plane")
            .env("PGL_DSN", dsn)
            .env("PGL_KEY", STANDARD.encode([7; 32]))
            .env("PGL_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .env("PGL_API_ADDR", "127.0.0.1:0")
            .env("PGL_OPS_ADDR", "127.0.0.1:0")
            .env("PGL_GRPC_ADDR", format!("127.0.0.1:{grpc_port}"))
            .env(
                "PGL_GRPC_TLS_CERT",
                file("server.pem", &server.certificate)?,
            )
            .env("PGL_GRPC_TLS_KEY", file("server.key", server.key.expose())?)
            .env("PGL_GRPC_CLIENT_CA", file("ca.pem", authority.ca_pem())?)
            .env("PGL_LOG", "warn")
            .envs(feed_endpoint.map(|endpoint| ("PGL_FEED_ENDPOINT", endpoint)))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let mut plane = Self {
            child,
            grpc_port,
            authority,
        };
        plane.wait_until_ready().await?;
        plane.set_up().await?;
        Ok(plane)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.channel(None).await {
                Ok(_connected) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_not_yet) => tokio::time::sleep(POLL_INTERVAL).await,
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the control plane ended: {status}");
            }
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection with the certificate of proxy `name`, or with none.
    pub(crate) async fn channel(&self, name: Option<&str>) -> Result<Channel> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.authority.ca_pem()))
            .domain_name("localhost");
        if let Some(name) = name {
            let client = self.authority.client(name)?;
            tls = tls.identity(Identity::from_pem(client.certificate, client.key.expose()));
        }
        let url = format!("https://127.0.0.1:{}", self.grpc_port);
        Ok(Channel::from_shared(url)?
            .tls_config(tls)?
            .connect()
            .await?)
    }

    async fn set_up(&self) -> Result<()> {
        let channel = self.channel(None).await?;
        let user = v1::CreateUserRequest {
            username: USER.to_owned(),
            password: PASSWORD.to_owned(),
            ..Default::default()
        };
        let mut users = UsersClient::new(channel.clone());
        let user_id = users.create_user(as_admin(user)?).await?.into_inner().id;
        let database = v1::CreateDatabaseRequest {
            name: DATABASE.to_owned(),
            host: "target.invalid".to_owned(),
            database_name: "shop".to_owned(),
            username: "stored".to_owned(),
            password: "stored-password".to_owned(),
            ..Default::default()
        };
        let mut databases = DatabasesClient::new(channel.clone());
        let created = databases.create_database(as_admin(database)?).await?;
        let grant = v1::CreateGrantRequest {
            user_id,
            database_id: created.into_inner().id,
            access_level: v1::AccessLevel::Write.into(),
            expires_at: Some(timestamp(chrono::Utc::now() + chrono::Duration::hours(1))),
            ..Default::default()
        };
        let mut grants = GrantsClient::new(channel);
        grants.create_grant(as_admin(grant)?).await?;
        Ok(())
    }
}

fn as_admin<T>(message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    let credentials = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    let value = format!("Basic {credentials}").parse()?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}
