//! A data plane's side of the contract: attach, log sessions in, publish as fast as batches are acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pglens_rpc::v1;
use pglens_rpc::v1::access_client::AccessClient;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::events_client::EventsClient;
use pglens_rpc::v1::fleet_client::FleetClient;
use pglens_rpc::v1::login_request::Step as Ask;
use pglens_rpc::v1::login_response::Step as Answer;
use pglens_rpc::v1::proxy_message::Message as Up;
use pglens_rpc::v1::publish_request::Message as Publish;
use pglens_wire::scram::ClientExchange;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::plane::{DATABASE, PASSWORD, Plane, USER};
use crate::records::Maker;

const QUEUE: usize = 8;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// How records are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) sessions: usize,
    pub(crate) batch_records: usize,
    pub(crate) in_flight: usize,
}

/// What was stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    pub(crate) statements: u64,
    pub(crate) records: u64,
    pub(crate) acknowledge: Vec<Duration>,
}

/// A run of a proxy with its sessions.
pub(crate) struct Proxy {
    run_id: Vec<u8>,
    channel: Channel,
    maker: Maker,
    pace: Pace,
    attached: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.attached.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(plane: &Plane, name: &str, pace: Pace) -> Result<Self> {
        let channel = plane.channel(Some(name)).await?;
        let run_id = Uuid::now_v7().as_bytes().to_vec();
        let attached = attach(channel.clone(), run_id.clone()).await?;
        let mut sessions = Vec::new();
        for _ in 0..pace.sessions {
            sessions.push(log_in(channel.clone(), run_id.clone()).await?);
        }
        Ok(Self {
            run_id,
            channel: plane.channel(Some(name)).await?,
            maker: Maker::new(sessions),
            pace,
            attached,
        })
    }

    /// Publishes until `end`, then waits for what is under way.
    pub(crate) async fn publish(mut self, end: Instant) -> Result<Published> {
        let (sender, receiver) = mpsc::channel(self.pace.in_flight + 1);
        let hello = v1::PublishHello {
            run_id: self.run_id.clone(),
        };
        sender.send(request(Publish::Hello(hello))).await?;
        let mut client = EventsClient::new(self.channel.clone());
        let stream = client.publish(ReceiverStream::new(receiver)).await?;
        let mut answers = stream.into_inner();
        let mut sequence = acknowledged(&mut answers).await?;
        let mut under_way: VecDeque<(u64, Instant)> = VecDeque::new();
        let mut published = Published::default();
        loop {
            while under_way.len() < self.pace.in_flight && Instant::now() < end {
                let (batch, statements) = self.batch(sequence);
                sequence = batch.last_sequence;
                published.records += batch.records.len() as u64;
                published.statements += statements;
                under_way.push_back((sequence, Instant::now()));
                sender.send(request(Publish::Batch(batch))).await?;
            }
            if under_way.is_empty() {
                return Ok(published);
            }
            let committed = acknowledged(&mut answers).await?;
            while let Some((last, sent)) = under_way.front().copied() {
                if last > committed {
                    break;
                }
                published.acknowledge.push(sent.elapsed());
                under_way.pop_front();
            }
        }
    }

    fn batch(&mut self, behind: u64) -> (v1::RecordBatch, u64) {
        let mut records = Vec::with_capacity(self.pace.batch_records + 8);
        let mut statements = 0;
        while records.len() < self.pace.batch_records {
            self.maker.statement(&mut records);
            statements += 1;
        }
        (v1::RecordBatch::new(behind + 1, &records), statements)
    }
}

fn request(message: Publish) -> v1::PublishRequest {
    v1::PublishRequest {
        message: Some(message),
    }
}

async fn acknowledged(answers: &mut Streaming<v1::PublishResponse>) -> Result<u64> {
    let answer = answers.message().await?;
    let answer = answer.context("the control plane ended the stream")?;
    Ok(answer.committed_sequence)
}

/// Attaches, and keeps the lease of the run's sessions.
async fn attach(channel: Channel, run_id: Vec<u8>) -> Result<tokio::task::JoinHandle<()>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let up = |message| v1::ProxyMessage {
        message: Some(message),
    };
    let hello = v1::Hello {
        run_id,
        version: "bench".to_owned(),
        started_at_unix_us: chrono::Utc::now().timestamp_micros(),
        ..Default::default()
    };
    sender.send(up(Up::Hello(hello))).await?;
    let stream = FleetClient::new(channel)
        .attach(ReceiverStream::new(receiver))
        .await?;
    let mut inbound = stream.into_inner();
    match inbound.message().await?.and_then(|first| first.message) {
        Some(Down::Welcome(_)) => {}
        other => bail!("no welcome, but {other:?}"),
    }
    Ok(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(HEARTBEAT_INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let beat = up(Up::Heartbeat(v1::Heartbeat::default()));
                    if sender.send(beat).await.is_err() {
                        return;
                    }
                }
                message = inbound.message() => {
                    if !matches!(message, Ok(Some(_))) {
                        return;
                    }
                }
            }
        }
    }))
}

/// Logs a session in as a client with SCRAM would; returns its id.
async fn log_in(channel: Channel, run_id: Vec<u8>) -> Result<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let ask = |step| v1::LoginRequest { step: Some(step) };
    let start = v1::LoginStart {
        run_id,
        user: USER.to_owned(),
        database: DATABASE.to_owned(),
        client_address: "192.0.2.7:51234".to_owned(),
        application_name: "bench".to_owned(),
        method: v1::AuthMethod::ScramSha256.into(),
        ..Default::default()
    };
    sender.send(ask(Ask::Start(start))).await?;
    let stream = AccessClient::new(channel)
        .login(ReceiverStream::new(receiver))
        .await?;
    let mut answers = stream.into_inner();
    let mut exchange = None;
    loop {
        let answer = answers.message().await?.and_then(|answer| answer.step);
        match (answer, exchange.take()) {
            (Some(Answer::Authenticate(offer)), None) => {
                let offered = offer.sasl_mechanisms.iter().map(String::as_str);
                let (begun, initial) = ClientExchange::start(offered, PASSWORD, None)?;
                exchange = Some(begun);
                let initial = v1::SaslInitialResponse {
                    mechanism: initial.mechanism.as_str().to_owned(),
                    data: initial.data,
                };
                sender.send(ask(Ask::SaslInitial(initial))).await?;
            }
            (Some(Answer::SaslContinue(challenge)), Some(begun)) => {
                let (_proved, data) = begun.server_first(&challenge.data)?;
                sender
                    .send(ask(Ask::SaslResponse(v1::SaslResponse { data })))
                    .await?;
            }
            (Some(Answer::Allow(allow)), _) => return Ok(allow.session_id),
            (other, _) => bail!("not let in: {other:?}"),
        }
    }
}
