//! Records as protobuf, written straight into the buffer they are spooled and sent from.
//!
//! The bytes are those of `RecordBatch.records` in `events.proto`; a batch on the wire is its two sequences and such
//! bytes one behind the other. Lengths of messages are written as varints of four bytes, so that they can be filled in
//! afterwards; every protobuf reader takes them.

use pglens_core::SessionId;
use pglens_policy::Fingerprint;
use pglens_rpc::v1;
use uuid::Uuid;

/// `RecordBatch.records`.
const RECORD: u32 = 3;
const WIRE_VARINT: u32 = 0;
const WIRE_BYTES: u32 = 2;
/// Bytes of a length that is filled in afterwards; enough for 256 MiB, and no record is near that.
const LENGTH_BYTES: usize = 4;

/// The start of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started<'a> {
    pub(crate) query_id: Uuid,
    pub(crate) session_id: SessionId,
    pub(crate) sequence: u64,
    pub(crate) sql: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) parameters: &'a [v1::Parameter],
    pub(crate) started_at_unix_us: i64,
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// Consecutive rows of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) query_id: Uuid,
    pub(crate) session_id: SessionId,
    pub(crate) chunk: u32,
    pub(crate) first_row: u64,
    pub(crate) row_count: u32,
    pub(crate) data: &'a [u8],
}

/// The end of a statement; kept until its transaction status is known, so it owns what it says.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) query_id: Uuid,
    pub(crate) session_id: SessionId,
    pub(crate) duration_us: u64,
    pub(crate) first_row_us: Option<u64>,
    pub(crate) row_count: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) command_tag: String,
    pub(crate) sqlstate: String,
    pub(crate) error_message: String,
    pub(crate) refusal: &'static str,
    pub(crate) columns: std::sync::Arc<[v1::Column]>,
    pub(crate) rows_truncated: bool,
    pub(crate) captured_rows: u64,
    pub(crate) captured_bytes: u64,
    pub(crate) result_digest: Option<[u8; 32]>,
    pub(crate) transaction_status: &'static str,
    pub(crate) outcome_unknown: bool,
}

/// The end of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionEnded<'a> {
    pub(crate) session_id: SessionId,
    pub(crate) ended_at_unix_us: i64,
    pub(crate) reason: &'a str,
    pub(crate) sqlstate: &'a str,
    pub(crate) queries_used: u64,
    pub(crate) bytes_used: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// What can be written as one record.
pub(crate) trait Encode {
    /// Its field in `Record`.
    const FIELD: u32;

    /// Appends the fields of the event.
    fn fields(&self, out: &mut Vec<u8>);

    /// Appends the whole entry of `RecordBatch.records`.
    fn put(&self, out: &mut Vec<u8>) {
        message(out, RECORD, |out| {
            message(out, Self::FIELD, |out| self.fields(out));
        });
    }
}

impl Encode for Started<'_> {
    const FIELD: u32 = 1;

    fn fields(&self, out: &mut Vec<u8>) {
        bytes(out, 1, self.query_id.as_bytes());
        bytes(out, 2, self.session_id.0.as_bytes());
        number(out, 3, self.sequence);
        bytes(out, 4, self.sql.as_bytes());
        bytes(out, 5, self.kind.as_bytes());
        for parameter in self.parameters {
            message(out, 6, |out| put_parameter(out, parameter));
        }
        signed(out, 7, self.started_at_unix_us);
        if let Some(fingerprint) = self.fingerprint {
            bytes(out, 8, &hexadecimal(fingerprint.0));
        }
    }
}

/// Sixteen digits, as [`Fingerprint`] is printed; once for each statement, so without the machinery of formatting.
fn hexadecimal(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().enumerate() {
        let four_bits = (number >> (60 - 4 * place)) & 0xf;
        *digit = *b"0123456789abcdef"
            .get(usize::try_from(four_bits).unwrap_or_default())
            .unwrap_or(&b'0');
    }
    digits
}

fn put_parameter(out: &mut Vec<u8>, parameter: &v1::Parameter) {
    number(out, 1, u64::from(parameter.type_oid));
    number(out, 2, u64::from(parameter.format));
    if let Some(value) = &parameter.value {
        present_bytes(out, 3, value);
    }
    if let Some(value_bytes) = parameter.value_bytes {
        number(out, 4, value_bytes);
        bytes(out, 5, &parameter.value_digest);
    }
}

impl Encode for Rows<'_> {
    const FIELD: u32 = 2;

    fn fields(&self, out: &mut Vec<u8>) {
        bytes(out, 1, self.query_id.as_bytes());
        bytes(out, 2, self.session_id.0.as_bytes());
        number(out, 3, u64::from(self.chunk));
        number(out, 4, self.first_row);
        number(out, 5, u64::from(self.row_count));
        bytes(out, 6, self.data);
    }
}

impl Encode for Ended {
    const FIELD: u32 = 3;

    fn fields(&self, out: &mut Vec<u8>) {
        bytes(out, 1, self.query_id.as_bytes());
        bytes(out, 2, self.session_id.0.as_bytes());
        number(out, 3, self.duration_us);
        if let Some(first_row_us) = self.first_row_us {
            present_number(out, 4, first_row_us);
        }
        number(out, 5, self.row_count);
        number(out, 6, self.bytes_in);
        number(out, 7, self.bytes_out);
        bytes(out, 8, self.command_tag.as_bytes());
        bytes(out, 9, self.sqlstate.as_bytes());
        bytes(out, 10, self.error_message.as_bytes());
        bytes(out, 11, self.refusal.as_bytes());
        for column in self.columns.iter() {
            message(out, 12, |out| put_column(out, column));
        }
        number(out, 13, u64::from(self.rows_truncated));
        number(out, 14, self.captured_rows);
        number(out, 15, self.captured_bytes);
        if let Some(digest) = &self.result_digest {
            bytes(out, 16, digest);
        }
        bytes(out, 17, self.transaction_status.as_bytes());
        number(out, 18, u64::from(self.outcome_unknown));
    }
}

fn put_column(out: &mut Vec<u8>, column: &v1::Column) {
    bytes(out, 1, column.name.as_bytes());
    number(out, 2, u64::from(column.type_oid));
    signed(out, 3, i64::from(column.type_modifier));
    number(out, 4, u64::from(column.format));
    number(out, 5, u64::from(column.table_oid));
    number(out, 6, u64::from(column.table_column));
}

impl Encode for SessionEnded<'_> {
    const FIELD: u32 = 4;

    fn fields(&self, out: &mut Vec<u8>) {
        bytes(out, 1, self.session_id.0.as_bytes());
        signed(out, 2, self.ended_at_unix_us);
        bytes(out, 3, self.reason.as_bytes());
        bytes(out, 4, self.sqlstate.as_bytes());
        number(out, 5, self.queries_used);
        number(out, 6, self.bytes_used);
        number(out, 7, self.bytes_in);
        number(out, 8, self.bytes_out);
    }
}

/// Appends a varint.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

/// Appends a number; 0 is what a reader assumes without it.
pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        present_number(out, field, value);
    }
}

fn present_number(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, WIRE_VARINT);
    varint(out, value);
}

fn signed(out: &mut Vec<u8>, field: u32, value: i64) {
    number(out, field, value.cast_unsigned());
}

/// Appends a text or bytes; the empty ones are what a reader assumes without it.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        present_bytes(out, field, value);
    }
}

fn present_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    key(out, field, WIRE_BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn key(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

/// Appends a message whose length is known afterwards.
pub(crate) fn message(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, WIRE_BYTES);
    let length_at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    content(out);
    let length = (out.len() - length_at - LENGTH_BYTES) as u64;
    let padded = [
        low_bits(length) | 0x80,
        low_bits(length >> 7) | 0x80,
        low_bits(length >> 14) | 0x80,
        low_bits(length >> 21),
    ];
    if let Some(place) = out.get_mut(length_at..length_at + LENGTH_BYTES) {
        place.copy_from_slice(&padded);
    }
}

#[cfg(test)]
mod tests;
