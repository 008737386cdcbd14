//! Records as protobuf, written straight into the buffer they are spooled and sent from.
//!
//! The bytes are those of `RecordBatch.records` in `events.proto`; a batch on the wire is its two sequences and such
//! bytes one behind the other. Lengths of messages are written as varints of four bytes, so that they can be filled in
//! afterwards; every protobuf reader takes them.

use pglens_core::SessionId;
use pglens_policy::Fingerprint;
use uuid::Uuid;

/// `RecordBatch.records`.
const RECORD: u32 = 3;
const WIRE_VARINT: u32 = 0;
const WIRE_BYTES: u32 = 2;
/// Bytes of a length that is filled in afterwards; enough for 256 MiB, and no record is near that.
const LENGTH_BYTES: usize = 4;
/// Longest varint.
const MAX_VARINT_BYTES: usize = 10;
/// Smaller numbers take one byte.
const ONE_BYTE: u64 = 0x80;

/// The start of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started<'a> {
    pub(crate) query_id: Uuid,
    pub(crate) session_id: SessionId,
    pub(crate) sequence: u64,
    pub(crate) sql: &'a str,
    pub(crate) kind: &'static str,
    /// Encoded, see [`super::Parameters::fields`].
    pub(crate) parameters: &'a [u8],
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

/// The end of a statement, without its transaction status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) query_id: Uuid,
    pub(crate) session_id: SessionId,
    pub(crate) duration_us: u64,
    pub(crate) first_row_us: Option<u64>,
    pub(crate) row_count: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) command_tag: &'a str,
    pub(crate) sqlstate: &'a str,
    pub(crate) error_message: &'a str,
    pub(crate) refusal: &'static str,
    /// Encoded, see [`super::Columns::fields`].
    pub(crate) columns: &'a [u8],
    pub(crate) rows_truncated: bool,
    pub(crate) captured_rows: u64,
    pub(crate) captured_bytes: u64,
    pub(crate) result_digest: Option<[u8; 32]>,
    pub(crate) outcome_unknown: bool,
    /// If the start did not have it.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// The end of a statement that waited for its transaction status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled<'a> {
    /// What [`Ended::put_fields`] made.
    pub(crate) ended: &'a [u8],
    pub(crate) transaction_status: &'static str,
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

    /// Bytes of what may be large in it.
    fn large_bytes(&self) -> usize {
        0
    }

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
        self.common_fields(out);
        self.own_fields(out);
    }
}

impl Started<'_> {
    /// Appends what the next statement of a session may have as well. The text is the last of it.
    pub(crate) fn common_fields(&self, out: &mut Vec<u8>) {
        bytes(out, 2, self.session_id.0.as_bytes());
        bytes(out, 5, self.kind.as_bytes());
        put_fingerprint(out, 8, self.fingerprint);
        bytes(out, 4, self.sql.as_bytes());
    }

    /// Appends what no other statement has.
    pub(crate) fn own_fields(&self, out: &mut Vec<u8>) {
        bytes(out, 1, self.query_id.as_bytes());
        number(out, 3, self.sequence);
        out.extend_from_slice(self.parameters);
        signed(out, 7, self.started_at_unix_us);
    }
}

fn put_fingerprint(out: &mut Vec<u8>, field: u32, fingerprint: Option<Fingerprint>) {
    if let Some(fingerprint) = fingerprint {
        bytes(out, field, &hexadecimal(fingerprint.0));
    }
}

/// Sixteen digits, as [`Fingerprint`] is printed; once for each statement, so without the machinery of formatting.
fn hexadecimal(number: u64) -> [u8; 16] {
    let [high, low] = [number >> 32, number & 0xffff_ffff].map(eight_digits);
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// The digits of 32 bits in the bytes of the result, the first one highest: four bits are moved to each byte, and all
/// bytes become letters at once.
fn eight_digits(number: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let halves = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (bytes | bytes << 4) & (0x0f * EACH);
    let is_letter = (values + 6 * EACH) >> 4 & EACH;
    values + u64::from(b'0') * EACH + is_letter * u64::from(b'a' - b'0' - 10)
}

impl Encode for Rows<'_> {
    const FIELD: u32 = 2;

    fn fields(&self, out: &mut Vec<u8>) {
        ids(out, self.query_id, self.session_id);
        number(out, 3, u64::from(self.chunk));
        number(out, 4, self.first_row);
        number(out, 5, u64::from(self.row_count));
        bytes(out, 6, self.data);
    }

    fn large_bytes(&self) -> usize {
        self.data.len()
    }
}

impl Ended<'_> {
    /// Appends its fields, which [`Settled`] makes an event of.
    pub(crate) fn put_fields(&self, out: &mut Vec<u8>) {
        ids(out, self.query_id, self.session_id);
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
        out.extend_from_slice(self.columns);
        number(out, 13, u64::from(self.rows_truncated));
        number(out, 14, self.captured_rows);
        number(out, 15, self.captured_bytes);
        if let Some(digest) = &self.result_digest {
            bytes(out, 16, digest);
        }
        number(out, 18, u64::from(self.outcome_unknown));
        put_fingerprint(out, 19, self.fingerprint);
    }
}

/// Appends an error to the fields of a statement that had succeeded. Of a field that comes twice, the last counts.
pub(crate) fn put_error(ended: &mut Vec<u8>, sqlstate: &str, error_message: &str) {
    bytes(ended, 9, sqlstate.as_bytes());
    bytes(ended, 10, error_message.as_bytes());
}

impl Encode for Settled<'_> {
    const FIELD: u32 = 3;

    fn fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.ended);
        bytes(out, 17, self.transaction_status.as_bytes());
    }
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

/// Bytes of a key and a varint, to be appended at once.
#[derive(Default)]
struct Short {
    bytes: [u8; 2 * MAX_VARINT_BYTES],
    count: usize,
}

impl Short {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.count) {
            *place = byte;
            self.count += 1;
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= ONE_BYTE {
            self.push(low_bits(value) | 0x80);
            value >>= 7;
        }
        self.push(low_bits(value));
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.get(..self.count).unwrap_or_default());
    }
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

/// Appends a number; 0 is what a reader assumes without it.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        present_number(out, field, value);
    }
}

#[inline]
pub(crate) fn present_number(out: &mut Vec<u8>, field: u32, value: u64) {
    let mut short = Short::default();
    short.varint(key(field, WIRE_VARINT));
    short.varint(value);
    short.append_to(out);
}

#[inline]
pub(crate) fn signed(out: &mut Vec<u8>, field: u32, value: i64) {
    number(out, field, value.cast_unsigned());
}

/// Appends a text or bytes; the empty ones are what a reader assumes without it.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        present_bytes(out, field, value);
    }
}

#[inline]
pub(crate) fn present_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    let key = key(field, WIRE_BYTES);
    match (u8::try_from(key), u8::try_from(value.len())) {
        (Ok(key @ 0..0x80), Ok(length @ 0..0x80)) => out.extend_from_slice(&[key, length]),
        _ => {
            let mut short = Short::default();
            short.varint(key);
            short.varint(value.len() as u64);
            short.append_to(out);
        }
    }
    out.extend_from_slice(value);
}

/// Appends what the events of statements begin with: the ids of the statement and of its session, fields 1 and 2.
fn ids(out: &mut Vec<u8>, query_id: Uuid, session_id: SessionId) {
    const ID_BYTES: u8 = 16;
    let mut fields = [0; 2 * (2 + ID_BYTES as usize)];
    let (first, second) = fields.split_at_mut(2 + usize::from(ID_BYTES));
    for (place, number, id) in [(first, 1, query_id), (second, 2, session_id.0)] {
        let head = [
            u8::try_from(key(number, WIRE_BYTES)).unwrap_or_default(),
            ID_BYTES,
        ];
        if let Some((to, rest)) = place.split_first_chunk_mut() {
            *to = head;
            rest.copy_from_slice(id.as_bytes());
        }
    }
    out.extend_from_slice(&fields);
}

#[inline]
fn key(field: u32, wire_type: u32) -> u64 {
    u64::from(field << 3 | wire_type)
}

/// Appends a message whose length is known afterwards.
#[inline]
pub(crate) fn message(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let mut short = Short::default();
    short.varint(key(field, WIRE_BYTES));
    short.append_to(out);
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
