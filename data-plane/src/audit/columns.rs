//! The columns of a result, as they stand in the record of its statement.

use std::rc::Rc;

use pglens_rpc::v1;
use pglens_wire::frontend::format_at;

use super::encode;

/// `StatementEnded.columns`.
const FIELD: u32 = 12;

/// Encoded once, when they are described: clients run the same statements over and over. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns(Option<Rc<Described>>);

#[derive(Debug)]
struct Described {
    list: Box<[v1::Column]>,
    fields: Box<[u8]>,
}

impl Columns {
    pub(crate) fn new(columns: impl Iterator<Item = v1::Column>) -> Self {
        let list: Box<[v1::Column]> = columns.collect();
        let mut fields = Vec::new();
        for column in &list {
            encode::message(&mut fields, FIELD, |out| put(out, column));
        }
        let fields = fields.into_boxed_slice();
        Self(Some(Rc::new(Described { list, fields })))
    }

    /// The fields, as they stand in the record.
    pub(crate) fn fields(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |described| &described.fields)
    }

    /// The same in other formats: none (all text), one for all, or one for each.
    pub(crate) fn in_formats(&self, formats: &[u16]) -> Self {
        let list = self.0.iter().flat_map(|described| described.list.iter());
        Self::new(list.enumerate().map(|(index, column)| v1::Column {
            format: u32::from(format_at(formats, index)),
            ..column.clone()
        }))
    }

    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let pointer = |columns: &Self| columns.0.as_ref().map(Rc::as_ptr);
        pointer(self) == pointer(other)
    }
}

fn put(out: &mut Vec<u8>, column: &v1::Column) {
    encode::bytes(out, 1, column.name.as_bytes());
    encode::number(out, 2, u64::from(column.type_oid));
    encode::signed(out, 3, i64::from(column.type_modifier));
    encode::number(out, 4, u64::from(column.format));
    encode::number(out, 5, u64::from(column.table_oid));
    encode::number(out, 6, u64::from(column.table_column));
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn columns_are_read_as_they_were_written_in_other_formats() {
        let column = v1::Column {
            name: "n".to_owned(),
            type_oid: 25,
            type_modifier: -1,
            format: 0,
            table_oid: 7,
            table_column: 2,
        };
        let described = [column, v1::Column::default()];
        let columns = Columns::new(described.iter().cloned());
        let read = |columns: &Columns| v1::StatementEnded::decode(columns.fields()).unwrap();
        assert_eq!(read(&columns).columns, described);
        let formats = |formats| {
            let columns = read(&columns.in_formats(formats)).columns;
            columns.iter().map(|column| column.format).collect()
        };
        let of: [Vec<u32>; 3] = [formats(&[]), formats(&[1]), formats(&[0, 1])];
        assert_eq!(of, [[0, 0], [1, 1], [0, 1]]);
        assert!(Columns::default().in_formats(&[1]).fields().is_empty());
    }
}
