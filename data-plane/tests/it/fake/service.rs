//! The three services of the contract, as the fake answers them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use pglens_rpc::v1;
use pglens_rpc::v1::access_server::Access;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::events_server::Events;
use pglens_rpc::v1::fleet_server::Fleet;
use pglens_rpc::v1::login_request::Step as Request;
use pglens_rpc::v1::login_response::Step as Response;
use pglens_rpc::v1::proxy_message::Message as Up;
use pglens_rpc::v1::publish_request::Message as Publish;
use pglens_rpc::v1::record::Event;
use pglens_wire::scram::{ChannelBinding, ScramVerifier, ServerExchange};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{PASSWORD, State};

#[derive(Clone)]
pub(super) struct Service {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) answers: watch::Receiver<bool>,
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
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(
            receiver,
        ))))
    }
}

impl Service {
    async fn may_answer(&self) {
        let mut answers = self.answers.clone();
        let _closed = answers.wait_for(|answers| *answers).await.is_err();
    }

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
            let _gone = answers
                .send(Ok(v1::LoginResponse { step: Some(step) }))
                .await;
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
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(
            receiver,
        ))))
    }

    async fn recover(
        &self,
        request: tonic::Request<v1::RecoverRequest>,
    ) -> Result<tonic::Response<v1::RecoverResponse>, Status> {
        if !*self.answers.borrow() {
            return Err(Status::unavailable("the fake does not answer"));
        }
        {
            let mut state = self.state.lock().unwrap();
            if state.too_old > 0 {
                state.too_old -= 1;
                return Err(Status::unimplemented("the fake is old"));
            }
        }
        Ok(tonic::Response::new(
            self.recovered(&request.get_ref().run_id),
        ))
    }

    async fn finish_recovery(
        &self,
        request: tonic::Request<v1::FinishRecoveryRequest>,
    ) -> Result<tonic::Response<v1::FinishRecoveryResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.recoveries.push(request.into_inner());
        Ok(tonic::Response::new(v1::FinishRecoveryResponse::default()))
    }

    /// Tells every proxy, the one that asks included.
    async fn forward_cancel(
        &self,
        request: tonic::Request<v1::ForwardCancelRequest>,
    ) -> Result<tonic::Response<v1::ForwardCancelResponse>, Status> {
        let request = request.into_inner();
        let (is_known, down) = {
            let mut state = self.state.lock().unwrap();
            state.cancels.push(request.clone());
            let mut starts = state.starts.iter();
            let is_known = starts.any(|start| start.cancel_key_digest == request.key_digest);
            (is_known, state.down.clone())
        };
        let cancel = v1::Cancel {
            process_id: request.process_id,
            key_digest: request.key_digest,
            asked_at_unix_us: request.asked_at_unix_us,
        };
        for sender in down.iter().filter(|_| is_known) {
            let message = Some(Down::Cancel(cancel.clone()));
            let _gone = sender.send(Ok(v1::ControlMessage { message })).await;
        }
        self.may_answer().await;
        let outcome = match is_known {
            true => v1::CancelOutcome::HandedOver,
            false => v1::CancelOutcome::UnknownKey,
        };
        Ok(tonic::Response::new(v1::ForwardCancelResponse {
            outcome: outcome.into(),
        }))
    }
}

impl Service {
    fn recovered(&self, run_id: &[u8]) -> v1::RecoverResponse {
        self.state.lock().unwrap().recovered.push(run_id.to_vec());
        v1::RecoverResponse {
            record_key: vec![0; 32],
        }
    }

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
            Up::Heartbeat(heartbeat) => {
                let sent_at_unix_us = heartbeat.sent_at_unix_us;
                state.heartbeats.push(heartbeat);
                Some(Down::LeaseExtension(v1::LeaseExtension {
                    lease_ms: 1000,
                    server_time_unix_us: 0,
                    heartbeat_sent_at_unix_us: sent_at_unix_us,
                    // A clock of its own, like storage's.
                    storage_time_unix_us: sent_at_unix_us + 1_000_000_000,
                }))
            }
            Up::QuotaRequest(request) => {
                state.quota_requests.push(request.clone());
                let terms = state.terms.as_ref()?;
                let amount = |need: u64, wanted: u64, budget: u64, has: u64| {
                    let left = budget - has;
                    if need > left {
                        0
                    } else {
                        need.max(wanted).min(left)
                    }
                };
                let queries = amount(
                    request.queries,
                    request.queries_wanted,
                    terms.quota.queries.unwrap_or(0) + terms.more_queries,
                    request.queries_used + request.queries_held,
                );
                let bytes = amount(
                    request.bytes,
                    request.bytes_wanted,
                    terms.quota.bytes.unwrap_or(0) + terms.more_bytes,
                    request.bytes_used + request.bytes_held,
                );
                Some(Down::QuotaSlice(v1::QuotaSlice {
                    request_id: request.request_id,
                    session_id: request.session_id,
                    queries: Some(queries),
                    bytes: Some(bytes),
                    queries_spent: queries < request.queries,
                    bytes_spent: bytes < request.bytes,
                    ..Default::default()
                }))
            }
            Up::QuotaReport(report) => {
                state.quota_reports.push(report);
                None
            }
            Up::SessionsEnded(ended) => {
                state.ended.extend(ended.session_ids);
                None
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
            let mut held = Vec::new();
            let mut takes_brief_records = true;
            while let Some(Ok(mut request)) = requests.next().await {
                if let Some(Publish::Batch(batch)) = &mut request.message {
                    if takes_brief_records {
                        *batch = std::mem::take(batch).in_full();
                    }
                    service.state.lock().unwrap().received = batch.last_sequence;
                }
                service.may_answer().await;
                let answer = match request.message.unwrap() {
                    Publish::Hello(hello) => {
                        run = hello.run_id;
                        let state = service.state.lock().unwrap();
                        takes_brief_records = !state.knows_no_brief_records;
                        v1::PublishResponse {
                            committed_sequence: state.committed.get(&run).copied().unwrap_or(0),
                            durable_sequence: 0,
                            takes_brief_records,
                        }
                    }
                    Publish::Batch(batch) if service.state.lock().unwrap().only_journals => {
                        let answer = service.journal(&run, &batch);
                        held.push(batch);
                        answer
                    }
                    Publish::Batch(batch) => {
                        held.push(batch);
                        let stored = held.drain(..).map(|batch| service.commit(&run, batch));
                        v1::PublishResponse {
                            committed_sequence: stored.fold(0, u64::max),
                            ..Default::default()
                        }
                    }
                };
                let _gone = sender.send(Ok(answer)).await;
            }
        });
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(
            receiver,
        ))))
    }
}

impl Service {
    /// Takes the batch as one that is durable and not stored, if somebody waits for it.
    fn journal(&self, run: &[u8], batch: &v1::RecordBatch) -> v1::PublishResponse {
        let state = self.state.lock().unwrap();
        let committed = state.committed.get(run).copied().unwrap_or(0);
        v1::PublishResponse {
            committed_sequence: committed,
            durable_sequence: match batch.is_awaited {
                true => batch.last_sequence,
                false => committed,
            },
            ..Default::default()
        }
    }

    fn commit(&self, run: &[u8], batch: v1::RecordBatch) -> u64 {
        let mut state = self.state.lock().unwrap();
        let before = state.committed.get(run).copied().unwrap_or(0);
        assert!(batch.first_sequence <= before + 1, "records are missing");
        let known = usize::try_from(before + 1 - batch.first_sequence).unwrap();
        let records = batch.decoded().unwrap().into_iter().skip(known);
        for record in records {
            if let Some(Event::StatementStarted(started)) = &record.event {
                let now = SystemTime::now();
                state.committed_starts.insert(started.sql.clone(), now);
            }
            state.records.push(record);
        }
        let committed = before.max(batch.last_sequence);
        state.committed.insert(run.to_vec(), committed);
        committed
    }
}
