//! Quotas over many proxies, and the sessions of proxies that fall silent: what is given, what comes back.

use pglens_rpc::v1;
use pglens_rpc::v1::TerminateReason;
use pglens_testkit::{DEADLINE, eventually};
use uuid::Uuid;

use crate::proxies::Client;
use crate::records;
use crate::scene::{Scene, ann};

#[tokio::test]
async fn what_a_session_did_not_use_goes_back() {
    let mut scene = Scene::new().await;
    let (grant_id, session) = scene.session(|grant| grant.max_queries = Some(800)).await;
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 32);
    let mut publisher = scene.proxy.publish().await.unwrap();
    publisher
        .store(vec![records::session_ended(&session, 7, 0)])
        .await;
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 7);
}

#[tokio::test]
async fn a_lost_proxy_is_said_to_be_and_completed_when_it_comes_back() {
    let mut scene = Scene::new().await;
    let (grant_id, session) = scene.session(|grant| grant.max_queries = Some(800)).await;
    let mut publisher = scene.proxy.publish().await.unwrap();
    let query = Uuid::now_v7();
    publisher
        .store(vec![
            records::started(query, &session, 1, "select 1"),
            records::ended(query, &session),
        ])
        .await;
    drop(publisher);
    drop(scene.attachment);
    let storage = scene.plane.fleet.storage.connect().await;
    let silent = "update proxy_runs set last_seen_at = now() - interval '1 hour'";
    storage.batch_execute(silent).await.unwrap();
    let id = Uuid::from_slice(&session).unwrap().to_string();
    let open = "select count(*) from connections where ended_at is null";
    eventually(DEADLINE, || async {
        scene.plane.fleet.count(open).await == 0
    })
    .await;

    let closed = "select end_reason, audit_complete, queries_reserved from connections";
    let row = storage.query_one(closed, &[]).await.unwrap();
    assert_eq!(
        (
            row.get::<_, &str>(0),
            row.get::<_, bool>(1),
            row.get::<_, i64>(2)
        ),
        ("proxy_lost", false, 32),
        "it may have run all of them"
    );
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 32);
    let events = scene.plane.fleet.events("proxy.lost").await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (
            &events[0]["committed_sequence"],
            &events[0]["connections"][0]
        ),
        (&2.into(), &id.into())
    );

    let mut attachment = scene.proxy.try_attach(&[&session]).await.unwrap();
    assert_eq!(
        attachment.terminated().await.reason(),
        TerminateReason::UnknownSession
    );
    let mut publisher = scene.proxy.publish().await.unwrap();
    assert_eq!(publisher.committed, 2);
    let query = Uuid::now_v7();
    publisher
        .store(vec![
            records::started(query, &session, 2, "select 2"),
            records::ended(query, &session),
            records::session_ended(&session, 2, 0),
        ])
        .await;
    let row = storage.query_one(closed, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, &str>(0), row.get::<_, bool>(1)),
        ("client_closed", true)
    );
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 2);
}

#[tokio::test]
async fn sessions_that_the_proxy_never_held_are_closed_when_it_attaches_again() {
    let mut scene = Scene::new().await;
    let (grant_id, held) = scene.session(|grant| grant.max_queries = Some(800)).await;
    let cut_off = scene.proxy.allowed(&ann()).await.session_id;
    let young = scene.proxy.allowed(&ann()).await.session_id;
    let storage = scene.plane.fleet.storage.connect().await;
    let older = "update connections set started_at = now() - interval '2 min' where id <> $1";
    let young = Uuid::from_slice(&young).unwrap();
    storage.execute(older, &[&young]).await.unwrap();
    let used = scene.admin.grant(grant_id).await.queries_used;
    let _attachment = scene.proxy.try_attach(&[&held]).await.unwrap();
    let closed =
        "select count(*) from connections where end_reason = 'not_held' and not audit_complete";
    eventually(DEADLINE, || async {
        scene.plane.fleet.count(closed).await == 1
    })
    .await;
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, used);
    let mut publisher = scene.proxy.publish().await.unwrap();
    publisher
        .store(vec![records::session_ended(&cut_off, 3, 0)])
        .await;
    assert_eq!(
        scene.plane.fleet.count(closed).await,
        0,
        "its end completes it"
    );
    assert!(scene.admin.grant(grant_id).await.queries_used < used);
}

#[tokio::test]
async fn a_login_that_the_proxy_gave_up_leaves_no_session_behind() {
    let mut scene = Scene::new().await;
    let grant_id = scene.grant(|grant| grant.max_queries = Some(800)).await;
    let client = Client::new("ann", "ann-password", "shop")
        .tls(b"")
        .password_in_clear();
    let mut login = scene.proxy.start_login(&client).await;
    login.next().await.unwrap();
    let password = v1::PasswordResponse {
        password: b"ann-password".to_vec(),
    };
    login
        .send(v1::login_request::Step::Password(password))
        .await;
    drop(login);
    // It was over before the password was checked, or the session was closed again, or the allow was on its way and
    // only the next attach can tell.
    let storage = scene.plane.fleet.storage.connect().await;
    let older = "update connections set started_at = now() - interval '2 min'";
    eventually(DEADLINE, || async {
        storage.batch_execute(older).await.unwrap();
        let mut attachment = scene.proxy.try_attach(&[]).await.unwrap();
        attachment.heartbeat().await;
        scene
            .plane
            .fleet
            .count("select count(*) from connections where ended_at is null")
            .await
            == 0
    })
    .await;
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 0);
}
