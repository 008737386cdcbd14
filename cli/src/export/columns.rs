//! Statements as a Parquet file: a column for each field of the API's objects, a group of rows at a time in memory.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use super::ExportError;
use super::api::Api;
use super::options::Options;
use super::place::Place;
use super::progress::Progress;

/// Statements of a row group: tens of megabytes at most, and groups that compress well.
const GROUP_ROWS: usize = 20_000;

/// How a field is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
    /// RFC 3339 in JSON, microseconds since 1970 in the file.
    Time,
}

/// Every field of a statement, in the order of the columns. All may be null.
const FIELDS: &[(&str, Kind)] = &[
    ("id", Kind::Text),
    ("connection_id", Kind::Text),
    ("user_id", Kind::Number),
    ("username", Kind::Text),
    ("database_id", Kind::Number),
    ("database", Kind::Text),
    ("grant_id", Kind::Number),
    ("sequence", Kind::Number),
    ("sql", Kind::Text),
    ("kind", Kind::Text),
    ("fingerprint", Kind::Text),
    ("started_at", Kind::Time),
    ("first_row_us", Kind::Number),
    ("duration_us", Kind::Number),
    ("row_count", Kind::Number),
    ("bytes_in", Kind::Number),
    ("bytes_out", Kind::Number),
    ("command_tag", Kind::Text),
    ("sqlstate", Kind::Text),
    ("error_message", Kind::Text),
    ("refusal", Kind::Text),
    ("transaction_status", Kind::Text),
    ("rows_truncated", Kind::Flag),
    ("captured_rows", Kind::Number),
    ("captured_bytes", Kind::Number),
    ("result_digest", Kind::Text),
    ("outcome_unknown", Kind::Flag),
];

/// Writes every statement that the options ask for.
pub(super) async fn write(
    options: &Options,
    api: &Api,
    place: &mut Place,
    progress: &mut Progress,
) -> Result<(), ExportError> {
    let schema = Arc::new(parse_message_type(&schema())?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    // The file is made in memory piece by piece, and handed on after each group.
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
    let mut group: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = api.queries(&options.filter, cursor.as_deref()).await?;
        progress.add(&page.queries, None);
        group.extend(page.queries);
        if group.len() >= GROUP_ROWS || (page.next_cursor.is_none() && !group.is_empty()) {
            let mut rows = writer.next_row_group()?;
            write_group(&mut rows, &group)?;
            rows.close()?;
            group.clear();
            place.write(&std::mem::take(writer.inner_mut()))?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let rest = writer.into_inner()?;
    place.write(&rest)
}

fn schema() -> String {
    let column = |(name, kind): &(&str, Kind)| match kind {
        Kind::Text => format!("optional binary {name} (STRING);"),
        Kind::Number => format!("optional int64 {name};"),
        Kind::Flag => format!("optional boolean {name};"),
        Kind::Time => format!("optional int64 {name} (TIMESTAMP(MICROS,true));"),
    };
    let columns: Vec<String> = FIELDS.iter().map(column).collect();
    format!("message statement {{ {} }}", columns.join(" "))
}

fn write_group<W: std::io::Write + Send>(
    rows: &mut SerializedRowGroupWriter<'_, W>,
    group: &[Value],
) -> Result<(), ExportError> {
    for (name, kind) in FIELDS {
        let Some(mut column) = rows.next_column()? else {
            return Ok(());
        };
        let fields = group.iter().map(|query| query.get(*name));
        match kind {
            Kind::Text => {
                let text = |value: &Value| value.as_str().map(ByteArray::from);
                let (values, levels) = split(fields, text);
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Kind::Number => {
                let (values, levels) = split(fields, Value::as_i64);
                column
                    .typed::<Int64Type>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Kind::Flag => {
                let (values, levels) = split(fields, Value::as_bool);
                column
                    .typed::<BoolType>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Kind::Time => {
                let (values, levels) = split(fields, microseconds);
                column
                    .typed::<Int64Type>()
                    .write_batch(&values, Some(&levels), None)?;
            }
        }
        column.close()?;
    }
    Ok(())
}

fn microseconds(value: &Value) -> Option<i64> {
    let time: chrono::DateTime<chrono::Utc> = value.as_str()?.parse().ok()?;
    Some(time.timestamp_micros())
}

/// The values that are there, and for each row whether there is one.
fn split<'a, T>(
    fields: impl Iterator<Item = Option<&'a Value>>,
    read: impl Fn(&Value) -> Option<T>,
) -> (Vec<T>, Vec<i16>) {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for field in fields {
        let value = field.and_then(&read);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    (values, levels)
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_reads_as_it_was_written() {
        let schema = Arc::new(parse_message_type(&schema()).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
        let group = [
            json!({ "id": "a", "user_id": 7, "sql": "select 'ü'", "started_at": "2026-01-31T00:00:00.000001Z",
                "rows_truncated": false, "sqlstate": null }),
            json!({ "id": "b" }),
        ];
        let mut rows = writer.next_row_group().unwrap();
        write_group(&mut rows, &group).unwrap();
        rows.close().unwrap();
        let bytes = bytes::Bytes::from(writer.into_inner().unwrap());
        let reader = SerializedFileReader::new(bytes).unwrap();
        let rows: Vec<_> = reader
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].get_string(8).unwrap(), "select 'ü'");
        assert_eq!(rows[0].get_long(2).unwrap(), 7);
        assert_eq!(
            rows[0].get_timestamp_micros(11).unwrap(),
            1_769_817_600_000_001
        );
        assert!(rows[1].get_string(18).is_err(), "null");
    }
}
