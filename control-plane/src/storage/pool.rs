//! Connections to the storage database.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Status,
};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Dsn, StoreError};

/// A request that found no free connection by then is refused; more would wait behind it.
const POOL_WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Set on each new connection, not in the startup packet, where poolers in front of the storage would refuse them. No
/// statement of ours runs for long; one that does holds locks. Compiling plans takes longer than running ours.
const SESSION_SETTINGS: &str = "set statement_timeout = '30s'; set lock_timeout = '10s'; \
     set idle_in_transaction_session_timeout = '30s'; set timezone = 'UTC'; set jit = off";

/// The stream of a connection made by [`Storage::connect_apart`].
pub type ApartConnection =
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// The storage database. Clones share one pool.
#[derive(Clone)]
pub struct Storage {
    pool: Pool,
    dsn: Dsn,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({})", self.dsn)
    }
}

impl Storage {
    /// A pool of up to `pool_size` connections; the first is made when it is needed.
    ///
    /// # Errors
    /// When the pool cannot be built, which is a defect.
    pub fn open(dsn: Dsn, pool_size: usize) -> Result<Self, StoreError> {
        // A connection that the server closed is noticed by the driver without asking; a round trip on each checkout
        // would find only the rare one whose machine vanished, and TCP's own timeouts end those.
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(dsn.config.clone(), dsn.tls.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .wait_timeout(Some(POOL_WAIT_TIMEOUT))
            .create_timeout(Some(POOL_WAIT_TIMEOUT))
            .recycle_timeout(Some(POOL_WAIT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    client
                        .batch_execute(SESSION_SETTINGS)
                        .await
                        .map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| StoreError::Malformed {
                column: "pool",
                reason: error.to_string(),
            })?;
        Ok(Self { pool, dsn })
    }

    /// As [`Storage::open`], and waits for a first connection.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect(dsn: Dsn, pool_size: usize) -> Result<Self, StoreError> {
        let storage = Self::open(dsn, pool_size)?;
        storage.ping().await?;
        Ok(storage)
    }

    /// A connection from the pool; dropping it gives it back.
    ///
    /// # Errors
    /// When none is free or can be made in time.
    pub async fn client(&self) -> Result<Object, StoreError> {
        Ok(self.pool.get().await?)
    }

    /// One round trip to the database.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.client().await?.simple_query("").await?;
        Ok(())
    }

    /// A connection outside the pool, without its timeouts: for migrations and for LISTEN. The second part has to be
    /// polled for the first to work.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect_apart(&self) -> Result<(Client, ApartConnection), StoreError> {
        Ok(self.dsn.config.connect(self.dsn.tls.clone()).await?)
    }

    /// How the pool stands, for metrics.
    #[must_use]
    pub fn pool_status(&self) -> Status {
        self.pool.status()
    }

    /// Closes idle connections and refuses new ones.
    pub fn close(&self) {
        self.pool.close();
    }
}
