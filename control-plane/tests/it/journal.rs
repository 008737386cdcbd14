//! Records that somebody waits for: durable before they are stored, stored once, and there when proxy and spool are lost.

use pglens_rpc::v1;
use pglens_rpc::v1::fleet_client::FleetClient;
use pglens_testkit::{DEADLINE, eventually};
use serde_json::Value;
use tonic::Code;
use uuid::Uuid;

use crate::record::{STATEMENTS, text_parameter};
use crate::records::{ended, started_with};
use crate::scene::Scene;
use crate::streams::Publisher;

const JOURNALED: &str = "select count(*) from record_journal";
const PARAMETER: &str = "journaled-value-4721";

/// A session whose statements nobody can store until [`Trouble::over`].
struct Trouble {
    scene: Scene,
    session: Vec<u8>,
    publisher: Publisher,
}

impl Trouble {
    async fn new() -> Self {
        let mut scene = Scene::new().await;
        let (_, session) = scene.session(|_| ()).await;
        let publisher = scene.proxy.publish().await.unwrap();
        let trouble = Self {
            scene,
            session,
            publisher,
        };
        trouble
            .sql("alter table queries rename to queries_away")
            .await;
        trouble
    }

    async fn over(&self) {
        self.sql("alter table queries_away rename to queries").await;
    }

    async fn sql(&self, sql: &str) {
        let client = self.scene.plane.fleet.storage.connect().await;
        client.batch_execute(sql).await.unwrap();
    }

    async fn count(&self, sql: &str) -> i64 {
        self.scene.plane.fleet.count(sql).await
    }

    fn statement(&self, sequence: u64) -> Vec<v1::Record> {
        let (query, parameter) = (Uuid::now_v7(), text_parameter(PARAMETER));
        vec![
            started_with(query, &self.session, sequence, "select $1", vec![parameter]),
            ended(query, &self.session),
        ]
    }

    /// Sends records as if somebody waited for them, until they are durable and cannot be stored.
    async fn journal(&mut self, records: &[v1::Record]) {
        self.publisher.send_awaited(1, records).await;
        let durable = v1::PublishResponse {
            committed_sequence: 0,
            durable_sequence: records.len() as u64,
            takes_brief_records: true,
        };
        assert_eq!(self.publisher.answer().await.unwrap(), durable);
        let broken = self.publisher.answer().await.unwrap_err();
        assert_eq!(broken.code(), Code::Internal, "{broken:?}");
    }

    /// Its proxy is lost: the lease of its session is over.
    async fn lose_proxy(&self) {
        self.sql("update proxy_runs set last_seen_at = now() - interval '1 hour'")
            .await;
        let open = "select count(*) from connections where ended_at is null";
        eventually(DEADLINE, || async { self.count(open).await == 0 }).await;
    }
}

#[tokio::test]
async fn what_is_waited_for_is_durable_before_it_is_stored() {
    let mut scene = Trouble::new().await;
    let records = scene.statement(1);
    let storage = scene.scene.plane.fleet.storage.connect().await;
    scene.over().await;
    let locked = "begin; lock table queries in access exclusive mode";
    storage.batch_execute(locked).await.unwrap();
    for (first, batch) in [(1, &records[..1]), (2, &records[1..])] {
        scene.publisher.send_awaited(first, batch).await;
        let answer = scene.publisher.answer().await.unwrap();
        assert_eq!(
            (answer.committed_sequence, answer.durable_sequence),
            (0, first)
        );
    }
    storage.batch_execute("rollback").await.unwrap();
    let mut committed = 0;
    while committed < 2 {
        committed = scene.publisher.next().await.unwrap();
    }
    assert_eq!(scene.count(STATEMENTS).await, 1);
    assert_eq!(
        scene.count(JOURNALED).await,
        0,
        "it is kept where it belongs"
    );
}

#[tokio::test]
async fn what_is_durable_comes_again_and_is_stored_once() {
    let mut scene = Trouble::new().await;
    let records = scene.statement(1);
    scene.journal(&records).await;
    scene.over().await;
    let mut publisher = scene.scene.proxy.publish().await.unwrap();
    assert_eq!(publisher.committed, 0, "the proxy sends it again");
    let again = records.into_iter().chain(scene.statement(2)).collect();
    publisher.store(again).await;
    assert_eq!(scene.count(STATEMENTS).await, 2);
    assert_eq!(scene.count(JOURNALED).await, 0);
}

#[tokio::test]
async fn what_is_durable_is_on_record_when_proxy_and_spool_are_lost() {
    let mut scene = Trouble::new().await;
    let records = scene.statement(1);
    scene.journal(&records[..1]).await;
    assert_eq!(scene.count(JOURNALED).await, 1);
    let readable = format!(
        "select count(*) from record_journal where encode(records_sealed, 'escape') ~ '{PARAMETER}|select'"
    );
    assert_eq!(scene.count(&readable).await, 0);
    scene.over().await;
    scene.lose_proxy().await;
    assert_eq!(scene.count(STATEMENTS).await, 1);
    assert_eq!(scene.count(JOURNALED).await, 0);
    let events = scene.scene.plane.fleet.events("proxy.lost").await;
    assert_eq!(events[0]["committed_sequence"], 1);
    let unknown = "select count(*) from queries where outcome_unknown";
    assert_eq!(scene.count(unknown).await, 1);

    // It comes back after all, and goes on behind what was taken from the journal.
    let mut publisher = scene.scene.proxy.publish().await.unwrap();
    assert_eq!(publisher.committed, 1);
    publisher.store(records[1..].to_vec()).await;
    let ended =
        "select count(*) from queries where duration_us is not null and not outcome_unknown";
    assert_eq!(scene.count(ended).await, 1);
}

#[tokio::test]
async fn a_proxy_that_returns_with_less_than_is_durable_finds_it_stored() {
    let mut scene = Trouble::new().await;
    let records = scene.statement(1);
    scene.journal(&records).await;
    scene.over().await;
    let run_id = scene.scene.proxy.run_id.as_bytes().to_vec();
    let mut fleet = FleetClient::new(scene.scene.proxy.channel.clone());
    let request = v1::RecoverRequest { run_id };
    fleet.recover(request).await.unwrap();
    let publisher = scene.scene.proxy.publish().await.unwrap();
    assert_eq!(publisher.committed, 2);
    assert_eq!(scene.count(STATEMENTS).await, 1);
}

/// How far the record of a proxy goes that is lost now, and from where on its journal could not be read.
async fn said_of_lost_proxy(scene: &Trouble) -> (Value, Value) {
    scene.lose_proxy().await;
    let events = scene.scene.plane.fleet.events("proxy.lost").await;
    let said = |name: &str| events[0][name].clone();
    (said("committed_sequence"), said("journal_unreadable_from"))
}

#[tokio::test]
async fn a_journal_that_was_tampered_with_is_said_to_be_unreadable() {
    let mut scene = Trouble::new().await;
    let records = scene.statement(1);
    scene.journal(&records).await;
    scene
        .sql("update record_journal set records_sealed = overlay(records_sealed placing '\\x00' from 20 for 1)")
        .await;
    scene
        .sql("update record_journal set records_sealed = overlay(records_sealed placing '\\x01' from 21 for 1)")
        .await;
    scene.over().await;
    assert_eq!(said_of_lost_proxy(&scene).await, (0.into(), 1.into()));
    assert_eq!(scene.count(STATEMENTS).await, 0);
    assert_eq!(scene.count(JOURNALED).await, 0);
}

#[tokio::test]
async fn an_entry_that_claims_more_than_was_sealed_moves_the_cursor_no_further() {
    let mut scene = Trouble::new().await;
    let records = scene.statement(1);
    scene.journal(&records).await;
    scene
        .sql("update record_journal set last_sequence = 100")
        .await;
    scene.over().await;
    assert_eq!(said_of_lost_proxy(&scene).await, (2.into(), 3.into()));
    assert_eq!(scene.count(STATEMENTS).await, 1);
    assert_eq!(scene.count(JOURNALED).await, 0);
}
