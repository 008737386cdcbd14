//! Records as protobuf, written straight into the buffer they are spooled and sent from.
//!
//! The bytes are those of `RecordBatch.records` in `events.proto`; a batch on the wire is its two sequences and such
//! bytes one behind the other. Lengths of messages are written as varints of four bytes, so that they can be filled in
//! afterwards; every protobuf reader takes them.

use pglens_core::SessionId;
use pglens_policy::Fingerprint;
use uuid::Uuid;

use protobuf::{Gathered, message_in_message};
pub(crate) use protobuf::{bytes, message, number, present_bytes, present_number, signed};

mod protobuf;

/// `RecordBatch.records`.
const RECORD: u32 = 3;
/// What an id takes, and a number at most, with their keys.
const ID: usize = 18;
const NUMBER: usize = 11;
/// A fingerprint takes as much as an id, with a longer key in ends, and a digest has 32 bytes.
const FINGERPRINT: usize = 19;
const DIGEST: usize = 35;

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
        message_in_message(out, (RECORD, Self::FIELD), |out| self.fields(out));
    }
}

impl Encode for Started<'_> {
    const FIELD: u32 = 1;

    fn fields(&self, out: &mut Vec<u8>) {
        let mut gathered = Gathered::<{ 2 * ID + FINGERPRINT + 2 * NUMBER }>::new();
        self.gather_common(&mut gathered);
        self.gather_own(&mut gathered);
        gathered.append_to(out);
        out.extend_from_slice(self.parameters);
        bytes(out, 5, self.kind.as_bytes());
        bytes(out, 4, self.sql.as_bytes());
    }
}

impl Started<'_> {
    /// Appends what the next statement of a session may have as well. The text is the last of it.
    pub(crate) fn common_fields(&self, out: &mut Vec<u8>) {
        let mut gathered = Gathered::<{ ID + FINGERPRINT }>::new();
        self.gather_common(&mut gathered);
        gathered.append_to(out);
        bytes(out, 5, self.kind.as_bytes());
        bytes(out, 4, self.sql.as_bytes());
    }

    /// Appends what no other statement has.
    pub(crate) fn own_fields(&self, out: &mut Vec<u8>) {
        let mut gathered = Gathered::<{ ID + 2 * NUMBER }>::new();
        self.gather_own(&mut gathered);
        gathered.append_to(out);
        out.extend_from_slice(self.parameters);
    }

    fn gather_common<const N: usize>(&self, gathered: &mut Gathered<N>) {
        gathered.id(2, self.session_id.0);
        if let Some(fingerprint) = self.fingerprint {
            gathered.fixed(8, hexadecimal(fingerprint.0));
        }
    }

    fn gather_own<const N: usize>(&self, gathered: &mut Gathered<N>) {
        gathered.id(1, self.query_id);
        gathered.number(3, self.sequence);
        gathered.number(7, self.started_at_unix_us.cast_unsigned());
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
        let mut gathered = Gathered::<{ 2 * ID + 3 * NUMBER }>::new();
        gathered.id(1, self.query_id);
        gathered.id(2, self.session_id.0);
        gathered.number(3, u64::from(self.chunk));
        gathered.number(4, self.first_row);
        gathered.number(5, u64::from(self.row_count));
        gathered.append_to(out);
        bytes(out, 6, self.data);
    }

    fn large_bytes(&self) -> usize {
        self.data.len()
    }
}

impl Ended<'_> {
    /// Appends its fields, which [`Settled`] makes an event of.
    pub(crate) fn put_fields(&self, out: &mut Vec<u8>) {
        let mut gathered = Gathered::<{ 2 * ID + 9 * NUMBER + DIGEST + FINGERPRINT }>::new();
        gathered.id(1, self.query_id);
        gathered.id(2, self.session_id.0);
        gathered.number(3, self.duration_us);
        if let Some(first_row_us) = self.first_row_us {
            gathered.present_number(4, first_row_us);
        }
        gathered.number(5, self.row_count);
        gathered.number(6, self.bytes_in);
        gathered.number(7, self.bytes_out);
        gathered.number(13, u64::from(self.rows_truncated));
        gathered.number(14, self.captured_rows);
        gathered.number(15, self.captured_bytes);
        if let Some(digest) = self.result_digest {
            gathered.fixed(16, digest);
        }
        gathered.number(18, u64::from(self.outcome_unknown));
        if let Some(fingerprint) = self.fingerprint {
            gathered.fixed(19, hexadecimal(fingerprint.0));
        }
        gathered.append_to(out);
        bytes(out, 8, self.command_tag.as_bytes());
        bytes(out, 9, self.sqlstate.as_bytes());
        bytes(out, 10, self.error_message.as_bytes());
        bytes(out, 11, self.refusal.as_bytes());
        out.extend_from_slice(self.columns);
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

#[cfg(test)]
mod tests;
