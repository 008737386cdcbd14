//! A data plane's side of the contract, without a data plane.

use pglens_rpc::v1;
use pglens_rpc::v1::access_client::AccessClient;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::events_client::EventsClient;
use pglens_rpc::v1::fleet_client::FleetClient;
use pglens_rpc::v1::login_request::Step as Ask;
use pglens_rpc::v1::login_response::Step as Answer;
use pglens_rpc::v1::proxy_message::Message as Up;
use pglens_rpc::v1::publish_request::Message as Publish;
use pglens_wire::scram::{ChannelBinding, ClientExchange};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::planes::Plane;
use crate::streams::{Attachment, Publisher, next_down, send_up, within_deadline};

const QUEUE: usize = 64;

/// Of what every client here is told to cancel with.
pub(crate) const CANCEL_KEY_DIGEST: [u8; 32] = [7; 32];

/// A proxy with a run of its own.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) run_id: Uuid,
    pub(crate) channel: Channel,
}

/// What a client asks for.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    pub(crate) method: v1::AuthMethod,
    pub(crate) tls: Option<v1::ClientTls>,
}

impl Client {
    pub(crate) fn new(user: &str, password: &str, database: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            database: database.to_owned(),
            method: v1::AuthMethod::ScramSha256,
            tls: None,
        }
    }

    pub(crate) fn tls(self, server_end_point: &[u8]) -> Self {
        let tls = v1::ClientTls {
            version: "TLSv1.3".to_owned(),
            cipher_suite: "TLS13_AES_256_GCM_SHA384".to_owned(),
            server_end_point: server_end_point.to_vec(),
        };
        Self {
            tls: Some(tls),
            ..self
        }
    }

    pub(crate) fn password_in_clear(self) -> Self {
        Self {
            method: v1::AuthMethod::Password,
            ..self
        }
    }
}

impl Proxy {
    pub(crate) async fn new(plane: &Plane, name: &str) -> Self {
        Self {
            run_id: Uuid::now_v7(),
            channel: plane.channel(Some(name)).await,
        }
    }

    /// The same run, over another control plane.
    pub(crate) async fn over(&self, plane: &Plane, name: &str) -> Self {
        Self {
            run_id: self.run_id,
            channel: plane.channel(Some(name)).await,
        }
    }

    pub(crate) async fn attach(&self) -> Attachment {
        self.try_attach(&[]).await.unwrap()
    }

    pub(crate) async fn try_attach(&self, held: &[&[u8]]) -> Result<Attachment, Status> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let hello = v1::Hello {
            run_id: self.run_id.as_bytes().to_vec(),
            version: "0.1.0".to_owned(),
            hostname: "host-1".to_owned(),
            started_at_unix_us: chrono::Utc::now().timestamp_micros(),
            session_ids: held.iter().map(|id| id.to_vec()).collect(),
        };
        send_up(&sender, Up::Hello(hello)).await;
        let mut fleet = FleetClient::new(self.channel.clone());
        let mut inbound = fleet
            .attach(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let Down::Welcome(welcome) = next_down(&mut inbound).await? else {
            panic!("no welcome");
        };
        Ok(Attachment {
            sender,
            inbound,
            welcome,
            told: std::collections::HashSet::new(),
        })
    }

    /// Logs in as a client would; the steps that the control plane took are counted.
    pub(crate) async fn login(&self, client: &Client) -> Login {
        let mut login = self.start_login(client).await;
        login.finish(client).await
    }

    pub(crate) async fn start_login(&self, client: &Client) -> LoginStream {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let start = v1::LoginStart {
            run_id: self.run_id.as_bytes().to_vec(),
            user: client.user.clone(),
            database: client.database.clone(),
            client_address: "192.0.2.7:51234".to_owned(),
            tls: client.tls.clone(),
            application_name: "psql".to_owned(),
            method: client.method.into(),
            protocol_minor: 0,
            cancel_key_digest: CANCEL_KEY_DIGEST.to_vec(),
        };
        sender
            .send(v1::LoginRequest {
                step: Some(Ask::Start(start)),
            })
            .await
            .unwrap();
        let mut access = AccessClient::new(self.channel.clone());
        let inbound = access.login(ReceiverStream::new(receiver)).await;
        LoginStream {
            sender,
            inbound: inbound.map(tonic::Response::into_inner),
            steps: 0,
        }
    }

    pub(crate) async fn allowed(&self, client: &Client) -> v1::Allow {
        match self.login(client).await {
            Login::Allowed(allow) => *allow,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn denied(&self, client: &Client) -> v1::Deny {
        match self.login(client).await {
            Login::Denied { deny, .. } => deny,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn publish(&self) -> Result<Publisher, Status> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let hello = v1::PublishHello {
            run_id: self.run_id.as_bytes().to_vec(),
        };
        sender
            .send(v1::PublishRequest {
                message: Some(Publish::Hello(hello)),
            })
            .await
            .unwrap();
        let mut events = EventsClient::new(self.channel.clone());
        let inbound = events
            .publish(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let mut publisher = Publisher {
            sender,
            inbound,
            committed: 0,
        };
        publisher.committed = publisher.next().await?;
        Ok(publisher)
    }
}

/// How a login ended.
#[derive(Debug)]
pub(crate) enum Login {
    Allowed(Box<v1::Allow>),
    Denied { deny: v1::Deny, steps: u32 },
    Broken(Status),
}

pub(crate) struct LoginStream {
    pub(crate) sender: mpsc::Sender<v1::LoginRequest>,
    inbound: Result<Streaming<v1::LoginResponse>, Status>,
    pub(crate) steps: u32,
}

impl LoginStream {
    pub(crate) async fn next(&mut self) -> Result<Answer, Status> {
        let inbound = self.inbound.as_mut().map_err(|status| status.clone())?;
        let message = within_deadline(inbound.message()).await?;
        self.steps += 1;
        Ok(message
            .expect("the stream ended without a decision")
            .step
            .unwrap())
    }

    pub(crate) async fn send(&self, step: Ask) {
        self.sender
            .send(v1::LoginRequest { step: Some(step) })
            .await
            .unwrap();
    }

    pub(crate) async fn finish(&mut self, client: &Client) -> Login {
        match self.converse(client).await {
            Ok(Answer::Allow(allow)) => Login::Allowed(Box::new(allow)),
            Ok(Answer::Deny(deny)) => Login::Denied {
                deny,
                steps: self.steps,
            },
            Ok(other) => panic!("{other:?}"),
            Err(status) => Login::Broken(status),
        }
    }

    async fn converse(&mut self, client: &Client) -> Result<Answer, Status> {
        let authenticate = match self.next().await? {
            Answer::Authenticate(authenticate) => authenticate,
            other => return Ok(other),
        };
        if authenticate.sasl_mechanisms.is_empty() {
            let password = client.password.clone().into_bytes();
            self.send(Ask::Password(v1::PasswordResponse { password }))
                .await;
            return self.next().await;
        }
        let binding = client
            .tls
            .as_ref()
            .map(|tls| ChannelBinding::tls_server_end_point(tls.server_end_point.clone()));
        let offered = authenticate.sasl_mechanisms.iter().map(String::as_str);
        let (exchange, initial) =
            ClientExchange::start(offered, &client.password, binding.as_ref()).unwrap();
        let mechanism = initial.mechanism.as_str().to_owned();
        self.send(Ask::SaslInitial(v1::SaslInitialResponse {
            mechanism,
            data: initial.data,
        }))
        .await;
        let challenge = match self.next().await? {
            Answer::SaslContinue(challenge) => challenge,
            other => return Ok(other),
        };
        let (exchange, data) = exchange.server_first(&challenge.data).unwrap();
        self.send(Ask::SaslResponse(v1::SaslResponse { data }))
            .await;
        let decision = self.next().await?;
        if let Answer::Allow(allow) = &decision {
            exchange.server_final(&allow.sasl_final).unwrap();
        }
        Ok(decision)
    }
}
