//! `Events`: the record comes in.

use std::sync::Arc;

use pglens_rpc::v1::events_server::Events;
use pglens_rpc::v1::{PublishRequest, PublishResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::identity::proxy_name;
use crate::app::App;
use crate::ingest::publish;

/// Acknowledgements that wait for the proxy to read them; then the next batch waits.
const QUEUE_MESSAGES: usize = 16;

/// The service.
#[derive(Debug)]
pub struct EventsService(pub Arc<App>);

#[tonic::async_trait]
impl Events for EventsService {
    type PublishStream = ReceiverStream<Result<PublishResponse, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let proxy_name = proxy_name(&request)?;
        let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
        tokio::spawn(publish::run(
            Arc::clone(&self.0),
            proxy_name,
            request.into_inner(),
            sender,
        ));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
