//! The columns of a result: kept as the message that brought them, shown as JSON.

use pglens_rpc::v1;
use prost::Message;
use serde_json::{Value, json};

use super::text::bounded;

/// The names of columns and tables have 63 bytes in PostgreSQL.
const NAME_BYTES: usize = 256;

/// Columns as they are kept: a `StatementEnded` message with nothing else in it. `None`: there are none.
#[must_use]
pub fn pack_columns(mut columns: Vec<v1::Column>) -> Option<Vec<u8>> {
    if columns.is_empty() {
        return None;
    }
    for column in &mut columns {
        if column.name.len() > NAME_BYTES {
            column.name = bounded(&column.name, NAME_BYTES).into_owned();
        }
    }
    let kept = v1::StatementEnded {
        columns,
        ..Default::default()
    };
    Some(kept.encode_to_vec())
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
        assert_eq!(pack_columns(vec![]), None);
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
        let shown = columns_json(&pack_columns(vec![column, long]).unwrap()).unwrap();
        assert_eq!(shown[0]["name"], "id");
        assert_eq!(shown[0]["type_oid"], 23);
        assert_eq!(shown[0]["type_modifier"], -1);
        assert!(shown[1]["name"].as_str().unwrap().len() < 300);
        assert!(columns_json(b"\xff").is_err());
    }
}
