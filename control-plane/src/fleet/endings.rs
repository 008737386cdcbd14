//! How long it takes from a request to end sessions to their end: by the storage database's clock until the proxy is
//! told, and by this process's clock from there on. The proxies' clocks play no part.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pglens_core::SessionId;

use crate::storage::session_check::{DoomedSession, EndReason};

/// Sessions that are remembered; beyond that they are not timed.
const MAX_TOLD: usize = 20_000;
/// A proxy that does not say so within this time will not: it is gone. And storage has long heard of an end.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The sessions that proxies were told to end. Those that ended are kept too: storage hears of it a little later.
#[derive(Debug, Default)]
pub struct Endings {
    told: Mutex<HashMap<SessionId, Told>>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    reason: EndReason,
    /// From the request to the first word to the proxy.
    before: Duration,
    at: Instant,
    has_ended: bool,
}

impl Endings {
    /// A proxy is told to end the session. The first time counts; says whether it is.
    pub fn told(&self, session: &DoomedSession) -> bool {
        let mut told = self.told.lock();
        if told.len() >= MAX_TOLD {
            told.retain(|_, one| one.at.elapsed() < FORGOTTEN_AFTER);
        }
        if told.len() >= MAX_TOLD || told.contains_key(&session.id) {
            return false;
        }
        let age_us = session.age_us.and_then(|us| u64::try_from(us).ok());
        let one = Told {
            reason: session.reason,
            before: Duration::from_micros(age_us.unwrap_or(0)),
            at: Instant::now(),
            has_ended: false,
        };
        told.insert(session.id, one);
        true
    }

    /// The proxy says that the session has ended: why, and how long it took in all.
    pub fn ended(&self, session_id: SessionId) -> Option<(EndReason, Duration)> {
        let mut told = self.told.lock();
        let one = told.get_mut(&session_id).filter(|one| !one.has_ended)?;
        one.has_ended = true;
        Some((one.reason, one.before + one.at.elapsed()))
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
        assert!(!endings.told(&session), "storage has not heard of it yet");
    }
}
