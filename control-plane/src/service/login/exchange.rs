//! The two directions of a `Login` stream.

use pglens_core::ErrorCode;
use pglens_core::limits::{MAX_PASSWORD_MESSAGE_BYTES, MAX_STARTUP_PACKET_BYTES};
use pglens_rpc::status::status;
use pglens_rpc::v1::login_response::Step;
use pglens_rpc::v1::{LoginRequest, LoginResponse, LoginStart};
use tokio::sync::mpsc::Sender;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::Request;

/// A stream of steps, and the way to answer them.
pub(super) struct Exchange<S> {
    inbound: S,
    outbound: Sender<Result<LoginResponse, Status>>,
}

impl<S> Exchange<S>
where
    S: Stream<Item = Result<LoginRequest, Status>> + Unpin + Send,
{
    pub(super) fn new(inbound: S, outbound: Sender<Result<LoginResponse, Status>>) -> Self {
        Self { inbound, outbound }
    }

    /// The first step.
    pub(super) async fn start(&mut self) -> Result<LoginStart, Status> {
        let Request::Start(start) = self.next().await? else {
            return Err(unexpected("start"));
        };
        let bytes = start.user.len() + start.database.len() + start.application_name.len();
        match bytes > MAX_STARTUP_PACKET_BYTES {
            true => Err(status(
                ErrorCode::TooLarge,
                "longer than a startup packet can be",
            )),
            false => Ok(start),
        }
    }

    /// The next step.
    pub(super) async fn next(&mut self) -> Result<Request, Status> {
        let message = self.inbound.next().await;
        let gone = || Status::cancelled("the login was given up");
        let step = message.ok_or_else(gone)??.step;
        step.ok_or_else(|| status(ErrorCode::ProtocolViolation, "an empty step"))
    }

    /// Answers a step.
    pub(super) async fn send(&mut self, step: Step) -> Result<(), Status> {
        self.outbound
            .send(Ok(LoginResponse { step: Some(step) }))
            .await
            .map_err(|_| Status::cancelled("the login was given up"))
    }

    /// Ends the stream, with an error if there is one.
    pub(super) async fn end(self, answer: Result<(), Status>) {
        if let Err(error) = answer {
            // The proxy may have gone already.
            let _ = self.outbound.send(Err(error)).await;
        }
    }
}

/// The bytes of a password or SASL message, if it is not too long for one.
pub(super) fn message_bytes(bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
    match bytes.len() > MAX_PASSWORD_MESSAGE_BYTES {
        true => Err(status(
            ErrorCode::TooLarge,
            "longer than a password message may be",
        )),
        false => Ok(bytes),
    }
}

/// Another step was due.
pub(super) fn unexpected(expected: &str) -> Status {
    status(
        ErrorCode::ProtocolViolation,
        format!("{expected} was expected"),
    )
}
