//! The catalogs of the targets that read grants lead to: fetched before the first statement, kept for a while, and
//! renewed while sessions use them.
//!
//! Credentials are never kept here: a renewal uses those of a session that is there.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use pglens_policy::{AllowedFunctions, Catalog};
use pglens_runtime::Chain;
use tokio::sync::Mutex;

use crate::control::Target;
use crate::upstream::catalog;

/// A catalog this old is fetched again: what an owner changes counts a minute later.
const RENEW_AFTER: Duration = Duration::from_secs(60);
/// A catalog that could not be renewed for so long is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// After a fetch that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// A catalog that nobody has asked for is dropped.
const DROP_AFTER: Duration = Duration::from_secs(600);
/// Databases and logins whose catalogs are kept, about 1 MB each.
const MAX_CATALOGS: u64 = 64;

/// The catalogs. Cheap to clone; clones share their contents.
#[derive(Clone)]
pub(crate) struct Catalogs {
    kept: moka::sync::Cache<Key, Arc<Kept>>,
}

/// A session's view of its target's catalog, which is renewed under it.
#[derive(Clone)]
pub(crate) struct CatalogView {
    kept: Arc<Kept>,
    /// Keeps the credentials for renewals as long as the session lasts.
    _target: Arc<Target>,
}

/// One target by one login, for sessions that allow the same functions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    host: String,
    port: u16,
    database: String,
    username: String,
    allowed: AllowedFunctions,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.host, self.port, &self.database, &self.username).hash(state);
        self.allowed.hash(state);
    }
}

struct Kept {
    allowed: AllowedFunctions,
    current: RwLock<Current>,
    /// Held while a fetch is under way, so that there is one at a time.
    fetching: Mutex<()>,
}

struct Current {
    catalog: Arc<Catalog>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
    /// Of the session that came last.
    target: Weak<Target>,
    /// Whether a task renews it.
    is_renewed: bool,
}

impl Catalogs {
    pub(crate) fn new() -> Self {
        Self {
            kept: moka::sync::Cache::builder()
                .max_capacity(MAX_CATALOGS)
                .time_to_idle(DROP_AFTER)
                .build(),
        }
    }

    /// The catalog of a session's target; fetched now unless a recent one is kept. Should that fail, the session has what
    /// is known without a catalog, until one can be had.
    pub(crate) async fn view(&self, target: &Target) -> CatalogView {
        let target = Arc::new(target.clone());
        let key = Key {
            host: target.host.clone(),
            port: target.port,
            database: target.database.clone(),
            username: target.username.clone(),
            allowed: target.allowed_functions.clone(),
        };
        let kept = self.kept.get_with(key, || {
            Arc::new(Kept {
                allowed: target.allowed_functions.clone(),
                current: RwLock::new(Current {
                    catalog: Arc::new(Catalog::unavailable(target.allowed_functions.clone())),
                    fetched_at: None,
                    tried_at: None,
                    target: Weak::new(),
                    is_renewed: false,
                }),
                fetching: Mutex::new(()),
            })
        });
        let is_renewed = {
            let mut current = kept.current.write();
            current.target = Arc::downgrade(&target);
            std::mem::replace(&mut current.is_renewed, true)
        };
        kept.renew(&target).await;
        if !is_renewed {
            tokio::spawn(renew_while_used(Arc::downgrade(&kept)));
        }
        CatalogView {
            kept,
            _target: target,
        }
    }
}

impl CatalogView {
    /// As it is known now.
    pub(crate) fn current(&self) -> Arc<Catalog> {
        Arc::clone(&self.kept.current.read().catalog)
    }
}

#[cfg(test)]
impl CatalogView {
    /// What is known without a catalog.
    pub(crate) fn for_tests(target: Target) -> Self {
        let catalog = Arc::new(Catalog::unavailable(AllowedFunctions::default()));
        let current = Current {
            catalog,
            fetched_at: None,
            tried_at: None,
            target: Weak::new(),
            is_renewed: false,
        };
        Self {
            kept: Arc::new(Kept {
                allowed: AllowedFunctions::default(),
                current: RwLock::new(current),
                fetching: Mutex::new(()),
            }),
            _target: Arc::new(target),
        }
    }
}

impl Kept {
    /// Fetches the catalog again if it is old.
    async fn renew(&self, target: &Target) {
        let _one_at_a_time = self.fetching.lock().await;
        if self.waits_for().is_some() {
            return;
        }
        let fetched = catalog::catalog(target, self.allowed.clone()).await;
        let now = Instant::now();
        let mut current = self.current.write();
        current.tried_at = Some(now);
        match fetched {
            Ok(catalog) => {
                current.fetched_at = Some(now);
                if !current.catalog.knows_the_same(&catalog) {
                    current.catalog = Arc::new(catalog);
                }
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "catalog of a target cannot be fetched");
                let is_too_old = |fetched_at: Instant| now - fetched_at > GIVE_UP_AFTER;
                if current.fetched_at.is_some_and(is_too_old) {
                    current.fetched_at = None;
                    current.catalog = Arc::new(Catalog::unavailable(self.allowed.clone()));
                }
            }
        }
    }

    /// The target of a session that is there; without one, the task that asks is to end.
    fn used_by(&self) -> Option<Arc<Target>> {
        let mut current = self.current.write();
        let target = current.target.upgrade();
        current.is_renewed = target.is_some();
        target
    }

    /// How long a renewal has to wait; `None`: it is due.
    fn waits_for(&self) -> Option<Duration> {
        let current = self.current.read();
        let fetched = current.fetched_at.map(|at| at + RENEW_AFTER);
        let tried = current.tried_at.map(|at| at + RETRY_AFTER);
        let due = fetched.max(tried)?;
        Some(due.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }
}

/// Renews the catalog as long as there is a session that uses it.
async fn renew_while_used(kept: Weak<Kept>) {
    loop {
        let Some(wait) = kept.upgrade().map(|kept| kept.waits_for()) else {
            return;
        };
        tokio::time::sleep(wait.unwrap_or(RETRY_AFTER)).await;
        let Some(kept) = kept.upgrade() else { return };
        let Some(target) = kept.used_by() else { return };
        kept.renew(&target).await;
    }
}
