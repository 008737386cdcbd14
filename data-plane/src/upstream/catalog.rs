//! Asks a target for its catalog, over a connection of its own: what the client set at its startup has no part in it.

use std::time::Duration;

use pglens_policy::{AllowedFunctions, CATALOG_QUERY, Catalog, CatalogBuilder, InvalidRow};
use pglens_wire::{backend, frontend};

use super::auth::{refused, send};
use super::{ConnectError, connect};
use crate::control::Target;

/// From the first packet to the last row: some thousand rows, on a busy server.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// A function's body is the longest that is asked for.
const MAX_ROW_BYTES: usize = 512 * 1024;
/// Bytes of all rows. A catalog of 50,000 functions has about 10 MB.
const MAX_CATALOG_BYTES: usize = 64 * 1024 * 1024;

/// Why a target's catalog could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("the target cannot be asked")]
    Connect(#[from] ConnectError),
    #[error("the target sent something else than a catalog")]
    Row(#[from] InvalidRow),
    #[error("the target sent a malformed row")]
    Malformed,
    #[error("the catalog is larger than {MAX_CATALOG_BYTES} bytes")]
    TooLarge,
    #[error("the catalog did not come within {FETCH_TIMEOUT:?}")]
    TimedOut,
}

/// The functions, operators and types of a target as a read grant may use them.
///
/// # Errors
/// When the target does not give them, in time and in full.
pub(crate) async fn catalog(
    target: &Target,
    allowed: AllowedFunctions,
) -> Result<Catalog, CatalogError> {
    let fetching = tokio::time::timeout(FETCH_TIMEOUT, fetch(target, allowed));
    fetching.await.map_err(|_| CatalogError::TimedOut)?
}

async fn fetch(target: &Target, allowed: AllowedFunctions) -> Result<Catalog, CatalogError> {
    let parameters = [
        ("application_name", "pglens: catalog"),
        ("search_path", "pg_catalog"),
        ("default_transaction_read_only", "on"),
        ("client_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut connection = connect(target, &parameters.to_vec()).await?.connection;
    let mut message = Vec::new();
    frontend::put_query(&mut message, CATALOG_QUERY);
    send(&mut connection, &message).await?;
    let mut builder = CatalogBuilder::new(allowed);
    let mut bytes = 0;
    loop {
        let frame = connection
            .read_frame(MAX_ROW_BYTES)
            .await
            .map_err(ConnectError::from)?;
        match frame.tag {
            backend::tag::DATA_ROW => {
                bytes += frame.payload.len();
                if bytes > MAX_CATALOG_BYTES {
                    return Err(CatalogError::TooLarge);
                }
                builder.row(&columns(&frame.payload).ok_or(CatalogError::Malformed)?)?;
            }
            backend::tag::ERROR_RESPONSE => return Err(refused(&frame.payload, true).into()),
            backend::tag::READY_FOR_QUERY => break,
            _ => {}
        }
    }
    let mut message = Vec::new();
    frontend::put_terminate(&mut message);
    // The server ends the session at the end of the connection as well.
    let _closed = send(&mut connection, &message).await;
    Ok(builder.finish())
}

/// The columns of a `DataRow`, none of them null.
fn columns(payload: &[u8]) -> Option<Vec<&str>> {
    let (count, mut rest) = payload.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _column in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
        let (value, behind) = behind.split_at_checked(length)?;
        columns.push(std::str::from_utf8(value).ok()?);
        rest = behind;
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_or_malformed() {
        let mut message = Vec::new();
        backend::put_data_row(&mut message, &[Some(b"a"), Some(b"")]);
        let payload = &message[5..];
        assert_eq!(columns(payload), Some(vec!["a", ""]));
        assert_eq!(columns(&payload[..payload.len() - 1]), None);
        let mut message = Vec::new();
        backend::put_data_row(&mut message, &[None]);
        assert_eq!(columns(&message[5..]), None);
    }
}
