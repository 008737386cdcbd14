//! The record as a Parquet file: a column for each field of the API's objects, a group of records at a time in memory.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

use super::ExportError;
use super::api::Api;
use super::ndjson::Lines;
use super::options::Options;
use super::place::Place;
use super::progress::Progress;
use super::{has_rows, text};

/// Records of a row group, so that groups compress well.
const GROUP_RECORDS: usize = 20_000;
/// A group is closed when texts and rows in it have so many bytes: it stands in memory some three times.
const GROUP_BYTES: usize = 32 * 1024 * 1024;

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

/// Stand before the others in a file with rows: `record` is "statement" or "row", as in NDJSON, and the other three are a
/// row's: `values` is a JSON object, since rows of different statements have different columns.
const ROW_FIELDS: &[(&str, Kind)] = &[
    ("record", Kind::Text),
    ("query_id", Kind::Text),
    ("row", Kind::Number),
    ("values", Kind::Text),
];

fn fields(with_rows: bool) -> Vec<(&'static str, Kind)> {
    let of_rows = if with_rows { ROW_FIELDS } else { &[] };
    of_rows.iter().chain(FIELDS).copied().collect()
}

/// Writes every statement that the options ask for, and its rows behind it.
pub(super) async fn write(
    options: &Options,
    api: &Api,
    place: &mut Place,
    progress: &mut Progress,
) -> Result<(), ExportError> {
    let mut file = Groups::new(options.rows, place)?;
    let mut cursor: Option<String> = None;
    loop {
        let page = api.queries(&options.filter, cursor.as_deref()).await?;
        progress.add(&page.queries, None);
        for mut query in page.queries {
            let with_rows = options.rows && has_rows(&query);
            let id = text(&query, "id").to_owned();
            if let Some(fields) = query.as_object_mut().filter(|_| options.rows) {
                fields.insert("record".to_owned(), "statement".into());
            }
            file.add(query)?;
            if with_rows {
                write_rows(api, &id, &mut file).await?;
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return file.finish();
        }
    }
}

async fn write_rows(api: &Api, id: &str, file: &mut Groups<'_>) -> Result<(), ExportError> {
    let mut pieces = api.rows(id).await?;
    let mut lines = Lines::default();
    let mut row = 0_u64;
    while let Some(piece) = pieces.piece().await? {
        for values in lines.complete(&piece) {
            file.add(json!({ "record": "row", "query_id": id, "row": row, "values": values }))?;
            row += 1;
        }
    }
    Ok(())
}

/// A file that is made in memory group by group, and handed on after each.
struct Groups<'a> {
    fields: Vec<(&'static str, Kind)>,
    writer: SerializedFileWriter<Vec<u8>>,
    group: Vec<Value>,
    group_bytes: usize,
    place: &'a mut Place,
}

impl<'a> Groups<'a> {
    fn new(with_rows: bool, place: &'a mut Place) -> Result<Self, ExportError> {
        let fields = fields(with_rows);
        let schema = Arc::new(parse_message_type(&schema(&fields))?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        Ok(Self {
            fields,
            writer: SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?,
            group: Vec::new(),
            group_bytes: 0,
            place,
        })
    }

    fn add(&mut self, record: Value) -> Result<(), ExportError> {
        self.group_bytes += text(&record, "sql").len() + text(&record, "values").len();
        self.group.push(record);
        if self.group.len() >= GROUP_RECORDS || self.group_bytes >= GROUP_BYTES {
            self.close_group()?;
        }
        Ok(())
    }

    fn close_group(&mut self) -> Result<(), ExportError> {
        let mut rows = self.writer.next_row_group()?;
        write_group(&mut rows, &self.fields, &self.group)?;
        rows.close()?;
        self.group.clear();
        self.group_bytes = 0;
        self.place.write(&std::mem::take(self.writer.inner_mut()))
    }

    fn finish(mut self) -> Result<(), ExportError> {
        if !self.group.is_empty() {
            self.close_group()?;
        }
        let rest = self.writer.into_inner()?;
        self.place.write(&rest)
    }
}

fn schema(fields: &[(&str, Kind)]) -> String {
    let column = |(name, kind): &(&str, Kind)| match kind {
        Kind::Text => format!("optional binary {name} (STRING);"),
        Kind::Number => format!("optional int64 {name};"),
        Kind::Flag => format!("optional boolean {name};"),
        Kind::Time => format!("optional int64 {name} (TIMESTAMP(MICROS,true));"),
    };
    let columns: Vec<String> = fields.iter().map(column).collect();
    format!("message statement {{ {} }}", columns.join(" "))
}

fn write_group<W: std::io::Write + Send>(
    rows: &mut SerializedRowGroupWriter<'_, W>,
    fields: &[(&str, Kind)],
    group: &[Value],
) -> Result<(), ExportError> {
    for (name, kind) in fields {
        let Some(mut column) = rows.next_column()? else {
            return Ok(());
        };
        let values = group.iter().map(|query| query.get(*name));
        match kind {
            Kind::Text => {
                let text_of = |value: &Value| value.as_str().map(ByteArray::from);
                let (present, levels) = split(values, text_of);
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&present, Some(&levels), None)?;
            }
            Kind::Number => {
                let (present, levels) = split(values, Value::as_i64);
                column
                    .typed::<Int64Type>()
                    .write_batch(&present, Some(&levels), None)?;
            }
            Kind::Flag => {
                let (present, levels) = split(values, Value::as_bool);
                column
                    .typed::<BoolType>()
                    .write_batch(&present, Some(&levels), None)?;
            }
            Kind::Time => {
                let (present, levels) = split(values, microseconds);
                column
                    .typed::<Int64Type>()
                    .write_batch(&present, Some(&levels), None)?;
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

    use super::*;

    #[test]
    fn a_file_reads_as_it_was_written() {
        let schema = Arc::new(parse_message_type(&schema(FIELDS)).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
        let group = [
            json!({ "id": "a", "user_id": 7, "sql": "select 'ü'", "started_at": "2026-01-31T00:00:00.000001Z",
                "rows_truncated": false, "sqlstate": null }),
            json!({ "id": "b" }),
        ];
        let mut rows = writer.next_row_group().unwrap();
        write_group(&mut rows, FIELDS, &group).unwrap();
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
