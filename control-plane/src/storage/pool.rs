//! Connections to the storage database.

use std::time::Duration;

use deadpool::managed::Pool;
use deadpool_postgres::{Runtime, Status};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::manager::{Manager, UsedClient};
use super::{Dsn, StoreError};

/// A request that found no free connection by then is refused; more would wait behind it.
const POOL_WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// One use of a connection may last so long: several statements, each of which storage ends after half of that.
const USE_LIMIT: Duration = Duration::from_secs(60);

/// The stream of a connection made by [`Storage::connect_apart`].
pub type ApartConnection =
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// The storage database. Clones share one pool.
#[derive(Clone)]
pub struct Storage {
    pool: Pool<Manager>,
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
        Self::open_with(dsn, pool_size, USE_LIMIT)
    }

    pub(super) fn open_with(
        dsn: Dsn,
        pool_size: usize,
        use_limit: Duration,
    ) -> Result<Self, StoreError> {
        let pool = Pool::builder(Manager::new(dsn.clone(), use_limit))
            .max_size(pool_size)
            .wait_timeout(Some(POOL_WAIT_TIMEOUT))
            .create_timeout(Some(POOL_WAIT_TIMEOUT))
            .recycle_timeout(Some(POOL_WAIT_TIMEOUT))
            .runtime(Runtime::Tokio1)
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
    pub async fn client(&self) -> Result<UsedClient, StoreError> {
        Ok(UsedClient::new(self.pool.get().await?))
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
