//! The sessions of this proxy: how messages of the control plane and cancel requests find them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pglens_core::{GrantId, SessionId};
use pglens_rpc::v1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, watch};

use super::StorageClock;
use super::activity::{Activity, CancelTarget};
use crate::policy::quota::SharedQuota;
use crate::upstream::CancelKey;

/// Longer than any login can take, so that a `terminate` which overtakes the `allow` is still known.
const TOMBSTONE_LIFETIME: Duration = Duration::from_secs(120);
/// Ids are 16 bytes; this bounds the memory of a control plane that terminates sessions we never had.
const MAX_TOMBSTONES: usize = 10_000;

/// Why the control plane ends a session, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Termination {
    pub(crate) reason: v1::TerminateReason,
    pub(crate) message: String,
    pub(crate) detail: String,
    pub(crate) hint: String,
}

impl Termination {
    /// The word for the record.
    pub(crate) fn reason_word(&self) -> &'static str {
        match self.reason {
            v1::TerminateReason::Unspecified => "terminated",
            v1::TerminateReason::GrantRevoked => "revoked",
            v1::TerminateReason::GrantExpired => "expired",
            v1::TerminateReason::Killed => "killed",
            v1::TerminateReason::UserDisabled => "user_disabled",
            v1::TerminateReason::DatabaseDisabled => "database_disabled",
            v1::TerminateReason::PasswordChanged => "password_changed",
            v1::TerminateReason::UnknownSession => "unknown_session",
            v1::TerminateReason::WindowClosed => "window_closed",
        }
    }
}

/// What reaches a session from outside.
#[derive(Debug)]
pub(crate) struct SessionMessages {
    pub(crate) termination: watch::Receiver<Option<Termination>>,
    /// `None`: the grant has no quota.
    pub(crate) quota: Option<Arc<SharedQuota>>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, Handle>,
    /// By the process id that the client was told; several targets may use the same.
    cancel_keys: HashMap<u32, Vec<CancelEntry>>,
    tombstones: HashMap<SessionId, (Instant, Termination)>,
    tombstone_order: VecDeque<SessionId>,
}

#[derive(Debug)]
struct Handle {
    termination: watch::Sender<Option<Termination>>,
    quota: Option<Arc<SharedQuota>>,
}

#[derive(Debug)]
struct CancelEntry {
    session_id: SessionId,
    secret: Box<[u8]>,
    target: Arc<CancelKey>,
    activity: Arc<Activity>,
}

/// All sessions that were allowed and have not ended.
#[derive(Debug)]
pub(crate) struct Registry {
    state: Mutex<State>,
    /// Hears of terminated sessions that have ended.
    ended: mpsc::Sender<SessionId>,
}

impl Registry {
    pub(crate) fn new(ended: mpsc::Sender<SessionId>) -> Self {
        Self {
            state: Mutex::default(),
            ended,
        }
    }

    /// Enters a session that was just allowed.
    ///
    /// # Errors
    /// When it was terminated before its `allow` arrived.
    pub(crate) fn register(
        self: &Arc<Self>,
        session_id: SessionId,
        quota: Option<Arc<SharedQuota>>,
        now: Instant,
    ) -> Result<(Registration, SessionMessages), Termination> {
        let (termination, termination_receiver) = watch::channel(None);
        let mut state = self.state.lock();
        state.forget_old_tombstones(now);
        if let Some((_, termination)) = state.tombstones.get(&session_id) {
            return Err(termination.clone());
        }
        let handle = Handle {
            termination,
            quota: quota.clone(),
        };
        state.sessions.insert(session_id, handle);
        drop(state);
        let registration = Registration {
            registry: Arc::clone(self),
            session_id,
            activity: Arc::default(),
            process_id: None,
        };
        let messages = SessionMessages {
            termination: termination_receiver,
            quota,
        };
        Ok((registration, messages))
    }

    /// Ends sessions; ids that are not known are remembered for a login on its way.
    pub(crate) fn terminate(
        &self,
        sessions: impl IntoIterator<Item = SessionId>,
        termination: &Termination,
        now: Instant,
    ) {
        let mut state = self.state.lock();
        state.forget_old_tombstones(now);
        for session_id in sessions {
            if let Some(handle) = state.sessions.get(&session_id) {
                handle.termination.send_replace(Some(termination.clone()));
                continue;
            }
            let tombstone = (now, termination.clone());
            if state.tombstones.insert(session_id, tombstone).is_none() {
                state.tombstone_order.push_back(session_id);
            }
        }
    }

    /// Hands a quota slice to its session. One for a session that has ended comes back to the grant by its accounts.
    pub(crate) fn quota_slice(&self, session_id: SessionId, slice: &v1::QuotaSlice, now: Instant) {
        let state = self.state.lock();
        if let Some(handle) = state.sessions.get(&session_id)
            && let Some(quota) = &handle.quota
        {
            quota.add(slice, now);
        }
    }

    /// Takes back what sessions of the grant hold and do not need, and says how they stand.
    pub(crate) fn recall(&self, grant_id: GrantId) -> Vec<v1::QuotaRequest> {
        let quotas = self.quotas_of(grant_id);
        quotas.iter().filter_map(|quota| quota.recall()).collect()
    }

    /// Tells the sessions of a grant what all of them have spent.
    pub(crate) fn grant_spent(&self, spent: &v1::GrantSpent) {
        for quota in self.quotas_of(GrantId(spent.grant_id)) {
            quota.hear_total(spent);
        }
    }

    fn quotas_of(&self, grant_id: GrantId) -> Vec<Arc<SharedQuota>> {
        let state = self.state.lock();
        let quotas = state.sessions.values().filter_map(|one| one.quota.as_ref());
        let of_grant = quotas.filter(|quota| quota.grant_id() == grant_id);
        of_grant.map(Arc::clone).collect()
    }

    pub(crate) fn session_ids(&self) -> Vec<SessionId> {
        self.state.lock().sessions.keys().copied().collect()
    }

    pub(crate) fn session_count(&self) -> usize {
        self.state.lock().sessions.len()
    }

    /// Finds what a cancel request is for. `asked_at` is when the client's connection came: what began later is not
    /// meant.
    pub(crate) fn begin_cancel(
        &self,
        process_id: u32,
        secret: &[u8],
        asked_at: Instant,
    ) -> CancelTarget {
        let is_right = |entry: &CancelEntry| entry.secret.ct_eq(secret).into();
        self.cancel_target(process_id, is_right, |began| began < asked_at)
    }

    /// The same for one that another proxy handed over, with the time it was asked by the clock that proxies share.
    pub(crate) fn begin_handed_cancel(
        &self,
        cancel: &v1::Cancel,
        clock: &StorageClock,
    ) -> CancelTarget {
        let is_right = |entry: &CancelEntry| {
            let digest = key_digest(&entry.secret);
            digest.ct_eq(cancel.key_digest.as_slice()).into()
        };
        let is_meant = |began| {
            let latest = clock.latest_us(began);
            latest.is_some_and(|latest| latest < cancel.asked_at_unix_us)
        };
        self.cancel_target(cancel.process_id, is_right, is_meant)
    }

    fn cancel_target(
        &self,
        process_id: u32,
        is_right: impl Fn(&CancelEntry) -> bool,
        is_meant: impl Fn(Instant) -> bool,
    ) -> CancelTarget {
        let state = self.state.lock();
        let entries = state.cancel_keys.get(&process_id);
        let mut entries = entries.into_iter().flatten();
        match entries.find(|entry| is_right(entry)) {
            Some(entry) => Activity::begin_cancel(&entry.activity, &entry.target, is_meant),
            None => CancelTarget::UnknownKey,
        }
    }
}

/// What is told of a secret to those who need not know it.
pub(crate) fn key_digest(secret: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"pglens cancel key")
        .chain_update(secret)
        .finalize()
        .into()
}

impl State {
    fn forget_old_tombstones(&mut self, now: Instant) {
        while let Some(oldest) = self.tombstone_order.front() {
            let is_old = self.tombstones.get(oldest).is_none_or(|(since, _)| {
                now.saturating_duration_since(*since) > TOMBSTONE_LIFETIME
            });
            if !is_old && self.tombstone_order.len() <= MAX_TOMBSTONES {
                break;
            }
            if let Some(session_id) = self.tombstone_order.pop_front() {
                self.tombstones.remove(&session_id);
            }
        }
    }
}

/// A session's place in the registry; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    session_id: SessionId,
    activity: Arc<Activity>,
    process_id: Option<u32>,
}

impl Registration {
    pub(crate) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Makes the session reachable for cancel requests with the key its client was told.
    pub(crate) fn accept_cancels(&mut self, secret: Box<[u8]>, target: Arc<CancelKey>) {
        let process_id = target.process_id;
        self.process_id = Some(process_id);
        let entry = CancelEntry {
            session_id: self.session_id,
            secret,
            target,
            activity: Arc::clone(&self.activity),
        };
        let mut state = self.registry.state.lock();
        state.cancel_keys.entry(process_id).or_default().push(entry);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        if let Some(handle) = state.sessions.remove(&self.session_id)
            && handle.termination.borrow().is_some()
        {
            // Only its timing is lost when nobody listens.
            let _timed = self.registry.ended.try_send(self.session_id);
        }
        let Some(process_id) = self.process_id else {
            return;
        };
        if let Some(entries) = state.cancel_keys.get_mut(&process_id) {
            entries.retain(|entry| entry.session_id != self.session_id);
            if entries.is_empty() {
                state.cancel_keys.remove(&process_id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
