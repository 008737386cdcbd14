//! Cancel requests for sessions of other proxies: they reach the one that holds the session, from any replica.

use pglens_rpc::v1;
use pglens_rpc::v1::CancelOutcome;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::fleet_client::FleetClient;

use crate::proxies::{CANCEL_KEY_DIGEST, Proxy};
use crate::scene::Scene;
use crate::streams::Attachment;

/// What `proxy` is told when it hands over a cancel request with this key.
async fn forward(proxy: &Proxy, key_digest: [u8; 32]) -> CancelOutcome {
    let request = v1::ForwardCancelRequest {
        run_id: proxy.run_id.as_bytes().to_vec(),
        process_id: 77,
        key_digest: key_digest.to_vec(),
        asked_at_unix_us: 5,
    };
    let mut fleet = FleetClient::new(proxy.channel.clone());
    let answer = fleet.forward_cancel(request).await.unwrap();
    answer.into_inner().outcome()
}

/// The next cancel request that the proxy is told of.
async fn cancelled(attachment: &mut Attachment) -> v1::Cancel {
    match attachment.next().await {
        Down::Cancel(cancel) => cancel,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cancel_reaches_the_proxy_that_holds_the_session_from_any_replica() {
    let mut scene = Scene::new().await;
    let second = scene.plane.fleet.start_plane().await;
    let here = Proxy::new(&scene.plane, "proxy-2").await;
    let there = Proxy::new(&second, "proxy-2").await;
    for proxy in [&here, &there] {
        let outcome = forward(proxy, CANCEL_KEY_DIGEST).await;
        assert_eq!(outcome, CancelOutcome::UnknownKey, "no session has it");
    }
    let _session = scene.session(|_| {}).await;
    for proxy in [&here, &there] {
        let outcome = forward(proxy, CANCEL_KEY_DIGEST).await;
        assert_eq!(outcome, CancelOutcome::HandedOver);
        let cancel = cancelled(&mut scene.attachment).await;
        assert_eq!((cancel.process_id, cancel.asked_at_unix_us), (77, 5));
        assert_eq!(cancel.key_digest, CANCEL_KEY_DIGEST);
        assert_eq!(forward(proxy, [8; 32]).await, CancelOutcome::UnknownKey);
    }
    let plain =
        "select count(*) from connections where cancel_key = decode(repeat('07', 32), 'hex')";
    let stored = scene.plane.fleet.count(plain).await;
    assert_eq!(stored, 0, "storage has no plain digest");
}

#[tokio::test]
async fn heartbeats_tell_what_storages_clock_shows() {
    let mut scene = Scene::new().await;
    let Down::LeaseExtension(extension) = scene.attachment.heartbeat().await else {
        panic!()
    };
    let now = chrono::Utc::now().timestamp_micros();
    let apart = (now - extension.storage_time_unix_us).abs();
    assert!(apart < 60_000_000, "{extension:?}");
}

#[tokio::test]
async fn what_is_no_digest_is_refused() {
    let scene = Scene::new().await;
    let request = v1::ForwardCancelRequest {
        key_digest: vec![1; 4],
        ..Default::default()
    };
    let mut fleet = FleetClient::new(scene.proxy.channel.clone());
    let refused = fleet.forward_cancel(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}
