//! `Fleet`: the proxies' own streams, and what they hand to each other.

use std::sync::Arc;

use pglens_rpc::v1::fleet_server::Fleet;
use pglens_rpc::v1::{
    ControlMessage, FinishRecoveryRequest, FinishRecoveryResponse, ForwardCancelRequest,
    ForwardCancelResponse, ProxyMessage, RecoverRequest, RecoverResponse,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::identity::proxy_name;
use crate::app::App;
use crate::fleet::{attach, cancel, recover, registry};

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

    async fn recover(
        &self,
        request: Request<RecoverRequest>,
    ) -> Result<Response<RecoverResponse>, Status> {
        let proxy_name = proxy_name(&request)?;
        let begun = recover::begin(&self.0, &proxy_name, request.get_ref()).await?;
        Ok(Response::new(begun))
    }

    async fn finish_recovery(
        &self,
        request: Request<FinishRecoveryRequest>,
    ) -> Result<Response<FinishRecoveryResponse>, Status> {
        let proxy_name = proxy_name(&request)?;
        let finished = recover::finish(&self.0, &proxy_name, request.get_ref()).await?;
        Ok(Response::new(finished))
    }

    async fn forward_cancel(
        &self,
        request: Request<ForwardCancelRequest>,
    ) -> Result<Response<ForwardCancelResponse>, Status> {
        proxy_name(&request)?;
        let outcome = cancel::forward(&self.0, request.into_inner()).await?;
        self.0.metrics.cancel(outcome);
        Ok(Response::new(ForwardCancelResponse {
            outcome: outcome.into(),
        }))
    }
}
