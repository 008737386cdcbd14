//! What the target says of the columns of a result.

use pglens_rpc::v1;
use pglens_wire::backend;

use super::ending::Ending;
use crate::audit::Columns;

/// Longest description that is kept for comparison: some fifty columns.
const MAX_KEPT_BYTES: usize = 2 * 1024;

/// The description that came last: most sessions run the same statements over and over.
#[derive(Debug, Default)]
pub(super) struct LastDescription {
    payload: Box<[u8]>,
    columns: Columns,
}

impl LastDescription {
    /// Reads the payload of a `RowDescription`.
    pub(super) fn columns(&mut self, payload: &[u8]) -> Result<Columns, Ending> {
        if !payload.is_empty() && *self.payload == *payload {
            return Ok(self.columns.clone());
        }
        let columns = decode(payload)?;
        if payload.len() <= MAX_KEPT_BYTES {
            self.payload = payload.into();
            self.columns = columns.clone();
        }
        Ok(columns)
    }
}

fn decode(payload: &[u8]) -> Result<Columns, Ending> {
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
    Ok(Columns::new(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_description_is_read_once() {
        let mut last = LastDescription::default();
        let one = last.columns(b"\0\0").unwrap();
        assert!(one.is_same(&last.columns(b"\0\0").unwrap()));
        let column = [b"\0\x01a\0".as_slice(), &[0; 18]].concat();
        let other = last.columns(&column).unwrap();
        assert!(other.fields().contains(&b'a') && !other.is_same(&one));
        assert!(last.columns(b"\0\x01").is_err());
    }
}
