//! The columns of a result: kept as the message that brought them, shown as JSON.

use bytes::Bytes;
use pglens_rpc::convert::InvalidField;
use pglens_rpc::v1;
use prost::Message;
use serde_json::{Value, json};

use super::encoded::{Column, StatementEnded};
use super::text::word;

/// The names of columns and tables have 63 bytes in PostgreSQL.
const NAME_BYTES: usize = 256;

/// Columns as they are kept: a `StatementEnded` message with nothing else in it. `None`: there are none.
///
/// # Errors
/// When one of them could not be read again.
pub fn pack_columns(mut columns: Vec<Bytes>) -> Result<Option<Bytes>, InvalidField> {
    if columns.is_empty() {
        return Ok(None);
    }
    for encoded in &mut columns {
        let column = Column::decode(encoded.clone())
            .map_err(|error| InvalidField::new("columns", error.to_string()))?;
        if column.name.len() > NAME_BYTES {
            let name = word("columns.name", column.name.clone(), NAME_BYTES)?;
            let name = name.into_bytes();
            *encoded = Column { name, ..column }.encode_to_vec().into();
        } else if std::str::from_utf8(&column.name).is_err() {
            return Err(InvalidField::new("columns.name", "is not UTF-8"));
        }
    }
    let kept = StatementEnded {
        columns,
        ..Default::default()
    };
    Ok(Some(kept.encode_to_vec().into()))
}

/// Columns as JSON, an object for each.
///
/// # Errors
/// When they are not what was kept.
pub fn columns_json(packed: &[u8]) -> Result<Value, prost::DecodeError> {
    let kept = v1::StatementEnded::decode(packed)?;
    let column = |column: &v1::Column| {
        json!({
            "name": column.name,
            "type_oid": column.type_oid,
            "type_modifier": column.type_modifier,
            "format": column.format,
            "table_oid": column.table_oid,
            "table_column": column.table_column,
        })
    };
    Ok(kept.columns.iter().map(column).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_read_as_they_were_kept() {
        assert_eq!(pack_columns(vec![]), Ok(None));
        let column = v1::Column {
            name: "id".to_owned(),
            type_oid: 23,
            type_modifier: -1,
            ..Default::default()
        };
        let long = v1::Column {
            name: "x".repeat(1000),
            ..Default::default()
        };
        let encoded = [column, long].map(|column| column.encode_to_vec().into());
        let packed = pack_columns(encoded.to_vec()).unwrap().unwrap();
        let shown = columns_json(&packed).unwrap();
        assert_eq!(shown[0]["name"], "id");
        assert_eq!(shown[0]["type_oid"], 23);
        assert_eq!(shown[0]["type_modifier"], -1);
        assert!(shown[1]["name"].as_str().unwrap().len() < 300);
        assert!(columns_json(b"\xff").is_err());
    }

    #[test]
    fn what_could_not_be_read_again_is_not_kept() {
        for (bytes, reason) in [
            (&b"\xff"[..], "field columns: "),
            (b"\x0a\x01\xff", "field columns.name: is not UTF-8"),
        ] {
            let refused = pack_columns(vec![Bytes::from_static(bytes)]).unwrap_err();
            assert!(refused.to_string().starts_with(reason), "{refused}");
        }
    }
}
