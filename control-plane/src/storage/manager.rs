//! Makes the pool's connections, and gives up those that do not answer.
//!
//! Storage ends a statement of ours by itself after some time. A network that swallows packets without a word swallows
//! that answer too. TCP notices when the machine is gone; it notices nothing while something in between, such as a
//! balancer, acknowledges in its name. So the connection itself is watched: whoever waits on it then has an error
//! instead, and the pool a place.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use pglens_runtime::Chain;
use tokio_postgres::Error;

use super::Dsn;
use super::pool::ApartConnection;

/// Set on each new connection, not in the startup packet, where poolers in front of the storage would refuse them. No
/// statement of ours runs for long; one that does holds locks. Compiling plans takes longer than running ours.
const SESSION_SETTINGS: &str = "set statement_timeout = '30s'; set lock_timeout = '10s'; \
     set idle_in_transaction_session_timeout = '30s'; set timezone = 'UTC'; set jit = off";

/// Connects, and watches over what it has connected.
#[derive(Debug)]
pub(super) struct Manager {
    dsn: Dsn,
    /// Of one use of a connection, which may be a transaction of several statements.
    use_limit: Duration,
}

/// A connection of the pool.
#[derive(Debug)]
pub(super) struct PooledClient {
    client: ClientWrapper,
    used: Arc<UsedSince>,
    is_given_up: AtomicBool,
}

/// When somebody last turned to the connection, while somebody has it.
#[derive(Debug, Default)]
struct UsedSince(Mutex<Option<Instant>>);

impl UsedSince {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock() = since;
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock()
    }
}

impl Manager {
    pub(super) fn new(dsn: Dsn, use_limit: Duration) -> Self {
        Self { dsn, use_limit }
    }
}

impl managed::Manager for Manager {
    type Type = PooledClient;
    type Error = Error;

    async fn create(&self) -> Result<PooledClient, Error> {
        // Large, and part of every future that asks for a client.
        let connecting = Box::pin(self.dsn.config.connect(self.dsn.tls.clone()));
        let (client, connection) = connecting.await?;
        let used = Arc::<UsedSince>::default();
        let driver = tokio::spawn(drive(connection, Arc::clone(&used), self.use_limit));
        // From here on dropping it ends the connection.
        let client = ClientWrapper::new(client, driver);
        client.batch_execute(SESSION_SETTINGS).await?;
        Ok(PooledClient {
            client,
            used,
            is_given_up: AtomicBool::new(false),
        })
    }

    /// A connection that the server closed is noticed by the driver without asking; a round trip on each checkout would
    /// find only the rare one whose machine vanished, and that is found when it is used.
    async fn recycle(&self, pooled: &mut PooledClient, _: &Metrics) -> RecycleResult<Error> {
        if pooled.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        if *pooled.is_given_up.get_mut() {
            return Err(RecycleError::message("the connection was given up"));
        }
        Ok(())
    }
}

/// Keeps a connection going until it ends, or does not answer.
async fn drive(connection: ApartConnection, used: Arc<UsedSince>, limit: Duration) {
    let mut connection = std::pin::pin!(connection);
    loop {
        let since = used.get();
        let due = since.unwrap_or_else(Instant::now) + limit;
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = %Chain(&error), "connection to storage ended");
                }
                return;
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
        if since.is_some() && used.get() == since {
            tracing::warn!(waited = ?limit, "storage does not answer, connection given up");
            return;
        }
    }
}

/// A connection that somebody uses; dropping it gives it back.
#[derive(Debug)]
pub struct UsedClient(managed::Object<Manager>);

impl UsedClient {
    pub(super) fn new(client: managed::Object<Manager>) -> Self {
        client.used.set(Some(Instant::now()));
        Self(client)
    }

    /// Sees to it that nobody uses the connection after this. Where a COPY fails before it has begun, tokio-postgres sends
    /// one Sync too many: every answer that comes then is taken for that to the statement before.
    pub fn give_up(&self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
    }
}

impl Deref for UsedClient {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.0.used.set(Some(Instant::now()));
        &self.0.client
    }
}

impl DerefMut for UsedClient {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        self.0.used.set(Some(Instant::now()));
        &mut self.0.client
    }
}

impl Drop for UsedClient {
    fn drop(&mut self) {
        self.0.used.set(None);
    }
}

#[cfg(test)]
mod tests {
    use pglens_testkit::TestPostgres;

    use super::*;
    use crate::storage::{Storage, StoreError};

    const LIMIT: Duration = Duration::from_millis(1500);

    #[tokio::test]
    async fn only_a_use_without_an_answer_ends_a_connection() {
        let database = TestPostgres::shared().await.create_database().await;
        let dsn = Dsn::parse(&database.url).unwrap();
        let storage = Storage::open_with(dsn, 1, LIMIT).unwrap();
        let backend = async || {
            let client = storage.client().await.unwrap();
            let row = client.query_one("select pg_backend_pid()", &[]).await;
            row.unwrap().get::<_, i32>(0)
        };
        let first = backend().await;
        // Together longer than the limit, each for itself shorter.
        let client = storage.client().await.unwrap();
        for _ in 0..5 {
            client.batch_execute("select pg_sleep(0.4)").await.unwrap();
        }
        drop(client);
        assert_eq!(backend().await, first);

        let client = storage.client().await.unwrap();
        let unanswered = client.batch_execute("select pg_sleep(20)").await;
        let error = StoreError::from(unanswered.unwrap_err());
        assert!(error.is_unavailable(), "{error:?}");
        drop(client);
        assert_ne!(backend().await, first);
    }

    #[tokio::test]
    async fn a_connection_that_was_given_up_is_not_used_again() {
        let database = TestPostgres::shared().await.create_database().await;
        let dsn = Dsn::parse(&database.url).unwrap();
        let storage = Storage::open_with(dsn, 1, LIMIT).unwrap();
        let client = storage.client().await.unwrap();
        client
            .batch_execute("set default_transaction_read_only = on")
            .await
            .unwrap();
        let copy = client
            .copy_in::<_, bytes::Bytes>("copy pg_class from stdin")
            .await;
        assert!(copy.is_err(), "it does not begin");
        // Should this be the answer to its own question one day, there is no need to give up connections any more.
        let answer = client.query_one("select 1", &[]).await;
        assert!(answer.is_err(), "{answer:?}");
        client.give_up();
        drop(client);
        let client = storage.client().await.unwrap();
        let row = client.query_one("select 1", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 1);
    }
}
