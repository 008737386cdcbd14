//! The two streams a proxy keeps open: the one it is attached by, and the one for its record.

use std::collections::HashSet;
use std::time::Duration;

use pglens_rpc::v1;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::proxy_message::Message as Up;
use pglens_rpc::v1::publish_request::Message as Publish;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Longer than any answer takes.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// An attached proxy.
pub(crate) struct Attachment {
    pub(crate) sender: mpsc::Sender<v1::ProxyMessage>,
    pub(crate) inbound: Streaming<v1::ControlMessage>,
    pub(crate) welcome: v1::Welcome,
    /// Sessions whose end was told already; it may be told again as long as they are open.
    pub(crate) told: HashSet<Vec<u8>>,
}

impl Attachment {
    pub(crate) async fn next(&mut self) -> Down {
        next_down(&mut self.inbound).await.unwrap()
    }

    /// The next message that ends sessions it was not told of before; lease extensions are passed over.
    pub(crate) async fn terminated(&mut self) -> v1::Terminate {
        loop {
            match self.next().await {
                Down::Terminate(terminate) => {
                    let before = self.told.len();
                    self.told.extend(terminate.session_ids.iter().cloned());
                    if self.told.len() > before {
                        return terminate;
                    }
                }
                Down::LeaseExtension(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn heartbeat(&mut self) -> Down {
        self.heartbeat_sent().await;
        self.next().await
    }

    pub(crate) async fn heartbeat_sent(&self) {
        let heartbeat = v1::Heartbeat {
            sent_at_unix_us: chrono::Utc::now().timestamp_micros(),
            ..Default::default()
        };
        send_up(&self.sender, Up::Heartbeat(heartbeat)).await;
    }

    pub(crate) async fn ask_quota(&self, request: v1::QuotaRequest) {
        send_up(&self.sender, Up::QuotaRequest(request)).await;
    }

    /// The next answer to a request for quota, and what else was said before it.
    pub(crate) async fn slice(&mut self) -> (v1::QuotaSlice, Vec<Down>) {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Down::QuotaSlice(slice) => return (slice, before),
                other => before.push(other),
            }
        }
    }
}

pub(crate) async fn send_up(sender: &mpsc::Sender<v1::ProxyMessage>, message: Up) {
    sender
        .send(v1::ProxyMessage {
            message: Some(message),
        })
        .await
        .unwrap();
}

pub(crate) async fn next_down(inbound: &mut Streaming<v1::ControlMessage>) -> Result<Down, Status> {
    let message = within_deadline(inbound.message()).await?;
    Ok(message
        .expect("the control plane ended the stream")
        .message
        .unwrap())
}

/// A stream of batches.
pub(crate) struct Publisher {
    pub(crate) sender: mpsc::Sender<v1::PublishRequest>,
    pub(crate) inbound: Streaming<v1::PublishResponse>,
    pub(crate) committed: u64,
}

impl Publisher {
    pub(crate) async fn next(&mut self) -> Result<u64, Status> {
        Ok(self.answer().await?.committed_sequence)
    }

    pub(crate) async fn answer(&mut self) -> Result<v1::PublishResponse, Status> {
        let answer = within_deadline(self.inbound.message()).await?;
        Ok(answer.expect("the control plane ended the stream"))
    }

    /// Sends records that somebody waits for.
    pub(crate) async fn send_awaited(&self, first_sequence: u64, records: &[v1::Record]) {
        let mut batch = v1::RecordBatch::new(first_sequence, records);
        batch.is_awaited = true;
        self.send_batch(batch).await;
    }

    pub(crate) async fn send(&self, first_sequence: u64, records: Vec<v1::Record>) {
        self.send_batch(v1::RecordBatch::new(first_sequence, &records))
            .await;
    }

    async fn send_batch(&self, batch: v1::RecordBatch) {
        let message = Some(Publish::Batch(batch));
        self.sender
            .send(v1::PublishRequest { message })
            .await
            .unwrap();
    }

    /// Sends records behind the last acknowledged one and waits until they are committed.
    pub(crate) async fn store(&mut self, records: Vec<v1::Record>) {
        let expected = self.committed + records.len() as u64;
        self.send(self.committed + 1, records).await;
        self.committed = self.next().await.unwrap();
        assert_eq!(self.committed, expected);
    }

    pub(crate) async fn try_store(
        &mut self,
        first: u64,
        records: Vec<v1::Record>,
    ) -> Result<u64, Status> {
        self.send(first, records).await;
        self.next().await
    }
}

pub(crate) async fn within_deadline<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWER_DEADLINE, answer)
        .await
        .expect("no answer in time")
}
