//! Attached proxies: what ends their sessions, how fast, and what becomes of those that fall silent.

use std::time::{Duration, Instant};

use pglens_rpc::v1;
use pglens_rpc::v1::TerminateReason;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_testkit::{DEADLINE, eventually};
use uuid::Uuid;

use crate::proxies::{Client, Proxy};
use crate::scene::{Scene, ann};

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
async fn a_revocation_without_a_notification_is_found_within_a_second() {
    let mut scene = Scene::new().await;
    let (id, session_id) = scene.session(|_| {}).await;
    let storage = scene.plane.fleet.storage.connect().await;
    let begun = Instant::now();
    let revoked = "update grants set revoked_at = now() where id = $1";
    storage.execute(revoked, &[&id]).await.unwrap();
    let terminate = scene.attachment.terminated().await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!(terminate.session_ids, [session_id]);
    assert_eq!(terminate.reason(), TerminateReason::GrantRevoked);
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
async fn changes_are_heard_of_after_the_listening_connection_was_cut() {
    let mut scene = Scene::new().await;
    let storage = scene.plane.fleet.storage.connect().await;
    let listening =
        "from pg_stat_activity where query like 'listen %' and datname = current_database()";
    let count = format!("select count(*) {listening}");
    eventually(DEADLINE, || async {
        scene.plane.fleet.count(&count).await == 1
    })
    .await;
    let (id, session) = scene.session(|_| {}).await;
    let cut = format!("select pg_terminate_backend(pid), pid {listening}");
    let cut_off: i32 = storage.query_one(&cut, &[]).await.unwrap().get(1);
    // Nobody listens at this moment: the replica finds out when it does again.
    scene
        .admin
        .grants
        .revoke_grant(v1::RevokeGrantRequest { id })
        .await
        .unwrap();
    let terminate = scene.attachment.terminated().await;
    assert_eq!(terminate.session_ids, [session]);
    let again = format!("{count} and pid <> {cut_off}");
    eventually(DEADLINE, || async {
        scene.plane.fleet.count(&again).await == 1
    })
    .await;
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
