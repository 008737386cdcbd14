//! `Fleet`: the proxies' own streams.

use std::sync::Arc;

use pglens_rpc::v1::fleet_server::Fleet;
use pglens_rpc::v1::{ControlMessage, ProxyMessage};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::identity::proxy_name;
use crate::app::App;
use crate::fleet::{attach, registry};

/// The service.
#[derive(Debug)]
pub struct FleetService(pub Arc<App>);

#[tonic::async_trait]
impl Fleet for FleetService {
    type AttachStream = ReceiverStream<Result<ControlMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let proxy_name = proxy_name(&request)?;
        let (sender, receiver) = registry::queue();
        tokio::spawn(attach::run(
            Arc::clone(&self.0),
            proxy_name,
            request.into_inner(),
            sender,
        ));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
