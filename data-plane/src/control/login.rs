//! One login exchange with a control plane.

use std::sync::Arc;
use std::time::Duration;

use pglens_rpc::convert::InvalidField;
use pglens_rpc::v1;
use pglens_rpc::v1::access_client::AccessClient;
use pglens_rpc::v1::login_request::Step as Request;
use pglens_rpc::v1::login_response::Step as Response;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::channel::ControlPlane;
use super::{Allowed, ControlPlanes};

/// An answer may take one Argon2 computation behind others; beyond that the control plane counts as gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The first answer takes one read of storage. It is the moment at which another control plane can still be tried.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The exchange is strictly alternating; one message waits at most.
const REQUEST_QUEUE: usize = 2;

/// What the control plane says next.
#[derive(Debug)]
pub(crate) enum Answer {
    Authenticate { sasl_mechanisms: Vec<String> },
    Continue { data: Vec<u8> },
    Allow(Box<Allowed>),
    Deny(v1::Deny),
}

/// Why the control plane said nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("no control plane answers")]
    Unreachable,
    #[error("control plane {url} failed")]
    Failed {
        url: String,
        #[source]
        status: Box<tonic::Status>,
    },
    #[error("control plane {url} did not answer within {after:?}")]
    TimedOut { url: String, after: Duration },
    #[error("control plane {url} ended the exchange early")]
    Ended { url: String },
    #[error("control plane {url} sent what cannot be understood")]
    Invalid {
        url: String,
        #[source]
        field: InvalidField,
    },
}

/// An exchange in progress.
pub(crate) struct LoginExchange {
    url: String,
    requests: mpsc::Sender<v1::LoginRequest>,
    responses: Streaming<v1::LoginResponse>,
}

impl LoginExchange {
    /// Begins with the first control plane that answers.
    ///
    /// # Errors
    /// The error of the last one tried.
    pub(crate) async fn start(
        planes: &Arc<ControlPlanes>,
        start: v1::LoginStart,
    ) -> Result<(Self, Answer), LoginError> {
        let mut last = LoginError::Unreachable;
        for (index, plane) in planes.in_order() {
            match Self::start_with(plane, start.clone()).await {
                Ok(started) => {
                    planes.answered(index);
                    return Ok(started);
                }
                Err(error) => {
                    tracing::debug!(error = %pglens_runtime::Chain(&error), "login attempt failed at a control plane");
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn start_with(
        plane: ControlPlane,
        start: v1::LoginStart,
    ) -> Result<(Self, Answer), LoginError> {
        let (requests, receiver) = mpsc::channel(REQUEST_QUEUE);
        let url = plane.url;
        let request = v1::LoginRequest {
            step: Some(Request::Start(start)),
        };
        // The queue is empty, so this does not wait; the server may want to see it before it answers the call.
        if requests.send(request).await.is_err() {
            return Err(LoginError::Ended { url });
        }
        let mut client = AccessClient::new(plane.decisions);
        let call = client.login(ReceiverStream::new(receiver));
        let responses = match tokio::time::timeout(FIRST_ANSWER_TIMEOUT, call).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(LoginError::failed(url, status)),
            Err(_elapsed) => {
                let after = FIRST_ANSWER_TIMEOUT;
                return Err(LoginError::TimedOut { url, after });
            }
        };
        let mut exchange = Self {
            url,
            requests,
            responses,
        };
        let answer = exchange.answer(FIRST_ANSWER_TIMEOUT).await?;
        Ok((exchange, answer))
    }

    /// Sends a step and waits for what the control plane says to it.
    pub(crate) async fn step(&mut self, step: Request) -> Result<Answer, LoginError> {
        let request = v1::LoginRequest { step: Some(step) };
        if self.requests.send(request).await.is_err() {
            let url = self.url.clone();
            return Err(LoginError::Ended { url });
        }
        self.answer(ANSWER_TIMEOUT).await
    }

    async fn answer(&mut self, after: Duration) -> Result<Answer, LoginError> {
        let url = self.url.clone();
        let response = match tokio::time::timeout(after, self.responses.message()).await {
            Ok(Ok(Some(response))) => response,
            Ok(Ok(None)) => return Err(LoginError::Ended { url }),
            Ok(Err(status)) => return Err(LoginError::failed(url, status)),
            Err(_elapsed) => return Err(LoginError::TimedOut { url, after }),
        };
        match response.step {
            Some(Response::Authenticate(authenticate)) => Ok(Answer::Authenticate {
                sasl_mechanisms: authenticate.sasl_mechanisms,
            }),
            Some(Response::SaslContinue(step)) => Ok(Answer::Continue { data: step.data }),
            Some(Response::Deny(deny)) => Ok(Answer::Deny(deny)),
            Some(Response::Allow(allow)) => match Allowed::try_from(allow) {
                Ok(allowed) => Ok(Answer::Allow(Box::new(allowed))),
                Err(field) => Err(LoginError::Invalid { url, field }),
            },
            None => {
                let field = InvalidField::missing("step");
                Err(LoginError::Invalid { url, field })
            }
        }
    }
}

impl LoginError {
    fn failed(url: String, status: tonic::Status) -> Self {
        Self::Failed {
            url,
            status: Box::new(status),
        }
    }
}
