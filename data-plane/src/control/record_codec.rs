//! The client's side of `Events.Publish`, which sends records as the bytes they were spooled as.
//!
//! What goes over the wire is `PublishRequest` of `events.proto`; the records in it are not decoded and encoded again.

use bytes::BufMut;
use pglens_core::RunId;
use pglens_rpc::v1;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::audit::window::Batch;

const PATH: &str = "/pglens.v1.Events/Publish";
/// Fields of `PublishRequest`.
const HELLO: u32 = 1;
const BATCH: u32 = 2;
/// Fields of `RecordBatch` in front of the records.
const FIRST_SEQUENCE: u32 = 1;
const LAST_SEQUENCE: u32 = 2;
const IS_AWAITED: u32 = 4;
/// More than keys and numbers in front of the records take.
const BEFORE_RECORDS_BYTES: usize = 64;

/// A message of the stream.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Hello(RunId),
    Batch(Batch),
}

/// Opens a `Publish` stream.
pub(crate) async fn publish(
    channel: Channel,
    requests: mpsc::Receiver<Outgoing>,
) -> Result<Streaming<v1::PublishResponse>, Status> {
    let mut client = Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let requests = Request::new(ReceiverStream::new(requests));
    let path = PathAndQuery::from_static(PATH);
    let response = client.streaming(requests, path, RecordCodec).await?;
    Ok(response.into_inner())
}

#[derive(Debug)]
struct RecordCodec;

impl Codec for RecordCodec {
    type Encode = Outgoing;
    type Decode = v1::PublishResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RecordCodec {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        if let Outgoing::Batch(batch) = &item {
            out.reserve(batch.bytes + BEFORE_RECORDS_BYTES);
        }
        put(&item, out);
        Ok(())
    }
}

impl Decoder for RecordCodec {
    type Item = v1::PublishResponse;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        v1::PublishResponse::decode(bytes)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

fn put(item: &Outgoing, out: &mut impl BufMut) {
    match item {
        Outgoing::Hello(run_id) => {
            let hello = v1::PublishHello {
                run_id: run_id.to_wire(),
            };
            prost::encoding::message::encode(HELLO, &hello, out);
        }
        Outgoing::Batch(batch) => put_batch(batch, out),
    }
}

fn put_batch(batch: &Batch, out: &mut impl BufMut) {
    let sequence = |field, value| key_len(field) + encoded_len_varint(value);
    let length = sequence(FIRST_SEQUENCE, batch.first_sequence)
        + sequence(LAST_SEQUENCE, batch.last_sequence)
        + sequence(IS_AWAITED, batch.is_awaited.into())
        + batch.bytes;
    encode_key(BATCH, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
    for (field, value) in [
        (FIRST_SEQUENCE, batch.first_sequence),
        (LAST_SEQUENCE, batch.last_sequence),
        (IS_AWAITED, batch.is_awaited.into()),
    ] {
        encode_key(field, WireType::Varint, out);
        encode_varint(value, out);
    }
    for records in &batch.records {
        out.put_slice(records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::publish_request::Message;

    fn read(item: &Outgoing) -> Message {
        let mut out = Vec::new();
        put(item, &mut out);
        let request = v1::PublishRequest::decode(out.as_slice()).unwrap();
        request.message.unwrap()
    }

    #[test]
    fn protobuf_reads_what_is_sent() {
        let run_id = RunId(uuid::Uuid::from_u128(3));
        let hello = v1::PublishHello {
            run_id: run_id.to_wire(),
        };
        assert_eq!(read(&Outgoing::Hello(run_id)), Message::Hello(hello));

        let batch = v1::RecordBatch {
            first_sequence: 300,
            last_sequence: 302,
            records: vec![Default::default(); 3],
            is_awaited: true,
        };
        let only_records = v1::RecordBatch {
            records: batch.records.clone(),
            ..Default::default()
        };
        let bytes = only_records.encode_to_vec();
        let sent = Outgoing::Batch(Batch {
            first_sequence: 300,
            last_sequence: 302,
            bytes: bytes.len(),
            records: vec![bytes.into()],
            is_awaited: true,
        });
        assert_eq!(read(&sent), Message::Batch(batch));
    }
}
