//! What the target says of the columns of a result.

use std::sync::Arc;

use pglens_rpc::v1;
use pglens_wire::backend;

use super::ending::Ending;

/// Longest description that is kept for comparison: some fifty columns.
const MAX_KEPT_BYTES: usize = 2 * 1024;

/// The description that came last: most sessions run the same statements over and over.
#[derive(Debug, Default)]
pub(super) struct LastDescription {
    payload: Box<[u8]>,
    columns: Option<Arc<[v1::Column]>>,
}

impl LastDescription {
    /// Reads the payload of a `RowDescription`.
    pub(super) fn columns(&mut self, payload: &[u8]) -> Result<Arc<[v1::Column]>, Ending> {
        if let Some(columns) = &self.columns
            && *self.payload == *payload
        {
            return Ok(Arc::clone(columns));
        }
        let columns = decode(payload)?;
        if payload.len() <= MAX_KEPT_BYTES {
            self.payload = payload.into();
            self.columns = Some(Arc::clone(&columns));
        }
        Ok(columns)
    }
}

fn decode(payload: &[u8]) -> Result<Arc<[v1::Column]>, Ending> {
    let columns = backend::row_description(payload)
        .map_err(|_| Ending::target_protocol("a message is malformed"))?;
    let columns = columns.into_iter().map(|column| v1::Column {
        name: String::from_utf8_lossy(&column.name).into_owned(),
        type_oid: column.type_oid,
        type_modifier: column.type_modifier,
        format: u32::from(column.format),
        table_oid: column.table_oid,
        table_column: u32::from(column.table_column),
    });
    Ok(columns.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_description_is_read_once() {
        let mut last = LastDescription::default();
        let one = last.columns(b"\0\0").unwrap();
        assert!(Arc::ptr_eq(&one, &last.columns(b"\0\0").unwrap()));
        let column = [b"\0\x01a\0".as_slice(), &[0; 18]].concat();
        assert_eq!(last.columns(&column).unwrap()[0].name, "a");
        assert!(last.columns(b"\0\x01").is_err());
    }
}
