//! Captured rows: from sealed chunks of wire messages to JSON.

use pglens_wire::value::{Format, write_json};
use serde_json::value::RawValue;

use super::Row;
use super::messages::{
    COPY_DATA, DATA_ROW, RowFormat, TEXT_OID, line_of, malformed, split_message, values,
};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::captured;
use crate::service::page::{Page, Paged};
use crate::storage::query::QueryRecord;

/// A page that is this long ends early, with a cursor for the rest.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Chunks fetched at once; each holds up to a mebibyte.
const CHUNKS_AT_ONCE: i64 = 4;

/// Rows on their way to a page: up to one more than it shows, to learn whether more follow.
struct Collected {
    rows: Vec<(i64, Row)>,
    bytes: usize,
    limit: usize,
}

impl Collected {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || self.bytes >= MAX_PAGE_BYTES
    }
}

/// Reads a page of a statement's rows.
pub(super) async fn read(
    app: &App,
    record: &QueryRecord,
    format: &RowFormat,
    page: &Page<i64>,
) -> Result<Paged<Row>, ServiceError> {
    let from_row = page.after().map_or(0, |last| last.saturating_add(1));
    let limit = usize::try_from(page.fetch_rows()).unwrap_or(usize::MAX);
    let mut collected = Collected {
        rows: Vec::new(),
        bytes: 0,
        limit,
    };
    let mut after_chunk = -1;
    loop {
        let chunks = captured::chunks(app, record, from_row, after_chunk, CHUNKS_AT_ONCE).await?;
        if chunks.is_empty() {
            break;
        }
        for chunk in chunks {
            collect(
                &chunk.data,
                chunk.first_row,
                from_row,
                format,
                &mut collected,
            )?;
            after_chunk = chunk.chunk;
            if collected.is_full() {
                return Ok(cut(page, collected));
            }
        }
    }
    Ok(cut(page, collected))
}

fn cut(page: &Page<i64>, collected: Collected) -> Paged<Row> {
    let ended_early = collected.rows.len() < collected.limit && collected.is_full();
    let last = collected.rows.last().map(|(number, _)| *number);
    let mut paged = page
        .cut(collected.rows, |(number, _)| *number)
        .map(|(_, row)| row);
    if ended_early && paged.next_cursor.is_none() {
        paged.next_cursor = last.map(|last| page.cursor_behind(last));
    }
    paged
}

/// Adds the rows of a chunk that are `from_row` or later.
fn collect(
    plain: &[u8],
    first_row: i64,
    from_row: i64,
    format: &RowFormat,
    collected: &mut Collected,
) -> Result<(), ServiceError> {
    let mut rest = plain;
    let mut number = first_row;
    while !rest.is_empty() && !collected.is_full() {
        let (tag, body, behind) = split_message(rest).ok_or_else(malformed)?;
        if number >= from_row {
            let text = match tag {
                DATA_ROW => data_row(body, format).ok_or_else(malformed)?,
                COPY_DATA => copy_line(body),
                _ => return Err(malformed()),
            };
            collected.bytes += text.len();
            let row = RawValue::from_string(text).map_err(ServiceError::internal)?;
            collected.rows.push((number, row));
        }
        number = number.saturating_add(1);
        rest = behind;
    }
    Ok(())
}

/// A `DataRow` as a JSON array.
fn data_row(body: &[u8], format: &RowFormat) -> Option<String> {
    let mut text = String::from("[");
    for (index, value) in values(body)?.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let (type_oid, format) = format.of_column(index);
        write_json(&mut text, type_oid, format, value);
    }
    text.push(']');
    Some(text)
}

/// A message of a COPY as an array of one text: a line, mostly.
fn copy_line(body: &[u8]) -> String {
    let mut text = String::from("[");
    write_json(&mut text, TEXT_OID, Format::Text, Some(line_of(body)));
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT4: u32 = 23;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&(u32::try_from(body.len()).unwrap() + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn show(plain: &[u8], format: &RowFormat, first_row: i64, from_row: i64) -> Vec<String> {
        let mut collected = Collected {
            rows: Vec::new(),
            bytes: 0,
            limit: 10,
        };
        collect(plain, first_row, from_row, format, &mut collected).unwrap();
        collected
            .rows
            .iter()
            .map(|(number, row)| format!("{number}:{row}"))
            .collect()
    }

    #[test]
    fn rows_become_typed_arrays() {
        let format = RowFormat(vec![(INT4, Format::Text), (TEXT_OID, Format::Text)]);
        let row = message(b'D', b"\0\x02\0\0\0\x02\x34\x32\xff\xff\xff\xff");
        let binary = RowFormat(vec![(INT4, Format::Binary), (TEXT_OID, Format::Text)]);
        let binary_row = message(b'D', b"\0\x02\0\0\0\x04\0\0\0\x2a\0\0\0\x01x");
        assert_eq!(
            show(&[row.clone(), row].concat(), &format, 5, 6),
            ["6:[42,null]"]
        );
        assert_eq!(show(&binary_row, &binary, 0, 0), ["0:[42,\"x\"]"]);
    }

    #[test]
    fn lines_of_copy_are_texts() {
        let lines = [message(b'd', b"1\tann\n"), message(b'd', b"2\t\"bob\"")].concat();
        let expected = ["0:[\"1\\tann\"]", "1:[\"2\\t\\\"bob\\\"\"]"];
        assert_eq!(show(&lines, &RowFormat(vec![]), 0, 0), expected);
    }

    #[test]
    fn anything_else_is_an_error() {
        for broken in [
            &b"D\0\0\0\x08\0\x01"[..],
            b"D\0\0\0\x03",
            b"X\0\0\0\x04",
            b"D\0\0\0\x06\0\x01",
        ] {
            let mut collected = Collected {
                rows: Vec::new(),
                bytes: 0,
                limit: 10,
            };
            assert!(collect(broken, 0, 0, &RowFormat(vec![]), &mut collected).is_err());
        }
    }
}
