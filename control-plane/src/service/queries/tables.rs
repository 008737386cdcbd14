//! Captured rows as CSV and as NDJSON, a chunk at a time.
//!
//! CSV is what `COPY … TO STDOUT (FORMAT csv, HEADER)` writes: NULL is empty, an empty text is `""`, columns of one name
//! stay apart. NDJSON has one object for each row, as `row_to_json` makes it: columns of one name are there twice.

use std::fmt::Write;

use pglens_wire::value::{to_text, write_json};

use super::messages::{
    COPY_DATA, DATA_ROW, RowFormat, TEXT_OID, line_of, malformed, split_message, values,
};
use crate::error::ServiceError;

/// The name of the one column that lines of a COPY have.
const LINE: &str = "line";

/// How rows are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// As COPY writes it, with a header (RFC 4180, but for the ends of lines).
    Csv,
    /// A JSON object a line.
    Ndjson,
}

impl TableFormat {
    /// Its name in requests and in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

/// Rows on their way to a text.
pub(super) struct Table {
    pub(super) format: TableFormat,
    pub(super) names: Vec<String>,
    pub(super) types: RowFormat,
}

impl Table {
    /// What stands before the rows.
    pub(super) fn header(&self) -> String {
        let mut out = String::new();
        if self.format == TableFormat::Csv {
            match self.names.is_empty() {
                true => out.push_str(LINE),
                false => write_record(&mut out, self.names.iter().map(|name| Some(name.as_str()))),
            }
            out.push('\n');
        }
        out
    }

    /// The text of up to `limit` rows of a chunk; returns how many it has.
    pub(super) fn write_chunk(
        &self,
        out: &mut String,
        plain: &[u8],
        limit: u64,
    ) -> Result<u64, ServiceError> {
        let (mut rest, mut count) = (plain, 0);
        while !rest.is_empty() && count < limit {
            let (tag, body, behind) = split_message(rest).ok_or_else(malformed)?;
            match tag {
                DATA_ROW => self.write_row(out, &values(body).ok_or_else(malformed)?),
                COPY_DATA => self.write_line(out, line_of(body)),
                _ => return Err(malformed()),
            }
            out.push('\n');
            rest = behind;
            count += 1;
        }
        Ok(count)
    }

    fn write_row(&self, out: &mut String, values: &[Option<&[u8]>]) {
        match self.format {
            TableFormat::Csv => {
                let texts = values.iter().enumerate().map(|(index, value)| {
                    let (type_oid, format) = self.types.of_column(index);
                    value.map(|value| to_text(type_oid, format, value))
                });
                write_record(out, texts);
            }
            TableFormat::Ndjson => {
                out.push('{');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.write_key(out, index);
                    let (type_oid, format) = self.types.of_column(index);
                    write_json(out, type_oid, format, *value);
                }
                out.push('}');
            }
        }
    }

    fn write_line(&self, out: &mut String, line: &[u8]) {
        let (type_oid, format) = (TEXT_OID, pglens_wire::value::Format::Text);
        match self.format {
            TableFormat::Csv => {
                write_record(out, [Some(to_text(type_oid, format, line))].into_iter())
            }
            TableFormat::Ndjson => {
                let _ = write!(out, "{{\"{LINE}\":");
                write_json(out, type_oid, format, Some(line));
                out.push('}');
            }
        }
    }

    /// Columns without a description are named as those of VALUES are.
    fn write_key(&self, out: &mut String, index: usize) {
        let text = pglens_wire::value::Format::Text;
        match self.names.get(index) {
            Some(name) => write_json(out, TEXT_OID, text, Some(name.as_bytes())),
            None => drop(write!(out, "\"column{}\"", index + 1)),
        }
        out.push(':');
    }
}

/// A line of CSV without its end. One NULL alone is an empty line, as COPY has it.
fn write_record<T: AsRef<str>>(out: &mut String, values: impl Iterator<Item = Option<T>>) {
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(',');
        }
        let Some(value) = value else { continue };
        let value = value.as_ref();
        // A `\.` alone on its line would end a COPY; it is quoted wherever it stands.
        if value.is_empty() || value == "\\." || value.contains([',', '"', '\n', '\r']) {
            out.push('"');
            for part in value.split_inclusive('"') {
                out.push_str(part);
                if part.ends_with('"') {
                    out.push('"');
                }
            }
            out.push('"');
        } else {
            out.push_str(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use pglens_wire::value::Format;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(u32::try_from(body.len()).unwrap() + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn table(format: TableFormat, names: &[&str]) -> Table {
        Table {
            format,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            types: RowFormat(vec![(23, Format::Text), (TEXT_OID, Format::Text)]),
        }
    }

    fn check(table: &Table, plain: &[u8], expected: &str) {
        let mut out = table.header();
        table.write_chunk(&mut out, plain, u64::MAX).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn csv_is_what_copy_writes() {
        let rows = [
            message(b'D', b"\0\x02\0\0\0\x02\x34\x32\xff\xff\xff\xff"),
            message(b'D', b"\0\x02\0\0\0\x01\x31\0\0\0\0"),
            message(b'D', b"\0\x02\xff\xff\xff\xff\0\0\0\x05a,\"\nb"),
        ]
        .concat();
        let csv = table(TableFormat::Csv, &["id", "a \"b\""]);
        check(
            &csv,
            &rows,
            "id,\"a \"\"b\"\"\"\n42,\n1,\"\"\n,\"a,\"\"\nb\"\n",
        );
        let json = table(TableFormat::Ndjson, &["id", "id"]);
        check(
            &json,
            &rows,
            "{\"id\":42,\"id\":null}\n{\"id\":1,\"id\":\"\"}\n{\"id\":null,\"id\":\"a,\\\"\\nb\"}\n",
        );
        let mut out = String::new();
        assert_eq!(csv.write_chunk(&mut out, &rows, 2).unwrap(), 2);
        assert_eq!(out, "42,\n1,\"\"\n");
    }

    #[test]
    fn lines_of_copy_are_one_column() {
        let lines = [message(b'd', b"1\tann\n"), message(b'd', b"\\.\n")].concat();
        let csv = table(TableFormat::Csv, &[]);
        check(&csv, &lines, "line\n1\tann\n\"\\.\"\n");
        let json = table(TableFormat::Ndjson, &[]);
        check(
            &json,
            &lines,
            "{\"line\":\"1\\tann\"}\n{\"line\":\"\\\\.\"}\n",
        );
    }

    #[test]
    fn what_is_no_row_is_an_error() {
        let csv = table(TableFormat::Csv, &["id"]);
        for broken in [&b"X\0\0\0\x04"[..], b"D\0\0\0\x08\0\x01", b"D\0"] {
            assert!(csv.write_chunk(&mut String::new(), broken, 1).is_err());
        }
    }
}
