//! The sessions of this proxy: how messages of the control plane and cancel requests find them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pglens_core::{GrantId, SessionId};
use pglens_rpc::v1;
use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, watch};

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

/// What a session shows of itself to cancel requests.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// A statement is on its way or running.
    busy: AtomicBool,
    /// Cancel requests that are being handed to the target now; no new statement starts meanwhile.
    cancels: AtomicU32,
}

impl Activity {
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::SeqCst);
    }

    /// Whether a cancel request is on its way to the target, which must not hit a later statement.
    pub(crate) fn is_being_cancelled(&self) -> bool {
        self.cancels.load(Ordering::SeqCst) > 0
    }
}

/// A cancel request on its way to the target.
#[derive(Debug)]
pub(crate) struct CancelInProgress {
    activity: Arc<Activity>,
    pub(crate) target: Arc<CancelKey>,
}

impl CancelInProgress {
    /// One that the proxy makes itself: until it is dropped, no new statement starts.
    pub(crate) fn begin(activity: &Arc<Activity>, target: &Arc<CancelKey>) -> Self {
        activity.cancels.fetch_add(1, Ordering::SeqCst);
        Self {
            activity: Arc::clone(activity),
            target: Arc::clone(target),
        }
    }
}

impl Drop for CancelInProgress {
    fn drop(&mut self) {
        self.activity.cancels.fetch_sub(1, Ordering::SeqCst);
    }
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

    /// Finds the target of a cancel request, if the key is right and the session has something to cancel.
    pub(crate) fn begin_cancel(&self, process_id: u32, secret: &[u8]) -> Option<CancelInProgress> {
        let state = self.state.lock();
        let entries = state.cancel_keys.get(&process_id)?;
        let mut right = entries
            .iter()
            .filter(|entry| entry.secret.ct_eq(secret).into());
        let entry = right.next()?;
        entry.activity.cancels.fetch_add(1, Ordering::SeqCst);
        let cancel = CancelInProgress {
            activity: Arc::clone(&entry.activity),
            target: Arc::clone(&entry.target),
        };
        entry.activity.busy.load(Ordering::SeqCst).then_some(cancel)
    }
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
