//! Brings the schema up to date. Replicas that start at once take turns through an advisory lock.

use super::{Storage, StoreError};

/// Any number that nobody else locks: "pglens" in ASCII.
const MIGRATION_LOCK: i64 = 0x7067_6c65_6e73;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Applies the migrations that are missing; returns how many.
///
/// # Errors
/// When the database cannot be reached, a migration fails, or the schema is newer than this program.
pub async fn migrate(storage: &Storage) -> Result<usize, StoreError> {
    let (mut client, connection) = storage.connect_apart().await?;
    let driver = tokio::spawn(connection);
    // The lock belongs to the session and falls with it, whatever happens below.
    client
        .execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    let report = embedded::migrations::runner()
        .run_async(&mut client)
        .await
        .map_err(|error| StoreError::Migration(Box::new(error)))?;
    drop(client);
    // Its end frees the lock; waiting for it keeps a replica from starting to serve with the lock still held.
    let _ended = driver.await;
    Ok(report.applied_migrations().len())
}
