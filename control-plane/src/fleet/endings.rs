//! How long it takes from a request to end sessions to their end: by the storage database's clock until the proxy is
//! told, and by this process's clock from there on. The proxies' clocks play no part.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pglens_core::SessionId;

use crate::storage::session_check::{DoomedSession, EndReason};

/// Sessions whose end is awaited; beyond that they are not timed.
const MAX_AWAITED: usize = 20_000;
/// A proxy that does not say so within this time will not: it is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The sessions that proxies were told to end and have not said to have ended.
#[derive(Debug, Default)]
pub struct Endings {
    awaited: Mutex<HashMap<SessionId, Awaited>>,
}

#[derive(Debug, Clone, Copy)]
struct Awaited {
    reason: EndReason,
    /// From the request to the first word to the proxy.
    before: Duration,
    told: Instant,
}

impl Endings {
    /// A proxy is told to end the session. The first time counts; says whether it is.
    pub fn told(&self, session: &DoomedSession) -> bool {
        let mut awaited = self.awaited.lock();
        if awaited.len() >= MAX_AWAITED {
            awaited.retain(|_, one| one.told.elapsed() < FORGOTTEN_AFTER);
        }
        if awaited.len() >= MAX_AWAITED || awaited.contains_key(&session.id) {
            return false;
        }
        let age_us = session.age_us.and_then(|us| u64::try_from(us).ok());
        let one = Awaited {
            reason: session.reason,
            before: Duration::from_micros(age_us.unwrap_or(0)),
            told: Instant::now(),
        };
        awaited.insert(session.id, one);
        true
    }

    /// The proxy says that the session has ended: why, and how long it took in all.
    pub fn ended(&self, session_id: SessionId) -> Option<(EndReason, Duration)> {
        let one = self.awaited.lock().remove(&session_id)?;
        Some((one.reason, one.before + one.told.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_core::{GrantId, RunId};
    use uuid::Uuid;

    #[test]
    fn the_time_before_the_proxy_was_told_counts() {
        let endings = Endings::default();
        let mut session = DoomedSession {
            id: SessionId(Uuid::now_v7()),
            run_id: RunId(Uuid::now_v7()),
            grant_id: GrantId(7),
            reason: EndReason::Killed,
            at: None,
            age_us: Some(300_000),
            by: None,
        };
        assert!(endings.told(&session));
        session.age_us = Some(9_000_000);
        assert!(!endings.told(&session), "it is told again until it ends");
        let (reason, took) = endings.ended(session.id).unwrap();
        assert_eq!(reason, EndReason::Killed);
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(9));
        assert!(endings.ended(session.id).is_none());
    }
}
