//! Quotas over many proxies: what is given is never more than there is, and what nobody uses is found.

use futures_util::future::join_all;
use pglens_rpc::v1;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::proxy_message::Message as Up;
use uuid::Uuid;

use crate::planes::Plane;
use crate::proxies::Proxy;
use crate::scene::{Scene, ann};
use crate::streams::{Attachment, send_up};

/// A session as its proxy sees it.
struct Session {
    id: Vec<u8>,
    grant_id: i64,
    request_id: u64,
    used: u64,
    held: u64,
}

impl Session {
    fn claim(&mut self, need: u64) -> v1::QuotaRequest {
        self.request_id += 1;
        v1::QuotaRequest {
            request_id: self.request_id,
            session_id: self.id.clone(),
            grant_id: self.grant_id,
            queries: need,
            queries_used: self.used,
            queries_held: self.held,
            ..Default::default()
        }
    }

    /// Asks for statements one message at a time, uses them, and gives back what is called back, until all are spent.
    async fn spend(&mut self, attachment: &mut Attachment) {
        loop {
            self.held = 0;
            attachment.ask_quota(self.claim(3)).await;
            let (slice, _recalls) = attachment.slice().await;
            assert_eq!(slice.request_id, self.request_id);
            if slice.queries_spent {
                return;
            }
            self.used += slice.queries.unwrap();
        }
    }
}

/// Another proxy, attached to another replica.
async fn second(scene: &Scene) -> (Plane, Proxy, Attachment) {
    let plane = scene.plane.fleet.start_plane().await;
    let proxy = Proxy::new(&plane, "proxy-2").await;
    let attachment = proxy.attach().await;
    (plane, proxy, attachment)
}

fn session(allow: v1::Allow) -> Session {
    Session {
        grant_id: allow.grant.unwrap().id,
        held: allow.quota.unwrap().queries.unwrap(),
        id: allow.session_id,
        request_id: 0,
        used: 0,
    }
}

#[tokio::test]
async fn a_quota_is_spent_to_its_end_and_not_beyond_whoever_asks_at_the_same_time() {
    let mut scene = Scene::new().await;
    let grant_id = scene.grant(|grant| grant.max_queries = Some(500)).await;
    let (_plane, other_proxy, mut other_attachment) = second(&scene).await;
    let mut first = session(scene.proxy.allowed(&ann()).await);
    let mut other = session(other_proxy.allowed(&ann()).await);
    let spending: [std::pin::Pin<Box<dyn Future<Output = ()>>>; 2] = [
        Box::pin(first.spend(&mut scene.attachment)),
        Box::pin(other.spend(&mut other_attachment)),
    ];
    join_all(spending).await;
    // Three at a time: two are left, and found by who needs less.
    assert_eq!(first.used + other.used, 498);
    other_attachment.ask_quota(other.claim(2)).await;
    let (slice, _) = other_attachment.slice().await;
    assert_eq!((slice.queries, slice.queries_spent), (Some(2), false));
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 500);

    let stranger = Uuid::now_v7();
    let request = v1::QuotaRequest {
        session_id: stranger.as_bytes().to_vec(),
        ..other.claim(1)
    };
    scene.attachment.ask_quota(request).await;
    let (slice, _) = scene.attachment.slice().await;
    assert_eq!((slice.queries, slice.queries_spent), (Some(0), true));
}

#[tokio::test]
async fn what_a_session_holds_and_does_not_use_is_called_back_through_every_replica() {
    let mut scene = Scene::new().await;
    scene.grant(|grant| grant.max_queries = Some(10)).await;
    let (_plane, other_proxy, mut other_attachment) = second(&scene).await;
    let mut idle = session(scene.proxy.allowed(&ann()).await);
    assert!(idle.held > 0);
    let mut busy = session(other_proxy.allowed(&ann()).await);
    busy.held = 0;
    other_attachment.ask_quota(busy.claim(10)).await;
    let Down::QuotaRecall(recall) = scene.attachment.next().await else {
        panic!()
    };
    assert_eq!(recall.grant_id, idle.grant_id);
    (idle.used, idle.held) = (1, 0);
    let sessions = vec![idle.claim(0)];
    send_up(
        &scene.attachment.sender,
        Up::QuotaReport(v1::QuotaReport { sessions }),
    )
    .await;
    // One is spent, so ten are not to be had, but nine are.
    let (slice, _) = other_attachment.slice().await;
    assert_eq!((slice.queries, slice.queries_spent), (Some(0), true));
    assert_eq!(slice.queries_spent_elsewhere, 1);
    other_attachment.ask_quota(busy.claim(9)).await;
    let (slice, _) = other_attachment.slice().await;
    assert_eq!((slice.queries, slice.queries_spent), (Some(9), false));
}

#[tokio::test]
async fn a_slice_that_never_arrived_is_free_again() {
    let mut scene = Scene::new().await;
    let grant_id = scene.grant(|grant| grant.max_queries = Some(100)).await;
    let mut one = session(scene.proxy.allowed(&ann()).await);
    one.held = 0;
    scene.attachment.ask_quota(one.claim(60)).await;
    let (lost, _) = scene.attachment.slice().await;
    assert_eq!(lost.queries, Some(60));
    scene.attachment.ask_quota(one.claim(100)).await;
    let (slice, _) = scene.attachment.slice().await;
    assert_eq!(slice.queries, Some(100));
    assert_eq!(scene.admin.grant(grant_id).await.queries_used, 100);
    // An earlier request that was slow on its way changes nothing.
    one.request_id -= 2;
    scene.attachment.ask_quota(one.claim(50)).await;
    one.request_id += 1;
    (one.used, one.held) = (100, 0);
    scene.attachment.ask_quota(one.claim(1)).await;
    let (slice, _) = scene.attachment.slice().await;
    assert_eq!(
        (slice.request_id, slice.queries_spent),
        (one.request_id, true)
    );
}

#[tokio::test]
async fn what_a_silent_proxy_holds_is_not_called_spent() {
    let mut scene = Scene::new().await;
    scene.grant(|grant| grant.max_queries = Some(10)).await;
    let (_plane, other_proxy, mut other_attachment) = second(&scene).await;
    let _silent = session(scene.proxy.allowed(&ann()).await);
    let mut busy = session(other_proxy.allowed(&ann()).await);
    busy.held = 0;
    other_attachment.ask_quota(busy.claim(10)).await;
    let (slice, _) = other_attachment.slice().await;
    assert_eq!(
        (slice.queries, slice.queries_spent, slice.queries_withheld),
        (Some(0), false, true)
    );
}

#[tokio::test]
async fn all_sessions_hear_that_a_quota_is_nearly_spent_and_once() {
    let mut scene = Scene::new().await;
    scene.grant(|grant| grant.max_queries = Some(100)).await;
    let (_plane, other_proxy, mut other_attachment) = second(&scene).await;
    let mut idle = session(scene.proxy.allowed(&ann()).await);
    idle.held = 0;
    scene.attachment.ask_quota(idle.claim(0)).await;
    let mut busy = session(other_proxy.allowed(&ann()).await);
    (busy.used, busy.held) = (busy.held, 0);
    let mut spent = busy.used;
    for _ in 0..8 {
        other_attachment.ask_quota(busy.claim(12)).await;
        let (slice, _) = other_attachment.slice().await;
        if spent < 80 {
            spent = busy.used;
        }
        busy.used += slice.queries.unwrap();
    }
    assert!((80..100).contains(&spent), "{spent}");
    let mut told = Vec::new();
    scene.attachment.heartbeat_sent().await;
    loop {
        match scene.attachment.next().await {
            Down::GrantSpent(spent) => told.push(spent.queries_spent),
            Down::LeaseExtension(_) if !told.is_empty() => break,
            Down::LeaseExtension(_) => scene.attachment.heartbeat_sent().await,
            _ => {}
        }
    }
    assert_eq!(told, [spent]);
}
