//! The end of a statement: it waits for its transaction status, and says no more than the one before it does not.

use pglens_core::SessionId;
use pglens_policy::Fingerprint;
use uuid::Uuid;

use super::protobuf::{Gathered, message_in_message};
use super::{DIGEST, Encode, FINGERPRINT, ID, NUMBER, RECORD, Records, bytes, hexadecimal};

/// Fields of `Record`.
const ENDED: u32 = 3;
const BRIEF_ENDED: u32 = 7;

/// The end of a statement, without what it is known by and its transaction status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    pub(crate) duration_us: u64,
    pub(crate) first_row_us: Option<u64>,
    pub(crate) row_count: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) command_tag: &'a str,
    pub(crate) sqlstate: &'a str,
    pub(crate) error_message: &'a str,
    pub(crate) refusal: &'static str,
    /// Encoded, see [`super::super::Columns::fields`].
    pub(crate) columns: &'a [u8],
    pub(crate) rows_truncated: bool,
    pub(crate) captured_rows: u64,
    pub(crate) captured_bytes: u64,
    /// Of all rows, unless it can be made of those that are at hand.
    pub(crate) result_digest: Option<[u8; 32]>,
    pub(crate) outcome_unknown: bool,
    /// If the start did not have it.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// An [`Ended`], encoded. Empty when there is none.
#[derive(Debug, Default)]
pub(crate) struct EncodedEnd {
    fields: Vec<u8>,
    /// So many bytes of them say how it ended and what the columns were, which the next end may have as well.
    outcome: usize,
    /// It has a command tag or an SQLSTATE.
    is_told: bool,
}

impl EncodedEnd {
    /// Replaces it.
    pub(crate) fn set(&mut self, ended: &Ended<'_>) {
        self.fields.clear();
        let out = &mut self.fields;
        bytes(out, 8, ended.command_tag.as_bytes());
        put_error(out, ended.sqlstate, ended.error_message);
        bytes(out, 11, ended.refusal.as_bytes());
        out.extend_from_slice(ended.columns);
        self.outcome = out.len();
        self.is_told = !ended.command_tag.is_empty() || !ended.sqlstate.is_empty();
        let mut gathered = Gathered::<{ 8 * NUMBER + DIGEST + FINGERPRINT }>::new();
        gathered.number(3, ended.duration_us);
        if let Some(first_row_us) = ended.first_row_us {
            gathered.present_number(4, first_row_us);
        }
        gathered.number(5, ended.row_count);
        gathered.number(6, ended.bytes_in);
        gathered.number(7, ended.bytes_out);
        gathered.number(13, u64::from(ended.rows_truncated));
        gathered.number(14, ended.captured_rows);
        gathered.number(15, ended.captured_bytes);
        if let Some(digest) = ended.result_digest {
            gathered.fixed(16, digest);
        }
        gathered.number(18, u64::from(ended.outcome_unknown));
        if let Some(fingerprint) = ended.fingerprint {
            gathered.fixed(19, hexadecimal(fingerprint.0));
        }
        gathered.append_to(out);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Makes it empty, with no more memory than `bytes`.
    pub(crate) fn clear(&mut self, bytes: usize) {
        self.fields.clear();
        if self.fields.capacity() > bytes {
            self.fields = Vec::new();
        }
    }

    /// What had succeeded has failed. Of a field that comes twice, the last counts.
    pub(crate) fn fail(&mut self, sqlstate: &str, error_message: &str) {
        let own = self.fields.split_off(self.outcome);
        put_error(&mut self.fields, sqlstate, error_message);
        self.outcome = self.fields.len();
        self.is_told = true;
        self.fields.extend_from_slice(&own);
    }

    /// Adds the digest of its rows, which are all there were.
    pub(crate) fn digest(&mut self, rows: &[u8]) {
        put_digest(&mut self.fields, rows);
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.fields.split_at(self.outcome)
    }
}

fn put_error(out: &mut Vec<u8>, sqlstate: &str, error_message: &str) {
    bytes(out, 9, sqlstate.as_bytes());
    bytes(out, 10, error_message.as_bytes());
}

fn put_digest(out: &mut Vec<u8>, rows: &[u8]) {
    bytes(out, 16, blake3::hash(rows).as_bytes());
}

/// The end of a statement that waited for its transaction status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled<'a> {
    pub(crate) query_id: Uuid,
    pub(crate) session_id: SessionId,
    pub(crate) end: &'a EncodedEnd,
    /// All rows of the statement, if it has no digest of them and they are the record before it.
    pub(crate) rows_before: Option<&'a [u8]>,
    pub(crate) transaction_status: &'static str,
}

impl Encode for Settled<'_> {
    fn put(&self, records: &mut Records) {
        let statement = Some((self.query_id, self.session_id));
        let (outcome, own) = self.end.parts();
        let is_brief = self.end.is_told;
        let same_statement = is_brief && records.before.statement == statement;
        let same_outcome = is_brief && records.repeats(&records.before.outcome, outcome);
        let field = if is_brief { BRIEF_ENDED } else { ENDED };
        message_in_message(&mut records.bytes, (RECORD, field), |out| {
            if !same_statement {
                let mut gathered = Gathered::<{ 2 * ID }>::new();
                gathered.id(1, self.query_id);
                gathered.id(2, self.session_id.0);
                gathered.append_to(out);
            }
            out.extend_from_slice(own);
            if let Some(rows) = self.rows_before
                && !is_brief
            {
                put_digest(out, rows);
            }
            bytes(out, 17, self.transaction_status.as_bytes());
            if !same_outcome {
                out.extend_from_slice(outcome);
            }
        });
        if !same_outcome {
            let end = records.bytes.len();
            records.before.outcome = end - outcome.len()..end;
        }
        records.before.statement = statement;
    }
}
