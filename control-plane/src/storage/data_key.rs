//! The wrapped keys of captured values, one for each day and purpose.

use chrono::NaiveDate;

use super::{Storage, StoreError, column};
use crate::crypto::sealed_value::KeyPurpose;

const FETCH: &str = "select key_sealed from data_keys where day = $1 and purpose = $2";

const INSERT: &str = "insert into data_keys (day, purpose, key_sealed) values ($1, $2, $3) \
     on conflict (day, purpose) do nothing";

impl Storage {
    /// The wrapped key of `day`, if there is one.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn data_key_fetch(
        &self,
        day: NaiveDate,
        purpose: KeyPurpose,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(FETCH).await?;
        let row = client
            .query_opt(&statement, &[&day, &purpose.as_str()])
            .await?;
        row.map(|row| column(&row, "key_sealed")).transpose()
    }

    /// Keeps the wrapped key of `day`, unless there is one already.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn data_key_insert(
        &self,
        day: NaiveDate,
        purpose: KeyPurpose,
        wrapped: &[u8],
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(INSERT).await?;
        client
            .execute(&statement, &[&day, &purpose.as_str(), &wrapped])
            .await?;
        Ok(())
    }
}
