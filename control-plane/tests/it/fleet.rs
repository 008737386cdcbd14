//! Attached proxies: what ends their sessions, how fast, and what becomes of those that fall silent.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pglens_rpc::v1;
use pglens_rpc::v1::TerminateReason;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_testkit::{DEADLINE, eventually};
use uuid::Uuid;

use crate::proxies::{Client, Proxy};
use crate::records;
use crate::scene::{Scene, ann};
use crate::streams::Attachment;

/// What revoking promises while the control plane is connected.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_run_keeps_its_record_key_and_its_proxy() {
    let scene = Scene::new().await;
    let welcome = &scene.attachment.welcome;
    assert_eq!(welcome.record_key.len(), 32);
    assert_eq!(
        (welcome.proxy_name.as_str(), welcome.lease_ms),
        ("proxy-1", 15_000)
    );
    let again = scene.proxy.attach().await;
    assert_eq!(again.welcome.record_key, welcome.record_key);
    let other = Proxy::new(&scene.plane, "proxy-1").await.attach().await;
    assert_ne!(other.welcome.record_key, welcome.record_key);
}

#[tokio::test]
async fn heartbeats_extend_the_lease() {
    let mut scene = Scene::new().await;
    let Down::LeaseExtension(extension) = scene.attachment.heartbeat().await else {
        panic!()
    };
    assert_eq!(extension.lease_ms, 15_000);
}

#[tokio::test]
async fn revoking_ends_the_sessions_of_the_grant_at_once_from_any_replica() {
    let mut scene = Scene::new().await;
    let second = scene.plane.fleet.start_plane().await;
    let (id, session_id) = scene.session(|_| {}).await;
    let begun = Instant::now();
    let mut admin = second.admin().await;
    admin
        .grants
        .revoke_grant(v1::RevokeGrantRequest { id })
        .await
        .unwrap();
    let terminate = scene.attachment.terminated().await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(terminate.session_ids, [session_id]);
    assert_eq!(terminate.reason(), TerminateReason::GrantRevoked);
    assert_eq!(
        terminate.message,
        "terminating connection: the grant was revoked"
    );
    assert!(
        terminate
            .detail
            .starts_with(&format!("Grant {id} was revoked by admin at 20"))
    );
}

#[tokio::test]
async fn changes_of_user_and_database_end_their_sessions_at_once() {
    let mut scene = Scene::new().await;
    let (user, database) = (scene.user_id, scene.database_id);
    let update_user = |change: fn(&mut v1::UpdateUserRequest)| {
        let mut request = v1::UpdateUserRequest {
            id: user,
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let update_database = |change: fn(&mut v1::UpdateDatabaseRequest)| {
        let mut request = v1::UpdateDatabaseRequest {
            id: database,
            ..Default::default()
        };
        change(&mut request);
        request
    };

    let (_, session) = scene.session(|_| {}).await;
    let harmless = update_database(|database| database.description = Some("x".to_owned()));
    scene
        .admin
        .databases
        .update_database(harmless)
        .await
        .unwrap();
    let moved = update_database(|database| database.host = Some("elsewhere".to_owned()));
    let begun = Instant::now();
    scene.admin.databases.update_database(moved).await.unwrap();
    let terminate = scene.attachment.terminated().await;
    assert!(begun.elapsed() < AT_ONCE);
    assert_eq!(
        terminate.message,
        "terminating connection: the database was moved in PgLens"
    );
    assert_eq!(terminate.session_ids, [session]);
    end_all(&scene).await;

    let session = scene.proxy.allowed(&ann()).await.session_id;
    let password = update_user(|user| user.password = Some("another password".to_owned()));
    scene.admin.users.update_user(password).await.unwrap();
    let terminate = scene.attachment.terminated().await;
    assert_eq!(terminate.reason(), TerminateReason::PasswordChanged);
    assert_eq!(terminate.session_ids, [session]);
    end_all(&scene).await;

    let again = Client::new("ann", "another password", "shop");
    let session = scene.proxy.allowed(&again).await.session_id;
    let disabled = update_user(|user| user.is_disabled = Some(true));
    scene.admin.users.update_user(disabled).await.unwrap();
    let terminate = scene.attachment.terminated().await;
    assert_eq!(terminate.reason(), TerminateReason::UserDisabled);
    assert_eq!(terminate.session_ids, [session]);
}

/// Closes every session as if its end had been published.
async fn end_all(scene: &Scene) {
    let storage = scene.plane.fleet.storage.connect().await;
    storage
        .batch_execute("update connections set ended_at = now()")
        .await
        .unwrap();
}

#[tokio::test]
async fn attaching_again_tells_what_was_missed() {
    let mut scene = Scene::new().await;
    let (kept, kept_session) = scene.session(|_| {}).await;
    let (id, revoked_session) = scene
        .session(|grant| grant.access_level = v1::AccessLevel::Write.into())
        .await;
    assert_ne!(kept, id);
    drop(scene.attachment);
    scene
        .admin
        .grants
        .revoke_grant(v1::RevokeGrantRequest { id })
        .await
        .unwrap();
    let stranger = Uuid::now_v7().as_bytes().to_vec();
    let held: [&[u8]; 3] = [&kept_session, &revoked_session, &stranger];
    let mut attachment = scene.proxy.try_attach(&held).await.unwrap();
    let mut ended = [attachment.terminated().await, attachment.terminated().await];
    ended.sort_by_key(v1::Terminate::reason);
    assert_eq!(ended[0].reason(), TerminateReason::GrantRevoked);
    assert_eq!(ended[0].session_ids, [revoked_session]);
    assert_eq!(ended[1].reason(), TerminateReason::UnknownSession);
    assert_eq!(ended[1].session_ids, [stranger]);
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
    let given_back = used - scene.admin.grant(grant_id).await.queries_used;
    assert!(given_back > 0);
    let mut publisher = scene.proxy.publish().await.unwrap();
    publisher
        .store(vec![records::session_ended(&cut_off, 3, 0)])
        .await;
    assert_eq!(
        scene.plane.fleet.count(closed).await,
        0,
        "its end completes it"
    );
}

#[tokio::test]
async fn expiry_is_told_with_the_heartbeat() {
    let mut scene = Scene::new().await;
    let (_, session) = scene.session(|_| {}).await;
    let storage = scene.plane.fleet.storage.connect().await;
    let expire =
        "update grants set starts_at = now() - interval '2 s', expires_at = now() - interval '1 s'";
    storage.batch_execute(expire).await.unwrap();
    let Down::Terminate(terminate) = scene.attachment.heartbeat().await else {
        panic!()
    };
    assert_eq!(terminate.reason(), TerminateReason::GrantExpired);
    assert_eq!(terminate.session_ids, [session]);
}

#[tokio::test]
async fn a_quota_is_handed_out_once_whoever_asks_at_the_same_time() {
    let mut scene = Scene::new().await;
    let (grant_id, first) = scene.session(|grant| grant.max_queries = Some(500)).await;
    let second_plane = scene.plane.fleet.start_plane().await;
    let second_proxy = Proxy::new(&second_plane, "proxy-2").await;
    let mut second_attachment = second_proxy.attach().await;
    let second = second_proxy.allowed(&ann()).await.session_id;

    let given: i64 = scene
        .plane
        .fleet
        .count("select sum(queries_reserved)::bigint from connections")
        .await;
    let mut given = u64::try_from(given).unwrap();
    let ask = |attachment: &Attachment, session: &[u8]| {
        let (sender, session) = (attachment.sender.clone(), session.to_vec());
        async move {
            for request_id in 0..20 {
                let request = v1::QuotaRequest {
                    request_id,
                    session_id: session.clone(),
                    queries: 9,
                    bytes: 0,
                };
                let message = Some(v1::proxy_message::Message::QuotaRequest(request));
                sender.send(v1::ProxyMessage { message }).await.unwrap();
            }
        }
    };
    join_all([
        ask(&scene.attachment, &first),
        ask(&second_attachment, &second),
    ])
    .await;
    let mut spent = 0;
    for _ in 0..20 {
        for attachment in [&mut scene.attachment, &mut second_attachment] {
            let Down::QuotaSlice(slice) = attachment.next().await else {
                panic!()
            };
            given += slice.queries.unwrap();
            spent += u64::from(slice.queries_spent);
        }
    }
    assert_eq!(given, 500);
    assert!(spent > 0);
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 500);
    let stranger = Uuid::now_v7();
    let slice = scene.attachment.quota(stranger.as_bytes(), 1, 1).await;
    assert_eq!(
        (slice.queries, slice.bytes, slice.queries_spent),
        (Some(0), Some(0), true)
    );
}

#[tokio::test]
async fn what_a_session_did_not_use_goes_back() {
    let mut scene = Scene::new().await;
    let (grant_id, session) = scene.session(|grant| grant.max_queries = Some(800)).await;
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 100);
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
        ("proxy_lost", false, 1)
    );
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 1);
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
