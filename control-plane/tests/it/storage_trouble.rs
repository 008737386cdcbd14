//! Storage that is slow, full or read-only: the record waits outside, every stream is answered, nothing is lost or twice.

use std::time::{Duration, Instant};

use pglens_rpc::v1;
use pglens_rpc::v1::publish_request::Message as Publish;
use pglens_testkit::{DEADLINE, eventually};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use uuid::Uuid;

use crate::record::{STATEMENTS, Scene};
use crate::records::{ended, started};
use crate::streams::Publisher;

/// Between two attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl Scene {
    async fn sql(&self, sql: &str) {
        let client = self.plane.fleet.storage.connect().await;
        client
            .batch_execute("set default_transaction_read_only = off")
            .await
            .unwrap();
        client.batch_execute(sql).await.unwrap();
    }

    /// Ends the connections of the control plane, so that it makes new ones.
    async fn disconnect(&self) {
        self.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .await;
    }
}

/// Opens a stream, as soon as the control plane has a connection again.
async fn open_at_last(scene: &Scene) -> Publisher {
    let end = Instant::now() + DEADLINE;
    loop {
        match scene.proxy.publish().await {
            Ok(stream) => return stream,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        assert!(Instant::now() < end, "no stream within {DEADLINE:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Stores a batch over new streams until one takes it, as a proxy does; how often it was refused.
async fn store_at_last(scene: &Scene, batch: &[v1::Record]) -> (u64, Vec<Code>) {
    let (mut refused, end) = (Vec::new(), Instant::now() + DEADLINE);
    loop {
        let attempt = async {
            let mut stream = scene.proxy.publish().await?;
            let first = stream.committed + 1;
            stream.try_store(first, batch.to_vec()).await
        };
        match attempt.await {
            Ok(committed) => return (committed, refused),
            Err(status) => refused.push(status.code()),
        }
        assert!(Instant::now() < end, "{refused:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn refused_until_mended(trouble: &str, mended: &str) {
    let scene = Scene::new().await;
    scene.sql(trouble).await;
    scene.disconnect().await;
    let (_, batch) = scene.statement(1);
    // The second time over a connection that is whole.
    for _ in 0..2 {
        let mut stream = open_at_last(&scene).await;
        let refused = stream.try_store(1, batch.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert_eq!(scene.count(STATEMENTS).await, 0);
    }
    scene.sql(mended).await;
    scene.disconnect().await;
    let (committed, _) = store_at_last(&scene, &batch).await;
    assert_eq!(committed, 2);
    assert_eq!(scene.count(STATEMENTS).await, 1);
    assert_eq!(scene.count("select query_count from connections").await, 1);
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room() {
    refused_until_mended(
        "create function full_disk() returns trigger language plpgsql as $$ \
         begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$; \
         create trigger full_disk before insert on queries for each row execute function full_disk()",
        "drop trigger full_disk on queries",
    )
    .await;
}

#[tokio::test]
async fn a_read_only_storage_refuses_until_it_is_writable() {
    refused_until_mended(
        "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); \
         end $$",
        "do $$ begin execute format('alter database %I reset default_transaction_read_only', current_database()); \
         end $$",
    )
    .await;
}

/// Bytes of a batch; ten of them are more than the control plane and the transport may hold.
const BATCH_BYTES: usize = 1024 * 1024;
const BATCHES: u64 = 40;

#[tokio::test]
async fn a_slow_storage_holds_the_sender_back_and_loses_nothing() {
    let scene = Scene::new().await;
    scene
        .sql(
            "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$; \
             create constraint trigger slow after update on proxy_runs deferrable initially deferred \
             for each row execute function slow()",
        )
        .await;
    let (sender, receiver) = mpsc::channel(1);
    let hello = v1::PublishHello {
        run_id: scene.proxy.run_id.as_bytes().to_vec(),
    };
    let first = v1::PublishRequest {
        message: Some(Publish::Hello(hello)),
    };
    sender.send(first).await.unwrap();
    let mut events = v1::events_client::EventsClient::new(scene.proxy.channel.clone());
    let mut answers = events
        .publish(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    let (taken, mut progress) = tokio::sync::watch::channel(0_u64);
    let session = scene.session.clone();
    let sending = tokio::spawn(async move {
        let text = "x".repeat(BATCH_BYTES);
        for number in 0..BATCHES {
            let query = Uuid::now_v7();
            let records = [
                started(query, &session, number + 1, &text),
                ended(query, &session),
            ];
            let batch = v1::RecordBatch::new(number * 2 + 1, &records);
            let message = Some(Publish::Batch(batch));
            sender.send(v1::PublishRequest { message }).await.unwrap();
            taken.send_replace(number + 1);
        }
        sender
    });
    let mut committed = 0;
    let mut most_ahead = 0;
    while committed < BATCHES * 2 {
        let answer = tokio::time::timeout(DEADLINE, answers.message());
        committed = answer.await.unwrap().unwrap().unwrap().committed_sequence;
        most_ahead = most_ahead.max(*progress.borrow_and_update() - committed / 2);
    }
    // What is gathered for one transaction, a gathering behind it, and what the transport has on its way.
    assert!(most_ahead <= 16, "{most_ahead} batches were taken ahead");
    drop(sending.await.unwrap());
    assert_eq!(
        scene.count(STATEMENTS).await,
        i64::try_from(BATCHES).unwrap()
    );
    eventually(DEADLINE, || async {
        scene.plane.get("/api/queries?limit=1").await.0 == 200
    })
    .await;
}
