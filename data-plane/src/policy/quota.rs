//! The session's share of its grant's quotas: slices given by the control plane, used before anything is let through.
//!
//! Every request tells how the session stands, in absolute numbers, and replaces the one before it: an answer to an
//! earlier request is not taken any more. So a slice that was lost with its stream is free again with the next request,
//! and none is ever counted twice. What a session holds and does not use can be called back at any time, without the
//! session: [`SharedQuota`] is where the stream to the control plane and the session meet.

mod budget;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pglens_core::GrantId;
use pglens_rpc::v1;
use tokio::sync::Notify;

pub(crate) use budget::Taken;
use budget::{Answer, Budget, Sizes};

/// A request without an answer after this long is made again: the stream broke under it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Slices grow from the first to the largest, so that even the fastest session asks about once in some seconds.
const QUERY_SLICES: Sizes = Sizes {
    first: 32,
    largest: 64 * 1024,
};
const BYTE_SLICES: Sizes = Sizes {
    first: 1024 * 1024,
    largest: 256 * 1024 * 1024,
};
/// Part of a quota, in percent, at which its users are told.
pub(crate) const NOTICE_PERCENT: u64 = 80;

/// What the session has used, for its accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) queries: u64,
    pub(crate) bytes: u64,
}

/// What is left of a grant's quotas; `None`: not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) queries: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// A quota that is nearly spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NearlySpent {
    pub(crate) what: &'static str,
    pub(crate) left: u64,
    pub(crate) max: u64,
}

impl std::fmt::Display for NearlySpent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, left, max } = self;
        write!(
            f,
            "the quota of the grant is nearly spent: {left} of {max} {what} are left"
        )
    }
}

#[derive(Debug)]
struct State {
    queries: Option<Budget>,
    bytes: Option<Budget>,
    last_request: u64,
    outstanding: Option<Outstanding>,
    told: [bool; 2],
}

/// The request whose answer counts.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    id: u64,
    since: Instant,
    queries: u64,
    bytes: u64,
}

/// The limited quotas of one session, for itself and for the stream to the control plane.
#[derive(Debug)]
pub(crate) struct SharedQuota {
    session_id: Vec<u8>,
    grant_id: GrantId,
    state: Mutex<State>,
    /// A slice came, or nothing is to be had.
    changed: Notify,
}

impl SharedQuota {
    pub(crate) fn grant_id(&self) -> GrantId {
        self.grant_id
    }

    /// Resolves when an answer came. Cancel safe: an answer that came before is not missed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the answer to the last request; one to an earlier request is void.
    pub(crate) fn add(&self, slice: &v1::QuotaSlice, now: Instant) {
        let mut state = self.state.lock();
        let Some(asked) = state
            .outstanding
            .filter(|asked| asked.id == slice.request_id)
        else {
            return;
        };
        state.outstanding = None;
        if let Some(queries) = &mut state.queries {
            queries.add(asked.queries, queries_of(slice), now);
        }
        if let Some(bytes) = &mut state.bytes {
            bytes.add(asked.bytes, bytes_of(slice), now);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Gives back what the session holds, unless it waits for more itself, and says how it stands.
    pub(crate) fn recall(&self) -> Option<v1::QuotaRequest> {
        let mut state = self.state.lock();
        let waits = |budget: &Option<Budget>| budget.as_ref().is_some_and(Budget::is_needed);
        if state.outstanding.is_some() || waits(&state.queries) || waits(&state.bytes) {
            return None;
        }
        let State { queries, bytes, .. } = &mut *state;
        for budget in [queries, bytes].into_iter().flatten() {
            budget.recall();
        }
        Some(self.message(&mut state, (0, 0), (0, 0)))
    }

    /// What all sessions of the grant have spent together.
    pub(crate) fn hear_total(&self, spent: &v1::GrantSpent) {
        let mut state = self.state.lock();
        if let Some(queries) = &mut state.queries {
            queries.hear_total(spent.queries_spent);
        }
        if let Some(bytes) = &mut state.bytes {
            bytes.hear_total(spent.bytes_spent);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn message(
        &self,
        state: &mut State,
        queries: (u64, u64),
        bytes: (u64, u64),
    ) -> v1::QuotaRequest {
        state.last_request += 1;
        let tell = |budget: &mut Option<Budget>| budget.as_mut().map_or((0, 0), Budget::tell);
        let (queries_used, queries_held) = tell(&mut state.queries);
        let (bytes_used, bytes_held) = tell(&mut state.bytes);
        v1::QuotaRequest {
            request_id: state.last_request,
            session_id: self.session_id.clone(),
            grant_id: self.grant_id.0,
            queries: queries.0,
            bytes: bytes.0,
            queries_used,
            bytes_used,
            queries_held,
            bytes_held,
            queries_wanted: queries.1,
            bytes_wanted: bytes.1,
        }
    }
}

/// Both budgets of a session.
#[derive(Debug)]
pub(crate) struct Quota {
    /// `None`: nothing is limited, and all there is to do is to count.
    shared: Option<Arc<SharedQuota>>,
    unlimited: Used,
}

impl Quota {
    pub(crate) fn new(shared: Option<Arc<SharedQuota>>) -> Self {
        Self {
            shared,
            unlimited: Used::default(),
        }
    }

    /// The limited quotas of a session that begins with a slice; `None` when the grant has none.
    pub(crate) fn shared(
        session_id: Vec<u8>,
        grant_id: GrantId,
        (max_queries, max_bytes): (Option<u64>, Option<u64>),
        first: &v1::QuotaSlice,
        now: Instant,
    ) -> Option<Arc<SharedQuota>> {
        if max_queries.is_none() && max_bytes.is_none() {
            return None;
        }
        let queries = queries_of(first);
        let bytes = bytes_of(first);
        Some(Arc::new(SharedQuota {
            session_id,
            grant_id,
            state: Mutex::new(State {
                queries: max_queries.map(|max| Budget::new(max, queries, QUERY_SLICES, now)),
                bytes: max_bytes.map(|max| Budget::new(max, bytes, BYTE_SLICES, now)),
                last_request: 0,
                outstanding: None,
                told: [false; 2],
            }),
            changed: Notify::new(),
        }))
    }

    pub(crate) fn take_queries(&mut self, count: u64, now: Instant) -> Taken {
        if let Some(shared) = &self.shared
            && let Some(queries) = &mut shared.state.lock().queries
        {
            return queries.take(count, now);
        }
        self.unlimited.queries += count;
        Taken::Yes
    }

    /// Statements that were paid for and did not run.
    pub(crate) fn give_back_queries(&mut self, count: u64) {
        if let Some(shared) = &self.shared
            && let Some(queries) = &mut shared.state.lock().queries
        {
            return queries.give_back(count);
        }
        self.unlimited.queries = self.unlimited.queries.saturating_sub(count);
    }

    pub(crate) fn take_bytes(&mut self, count: u64, now: Instant) -> Taken {
        if let Some(shared) = &self.shared
            && let Some(bytes) = &mut shared.state.lock().bytes
        {
            return bytes.take(count, now);
        }
        self.unlimited.bytes += count;
        Taken::Yes
    }

    /// What waited is given up.
    pub(crate) fn forget_need(&mut self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.state.lock();
            let State { queries, bytes, .. } = &mut *state;
            for budget in [queries, bytes].into_iter().flatten() {
                budget.forget_need();
            }
        }
    }

    pub(crate) fn used(&self) -> Used {
        let mut used = self.unlimited;
        if let Some(shared) = &self.shared {
            let state = shared.state.lock();
            used.queries += state.queries.as_ref().map_or(0, |budget| budget.used);
            used.bytes += state.bytes.as_ref().map_or(0, |budget| budget.used);
        }
        used
    }

    /// What is left of the grant for everybody, as far as this proxy knows.
    pub(crate) fn left(&self) -> Left {
        self.shared.as_ref().map_or_else(Left::default, |shared| {
            let state = shared.state.lock();
            Left {
                queries: state.queries.as_ref().map(Budget::left),
                bytes: state.bytes.as_ref().map(Budget::left),
            }
        })
    }

    /// The request to send now, if any.
    pub(crate) fn request(&mut self, now: Instant) -> Option<v1::QuotaRequest> {
        let shared = self.shared.as_ref()?;
        let mut state = shared.state.lock();
        if let Some(asked) = state.outstanding
            && now.saturating_duration_since(asked.since) < REQUEST_TIMEOUT
        {
            return None;
        }
        let ask = |budget: &Option<Budget>| budget.as_ref().map_or((0, 0), Budget::ask);
        let (queries, bytes) = (ask(&state.queries), ask(&state.bytes));
        if queries == (0, 0) && bytes == (0, 0) {
            state.outstanding = None;
            return None;
        }
        let request = shared.message(&mut state, queries, bytes);
        state.outstanding = Some(Outstanding {
            id: request.request_id,
            since: now,
            queries: queries.0,
            bytes: bytes.0,
        });
        Some(request)
    }

    /// When [`Quota::request`] must be asked again even if nothing else happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let shared = self.shared.as_ref()?;
        let outstanding = shared.state.lock().outstanding;
        outstanding.map(|asked| asked.since + REQUEST_TIMEOUT)
    }

    /// The quota whose users are to be told that it is nearly spent, once for each.
    pub(crate) fn nearly_spent(&mut self) -> Option<NearlySpent> {
        let shared = self.shared.as_ref()?;
        let mut state = shared.state.lock();
        let State {
            queries,
            bytes,
            told,
            ..
        } = &mut *state;
        let both = [("statements", queries), ("bytes", bytes)];
        for ((what, budget), told) in both.into_iter().zip(told) {
            let Some(budget) = budget else { continue };
            let (left, max) = (budget.left(), budget.max);
            // Without overflow for the largest of quotas.
            let is_near =
                left <= max - max / 100 * NOTICE_PERCENT - max % 100 * NOTICE_PERCENT / 100;
            if is_near && !*told {
                *told = true;
                return Some(NearlySpent { what, left, max });
            }
        }
        None
    }
}

fn queries_of(slice: &v1::QuotaSlice) -> Answer {
    Answer {
        amount: slice.queries.unwrap_or(0),
        spent: slice.queries_spent,
        withheld: slice.queries_withheld,
        elsewhere: slice.queries_spent_elsewhere,
    }
}

fn bytes_of(slice: &v1::QuotaSlice) -> Answer {
    Answer {
        amount: slice.bytes.unwrap_or(0),
        spent: slice.bytes_spent,
        withheld: slice.bytes_withheld,
        elsewhere: slice.bytes_spent_elsewhere,
    }
}

#[cfg(test)]
mod tests;
