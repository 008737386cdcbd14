//! The record: each statement exactly once, nothing of the target readable at rest.

use pglens_rpc::v1;
use pglens_testkit::TestPostgres;
use tonic::Code;
use uuid::Uuid;

use crate::planes::{Admin, Fleet, Plane, read_grant};
use crate::proxies::{Client, Proxy};
use crate::records::{ended, ended_with, rows, session_ended, started, started_with};
use crate::streams::{Attachment, Publisher};

/// A session under way, with a stream for its record.
pub(crate) struct Scene {
    pub(crate) plane: Plane,
    pub(crate) admin: Admin,
    pub(crate) proxy: Proxy,
    _attachment: Attachment,
    pub(crate) session: Vec<u8>,
    pub(crate) publisher: Publisher,
}

impl Scene {
    /// A session under way, and a stream for its record.
    pub(crate) async fn new() -> Self {
        let storage = TestPostgres::shared().await.create_database().await;
        let plane = Fleet::new(storage).start_plane().await;
        let mut admin = plane.admin().await;
        let user_id = admin.create_user("ann", "ann-password").await;
        let database_id = admin.create_database("shop").await;
        admin.create_grant(read_grant(user_id, database_id)).await;
        let proxy = Proxy::new(&plane, "proxy-1").await;
        let attachment = proxy.attach().await;
        let session = proxy.allowed(&ann()).await.session_id;
        let publisher = proxy.publish().await.unwrap();
        Self {
            plane,
            admin,
            proxy,
            _attachment: attachment,
            session,
            publisher,
        }
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.plane.fleet.count(sql).await
    }

    pub(crate) fn statement(&self, sequence: u64) -> (Uuid, Vec<v1::Record>) {
        let query = Uuid::now_v7();
        let records = vec![
            started(query, &self.session, sequence, "select 1"),
            ended(query, &self.session),
        ];
        (query, records)
    }
}

/// A parameter in text format.
pub(crate) fn text_parameter(value: &str) -> v1::Parameter {
    v1::Parameter {
        type_oid: 25,
        format: 0,
        value: Some(value.as_bytes().to_vec()),
        ..Default::default()
    }
}

fn ann() -> Client {
    Client::new("ann", "ann-password", "shop")
}

pub(crate) const STATEMENTS: &str = "select count(*) from queries";
const INCOMPLETE: &str = "select count(*) from connections where not audit_complete";

#[tokio::test]
async fn a_batch_that_comes_twice_is_stored_once() {
    let mut scene = Scene::new().await;
    let (_, batch) = scene.statement(1);
    scene.publisher.store(batch.clone()).await;
    assert_eq!(
        scene.publisher.try_store(1, batch.clone()).await.unwrap(),
        2
    );
    let (_, more) = scene.statement(2);
    let overlapping: Vec<_> = batch.into_iter().skip(1).chain(more).collect();
    assert_eq!(scene.publisher.try_store(2, overlapping).await.unwrap(), 4);
    assert_eq!(scene.count(STATEMENTS).await, 2);
    assert_eq!(scene.count("select query_count from connections").await, 2);

    let again = scene.proxy.publish().await.unwrap();
    assert_eq!(again.committed, 4);
}

#[tokio::test]
async fn a_gap_is_refused() {
    let mut scene = Scene::new().await;
    let (_, batch) = scene.statement(1);
    let refused = scene.publisher.try_store(2, batch).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(scene.count(STATEMENTS).await, 0);
}

#[tokio::test]
async fn of_two_streams_of_one_run_one_stores() {
    let scene = Scene::new().await;
    let second_plane = scene.plane.fleet.start_plane().await;
    let over_second = scene.proxy.over(&second_plane, "proxy-1").await;
    for round in 0..10_u64 {
        let mut streams = [
            scene.proxy.publish().await.unwrap(),
            over_second.publish().await.unwrap(),
        ];
        let first = round * 2 + 1;
        let (_, batch) = scene.statement(round + 1);
        let (one, other) = {
            let [one, other] = &mut streams;
            tokio::join!(
                one.try_store(first, batch.clone()),
                other.try_store(first, batch.clone())
            )
        };
        let stored = [&one, &other]
            .iter()
            .filter(|stored| stored.is_ok())
            .count();
        assert!(stored >= 1, "{one:?} {other:?}");
        for refused in [one, other].into_iter().filter_map(Result::err) {
            assert_eq!(refused.code(), Code::FailedPrecondition);
        }
    }
    assert_eq!(scene.count(STATEMENTS).await, 10);
}

#[tokio::test]
async fn another_proxy_cannot_speak_for_the_run() {
    let scene = Scene::new().await;
    let thief = scene.proxy.over(&scene.plane, "proxy-2").await;
    assert_eq!(
        thief.publish().await.err().unwrap().code(),
        Code::PermissionDenied
    );
    let unknown = Proxy {
        run_id: Uuid::now_v7(),
        ..scene.proxy.clone()
    };
    assert_eq!(
        unknown.publish().await.err().unwrap().code(),
        Code::FailedPrecondition
    );
}

#[tokio::test]
async fn an_end_that_comes_later_completes_its_statement() {
    let mut scene = Scene::new().await;
    let (query, session) = (Uuid::now_v7(), scene.session.clone());
    scene
        .publisher
        .store(vec![started(query, &session, 1, "copy t to stdout")])
        .await;
    assert_eq!(
        scene
            .count("select count(*) from queries where duration_us is null")
            .await,
        1
    );
    let end = ended_with(query, &session, &[("id", 23)], |ended| ended.row_count = 42);
    scene
        .publisher
        .store(vec![rows(query, &session, 0, 0, &[&[Some("1")]]), end])
        .await;
    let found = "select row_count from queries where duration_us = 1500 and command_tag = 'SELECT 1' \
                 and position('id'::bytea in result_columns) > 0";
    assert_eq!(scene.count(found).await, 42);
    assert_eq!(scene.count(INCOMPLETE).await, 0);
    scene
        .publisher
        .store(vec![session_ended(&session, 1, 30)])
        .await;
    assert_eq!(
        scene
            .count("select count(*) from connections where ended_at is not null and audit_complete")
            .await,
        1
    );
}

#[tokio::test]
async fn what_can_never_be_stored_is_named_and_does_not_stop_the_run() {
    let mut scene = Scene::new().await;
    let session = scene.session.clone();
    let (first, good) = scene.statement(1);
    scene.publisher.store(good).await;

    let query = Uuid::now_v7();
    let stranger = Uuid::now_v7().as_bytes().to_vec();
    scene
        .publisher
        .store(vec![
            started(first, &session, 2, "the id of another statement"),
            started(query, &session, 3, "select 'a\0b'"),
            rows(query, &session, 0, 0, &[&[Some("x")]]),
            rows(query, &session, 0, 0, &[&[Some("the chunk again")]]),
            rows(
                Uuid::now_v7(),
                &session,
                0,
                0,
                &[&[Some("of no statement")]],
            ),
            ended(query, &session),
            ended(Uuid::now_v7(), &session),
            started(Uuid::now_v7(), &stranger, 1, "of no session"),
            v1::Record { event: None },
        ])
        .await;
    assert_eq!(scene.count(STATEMENTS).await, 2);
    assert_eq!(
        scene
            .count("select count(*) from queries where sql = 'select ''a␀b'''")
            .await,
        1
    );
    assert_eq!(scene.count("select count(*) from query_rows").await, 1);
    assert_eq!(scene.count(INCOMPLETE).await, 1);
    let events = scene.plane.fleet.events("record.refused").await;
    let mut refused: Vec<i64> = events[0]["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["sequence"].as_i64().unwrap())
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, [3, 6, 7, 9, 10, 11]);
    assert!(!events[0].to_string().contains("chunk again"));

    let (_, good) = scene.statement(4);
    scene.publisher.store(good).await;
    scene
        .publisher
        .store(vec![session_ended(&session, 4, 0)])
        .await;
    assert_eq!(
        scene.count(INCOMPLETE).await,
        1,
        "a session that lacks records stays marked"
    );
}

#[tokio::test]
async fn ids_from_a_clock_that_is_far_off_are_stored_too() {
    let mut scene = Scene::new().await;
    let session = scene.session.clone();
    for query in [Uuid::from_u128(7 << 76), Uuid::from_u128(u128::MAX - 1)] {
        let parameters = vec![v1::Parameter {
            type_oid: 25,
            format: 0,
            value: Some(b"x".to_vec()),
            ..Default::default()
        }];
        let begun = started_with(query, &session, 1, "select $1", parameters);
        let captured = rows(query, &session, 0, 0, &[&[Some("x")]]);
        scene
            .publisher
            .store(vec![begun, captured, ended(query, &session)])
            .await;
    }
    assert_eq!(scene.count("select count(*) from queries_default").await, 2);
    assert_eq!(
        scene.count("select count(*) from query_rows_default").await,
        2
    );
}

#[tokio::test]
async fn a_batch_larger_than_a_message_may_be_is_answered() {
    let mut scene = Scene::new().await;
    let huge = "x".repeat(pglens_core::limits::MAX_GRPC_MESSAGE_BYTES + 1);
    let record = started(Uuid::now_v7(), &scene.session, 1, &huge);
    let refused = scene
        .publisher
        .try_store(1, vec![record])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let mut again = scene.proxy.publish().await.unwrap();
    again.store(scene.statement(1).1).await;
}
