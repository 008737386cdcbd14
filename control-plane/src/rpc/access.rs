//! `Access`: logins through proxies.

use std::sync::Arc;

use pglens_rpc::v1::access_server::Access;
use pglens_rpc::v1::{LoginRequest, LoginResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::identity::proxy_name;
use crate::app::App;
use crate::service::login;

/// An exchange answers each step before it takes the next.
const QUEUE_MESSAGES: usize = 2;

/// Largest message of an exchange: a startup packet's worth of names.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// The service.
#[derive(Debug)]
pub struct AccessService(pub Arc<App>);

#[tonic::async_trait]
impl Access for AccessService {
    type LoginStream = ReceiverStream<Result<LoginResponse, Status>>;

    async fn login(
        &self,
        request: Request<Streaming<LoginRequest>>,
    ) -> Result<Response<Self::LoginStream>, Status> {
        let proxy_name = proxy_name(&request)?;
        let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
        tokio::spawn(login::run(
            Arc::clone(&self.0),
            proxy_name,
            request.into_inner(),
            sender,
        ));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
