//! Cancel requests of clients: each carries the key of one session, of this proxy or of another.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use parking_lot::Mutex;
use pglens_wire::startup::CancelRequest;

use super::SessionDeps;
use super::startup::Asked;
use crate::control::registry::key_digest;
use crate::metrics::{CancelOrigin, CancelOutcome};

/// Wrong keys that an address may send at once: sessions end while somebody presses Ctrl-C.
const WRONG_KEYS_AT_ONCE: f64 = 20.0;
/// And how many each second from then on. Four random bytes are safe from whoever may try two in a second.
const WRONG_KEYS_PER_SECOND: f64 = 2.0;
/// Addresses remembered; each costs some hundred bytes.
const MAX_ADDRESSES: u64 = 10_000;
/// By then a bucket is full again.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// What one customer of an IPv6 provider has at least.
const IPV6_PREFIX_BITS: u32 = 64;

/// Serves a cancel request. The client gets no answer whatever comes of it, as from PostgreSQL. On return everything is
/// done that can be done here.
pub(crate) async fn forward(asked: &Asked, asked_at: Instant, deps: &SessionDeps) {
    let outcome = serve(&asked.request, asked.peer, asked_at, deps).await;
    deps.metrics.cancel(CancelOrigin::Client, outcome);
}

async fn serve(
    request: &CancelRequest,
    peer: SocketAddr,
    asked_at: Instant,
    deps: &SessionDeps,
) -> CancelOutcome {
    let CancelRequest { process_id, secret } = request;
    if deps.wrong_keys.are_too_many(peer.ip(), Instant::now()) {
        return CancelOutcome::RateLimited;
    }
    let own = deps.registry.begin_cancel(*process_id, secret, asked_at);
    let outcome = match own.send().await {
        CancelOutcome::UnknownKey => {
            let digest = key_digest(secret);
            deps.cancels.forward(*process_id, digest, asked_at).await
        }
        outcome => outcome,
    };
    if matches!(
        outcome,
        CancelOutcome::UnknownKey | CancelOutcome::Uncertain
    ) {
        deps.wrong_keys.count(peer.ip(), Instant::now());
    }
    outcome
}

/// How many wrong keys came from where.
#[derive(Debug)]
pub(crate) struct WrongKeys {
    buckets: Cache<IpAddr, Arc<Mutex<Bucket>>>,
}

/// Wrong keys that are left to an address.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + seconds * WRONG_KEYS_PER_SECOND).min(WRONG_KEYS_AT_ONCE);
        self.at = now;
    }
}

impl Default for WrongKeys {
    fn default() -> Self {
        let buckets = Cache::builder()
            .max_capacity(MAX_ADDRESSES)
            .time_to_idle(REMEMBERED_FOR)
            .build();
        Self { buckets }
    }
}

impl WrongKeys {
    fn are_too_many(&self, address: IpAddr, now: Instant) -> bool {
        let Some(bucket) = self.buckets.get(&network_of(address)) else {
            return false;
        };
        let mut bucket = bucket.lock();
        bucket.refill(now);
        bucket.left < 1.0
    }

    fn count(&self, address: IpAddr, now: Instant) {
        let full = || {
            Arc::new(Mutex::new(Bucket {
                left: WRONG_KEYS_AT_ONCE,
                at: now,
            }))
        };
        let bucket = self.buckets.get_with(network_of(address), full);
        let mut bucket = bucket.lock();
        bucket.refill(now);
        bucket.left = (bucket.left - 1.0).max(0.0);
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let host_bits = u128::BITS - IPV6_PREFIX_BITS;
            IpAddr::V6((address.to_bits() >> host_bits << host_bits).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_wrong_keys_and_gets_more_with_time() {
        let (keys, now) = (WrongKeys::default(), Instant::now());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..20 {
            assert!(!keys.are_too_many(one, now));
            keys.count(one, now);
        }
        assert!(keys.are_too_many(one, now) && keys.are_too_many(neighbour, now));
        assert!(!keys.are_too_many(other, now));
        let later = now + Duration::from_secs(1);
        assert!(!keys.are_too_many(one, later));
        keys.count(one, later);
        keys.count(one, later);
        assert!(keys.are_too_many(one, later));
    }
}
