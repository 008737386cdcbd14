//! Records as protobuf, written straight into the buffer they are spooled and sent from.
//!
//! The bytes are those of `RecordBatch.records` in `events.proto`; a batch on the wire is its two sequences and such
//! bytes one behind the other. Lengths of messages are written as varints of four bytes, so that they can be filled in
//! afterwards; every protobuf reader takes them.

use pglens_core::SessionId;
use pglens_policy::Fingerprint;
use uuid::Uuid;

pub(crate) use end::{EncodedEnd, Ended, Settled};
use protobuf::{Gathered, message_in_message};
pub(crate) use protobuf::{bytes, message, number, present_bytes, present_number, signed};
pub(crate) use records::Records;
use records::{LeftOut, Start};

mod end;
mod protobuf;
mod records;

/// `RecordBatch.records`.
const RECORD: u32 = 3;
/// Fields of `Record`.
const STARTED: u32 = 1;
const ROWS: u32 = 2;
const SESSION_ENDED: u32 = 4;
const BRIEF_STARTED: u32 = 5;
const BRIEF_ROWS: u32 = 6;
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
    /// Appends it to the records of its frame, and notes what the next one may leave out.
    fn put(&self, records: &mut Records);

    /// Bytes of what may be large in it.
    fn large_bytes(&self) -> usize {
        0
    }
}

impl Encode for Started<'_> {
    fn put(&self, records: &mut Records) {
        let said = records.left_out(self);
        let field = said.map_or(STARTED, |_| BRIEF_STARTED);
        let said = said.unwrap_or_default();
        message_in_message(&mut records.bytes, (RECORD, field), |out| {
            let mut gathered = Gathered::<{ 2 * ID + FINGERPRINT + 2 * NUMBER }>::new();
            self.gather_common(&mut gathered, said);
            self.gather_own(&mut gathered);
            gathered.append_to(out);
            out.extend_from_slice(self.parameters);
            self.put_text(out, said);
        });
        let end = records.bytes.len();
        let sql = match (&records.before.start, said.sql) {
            (Some(start), true) => start.sql.clone(),
            _ => end - self.sql.len()..end,
        };
        records.before.start = Some(Start {
            sql,
            kind: self.kind,
            fingerprint: self.fingerprint,
        });
        records.before.statement = Some((self.query_id, self.session_id));
    }
}

impl Started<'_> {
    /// Appends what the next statement of a session may have as well. The text is the last of it.
    pub(crate) fn common_fields(&self, out: &mut Vec<u8>) {
        let mut gathered = Gathered::<{ ID + FINGERPRINT }>::new();
        self.gather_common(&mut gathered, LeftOut::default());
        gathered.append_to(out);
        self.put_text(out, LeftOut::default());
    }

    /// Appends what no other statement has.
    pub(crate) fn own_fields(&self, out: &mut Vec<u8>) {
        let mut gathered = Gathered::<{ ID + 2 * NUMBER }>::new();
        self.gather_own(&mut gathered);
        gathered.append_to(out);
        out.extend_from_slice(self.parameters);
    }

    fn gather_common<const N: usize>(&self, gathered: &mut Gathered<N>, said: LeftOut) {
        if !said.session {
            gathered.id(2, self.session_id.0);
        }
        if let Some(fingerprint) = self.fingerprint
            && !said.fingerprint
        {
            gathered.fixed(8, hexadecimal(fingerprint.0));
        }
    }

    fn put_text(&self, out: &mut Vec<u8>, said: LeftOut) {
        if !said.kind {
            bytes(out, 5, self.kind.as_bytes());
        }
        if !said.sql {
            bytes(out, 4, self.sql.as_bytes());
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
    fn put(&self, records: &mut Records) {
        let statement = Some((self.query_id, self.session_id));
        let is_brief = records.before.statement == statement;
        let field = if is_brief { BRIEF_ROWS } else { ROWS };
        message_in_message(&mut records.bytes, (RECORD, field), |out| {
            let mut gathered = Gathered::<{ 2 * ID + 3 * NUMBER }>::new();
            if !is_brief {
                gathered.id(1, self.query_id);
                gathered.id(2, self.session_id.0);
            }
            gathered.number(3, u64::from(self.chunk));
            gathered.number(4, self.first_row);
            gathered.number(5, u64::from(self.row_count));
            gathered.append_to(out);
            bytes(out, 6, self.data);
        });
        records.before.statement = statement;
    }

    fn large_bytes(&self) -> usize {
        self.data.len()
    }
}

impl Encode for SessionEnded<'_> {
    fn put(&self, records: &mut Records) {
        message_in_message(&mut records.bytes, (RECORD, SESSION_ENDED), |out| {
            bytes(out, 1, self.session_id.0.as_bytes());
            signed(out, 2, self.ended_at_unix_us);
            bytes(out, 3, self.reason.as_bytes());
            bytes(out, 4, self.sqlstate.as_bytes());
            number(out, 5, self.queries_used);
            number(out, 6, self.bytes_used);
            number(out, 7, self.bytes_in);
            number(out, 8, self.bytes_out);
        });
        records.before.statement = None;
    }
}

#[cfg(test)]
mod tests;
