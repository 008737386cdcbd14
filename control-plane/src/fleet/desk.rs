//! Where sessions' claims on a grant's quotas are settled: one task for each grant that has claims, many claims at a time.
//!
//! A session that needs what others hold waits here while it is called back from every proxy. It is told that the quota
//! is spent only when nobody holds anything any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pglens_core::GrantId;
use pglens_rpc::v1::control_message::Message as Down;
use pglens_rpc::v1::{ControlMessage, GrantSpent, QuotaRecall};
use pglens_runtime::Chain;
use tokio::sync::Notify;

use super::quota::{self, Shortage};
use crate::app::App;
use crate::storage::StoreError;
use crate::storage::notify::QuotaWord;
use crate::storage::quota::QuotaAmount;
use crate::storage::quota_claim::{Claimed, QuotaClaim};

/// How long a session's need waits for what others hold. Shorter than the proxy's patience with a statement, so that the
/// client hears why.
const NEED_WAIT: Duration = Duration::from_millis(3_500);
/// How often what others hold is called back while somebody waits, and how often it is looked at again.
const RECALL_INTERVAL: Duration = Duration::from_millis(250);
/// Claims that wait for one grant: one for each of its sessions, and never more than this.
const MAX_PENDING: usize = 20_000;

/// The claims of all grants.
#[derive(Debug, Default)]
pub struct Desk {
    counters: Mutex<HashMap<GrantId, Counter>>,
}

/// The claims of one grant; there as long as its task runs.
#[derive(Debug, Default)]
struct Counter {
    pending: Vec<Pending>,
    wake: Arc<Notify>,
    recalled: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    claim: QuotaClaim,
    since: Instant,
}

impl Pending {
    fn waits(&self) -> bool {
        self.claim.need != QuotaAmount::default()
    }
}

/// Takes claims in; they are answered through the fleet.
pub fn submit(app: &Arc<App>, grant_id: GrantId, claims: impl IntoIterator<Item = QuotaClaim>) {
    let mut counters = app.desk.counters.lock();
    let is_new = !counters.contains_key(&grant_id);
    let counter = counters.entry(grant_id).or_default();
    for claim in claims {
        counter.add(claim);
    }
    let wake = Arc::clone(&counter.wake);
    drop(counters);
    if is_new {
        tokio::spawn(serve(Arc::clone(app), grant_id, wake));
    } else {
        wake.notify_one();
    }
}

/// Hears what another replica, or this one, says about a grant's quotas.
pub fn hear(app: &App, word: QuotaWord) {
    match word {
        QuotaWord::QuotaNeeded(grant_id) => {
            let mut counters = app.desk.counters.lock();
            let counter = counters.get_mut(&grant_id);
            if counter.is_some_and(|counter| !counter.may_recall()) {
                return; // this replica has just done so itself
            }
            drop(counters);
            recall(app, grant_id);
        }
        QuotaWord::QuotaFreed(grant_id) => {
            if let Some(counter) = app.desk.counters.lock().get(&grant_id) {
                counter.wake.notify_one();
            }
        }
        QuotaWord::QuotaNearlySpent(grant_id, queries_spent, bytes_spent) => {
            broadcast(
                app,
                &Down::GrantSpent(GrantSpent {
                    grant_id: grant_id.0,
                    queries_spent,
                    bytes_spent,
                }),
            );
        }
    }
}

impl Counter {
    /// The newest claim of a session counts; it has waited for as long as those before it.
    fn add(&mut self, claim: QuotaClaim) {
        let mut since = Instant::now();
        let same = |one: &Pending| one.claim.session_id == claim.session_id;
        if let Some(index) = self.pending.iter().position(same) {
            let earlier = self.pending.swap_remove(index);
            if earlier.claim.request_id > claim.request_id {
                self.pending.push(earlier);
                return;
            }
            if earlier.waits() {
                since = earlier.since;
            }
        }
        if self.pending.len() < MAX_PENDING {
            self.pending.push(Pending { claim, since });
        }
    }

    fn may_recall(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self
            .recalled
            .is_none_or(|at| now.saturating_duration_since(at) >= RECALL_INTERVAL);
        if is_due {
            self.recalled = Some(now);
        }
        is_due
    }
}

/// Settles the grant's claims until there are none.
async fn serve(app: Arc<App>, grant_id: GrantId, wake: Arc<Notify>) {
    loop {
        let batch = {
            let mut counters = app.desk.counters.lock();
            let Some(counter) = counters.get_mut(&grant_id) else {
                return;
            };
            if counter.pending.is_empty() {
                counters.remove(&grant_id);
                return;
            }
            std::mem::take(&mut counter.pending)
        };
        let still_waiting = match settle(&app, grant_id, batch).await {
            Ok(waiting) => waiting,
            Err(error) => {
                // The proxies ask again, or end the wait by themselves.
                tracing::warn!(grant.id = %grant_id, error = %Chain(&error), "claims on a quota not answered");
                Vec::new()
            }
        };
        if still_waiting.is_empty() {
            continue;
        }
        let calls_back = put_back(&app, grant_id, still_waiting);
        if calls_back {
            recall(&app, grant_id);
            tell(&app, &QuotaWord::QuotaNeeded(grant_id)).await;
        }
        let _woken_or_time = tokio::time::timeout(RECALL_INTERVAL, wake.notified()).await;
    }
}

/// Those that wait go on waiting, unless a newer claim of theirs has come. Says whether it is time to call back.
fn put_back(app: &App, grant_id: GrantId, waiting: Vec<Pending>) -> bool {
    let mut counters = app.desk.counters.lock();
    let counter = counters.entry(grant_id).or_default();
    let newer = std::mem::replace(&mut counter.pending, waiting);
    for one in newer {
        counter.add(one.claim);
    }
    counter.may_recall()
}

/// Settles a batch; returns those that wait for what others hold.
async fn settle(
    app: &App,
    grant_id: GrantId,
    mut batch: Vec<Pending>,
) -> Result<Vec<Pending>, StoreError> {
    // Needs before wishes, the oldest first.
    batch.sort_by_key(|one| (!one.waits(), one.since));
    let claims: Vec<QuotaClaim> = batch.iter().map(|one| one.claim).collect();
    let Some(settled) = app
        .storage
        .quota_claim(grant_id, &claims, quota::decide)
        .await?
    else {
        for claim in &claims {
            answer(
                app,
                claim,
                quota::nothing(claim.request_id, claim.session_id.to_wire()),
            );
        }
        return Ok(Vec::new());
    };
    let mut waiting = Vec::new();
    for (one, claimed) in batch.into_iter().zip(settled.claimed) {
        let claim = &one.claim;
        match claimed {
            Claimed::Stale => {}
            Claimed::NoSession => {
                let nothing = quota::nothing(claim.request_id, claim.session_id.to_wire());
                answer(app, claim, nothing);
            }
            Claimed::Settled {
                amount,
                state,
                others,
            } => {
                let short = quota::shortages(claim, amount, &others);
                let is_held = short.contains(&Some(Shortage::Held));
                if is_held && one.since.elapsed() < NEED_WAIT {
                    waiting.push(one);
                } else if one.waits() || claim.wanted != QuotaAmount::default() {
                    answer(app, claim, quota::message(claim, amount, &state, &others));
                }
            }
        }
    }
    if settled.freed {
        tell(app, &QuotaWord::QuotaFreed(grant_id)).await;
    }
    if settled.nearly_spent {
        let QuotaAmount { queries, bytes } = settled.spent;
        tell(app, &QuotaWord::QuotaNearlySpent(grant_id, queries, bytes)).await;
    }
    Ok(waiting)
}

fn answer(app: &App, claim: &QuotaClaim, slice: pglens_rpc::v1::QuotaSlice) {
    let message = ControlMessage {
        message: Some(Down::QuotaSlice(slice)),
    };
    // One that does not arrive is free again with the session's next claim.
    app.fleet.send(claim.run_id, message);
}

async fn tell(app: &App, word: &QuotaWord) {
    if let Err(error) = app.storage.quota_tell(word).await {
        tracing::warn!(error = %Chain(&error), "other replicas not told about a quota");
    }
}

fn recall(app: &App, grant_id: GrantId) {
    app.metrics.quota_recalled();
    let grant_id = grant_id.0;
    broadcast(app, &Down::QuotaRecall(QuotaRecall { grant_id }));
}

fn broadcast(app: &App, message: &Down) {
    for run_id in app.fleet.runs() {
        let message = ControlMessage {
            message: Some(message.clone()),
        };
        app.fleet.send(run_id, message);
    }
}
