//! Batches of the record.

use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::brief::InFull;
use crate::v1::Record;

/// `RecordBatch` of `events.proto` with its records still encoded, which is the same bytes: whoever takes in thousands
/// a second reads them where they lie, and one that cannot be read does not take the others with it.
#[derive(Clone, PartialEq, Message)]
pub struct RecordBatch {
    /// Number of the first record in its run, from 1.
    #[prost(uint64, tag = "1")]
    pub first_sequence: u64,
    /// Number of the last one.
    #[prost(uint64, tag = "2")]
    pub last_sequence: u64,
    /// Each a [`Record`].
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub records: Vec<Bytes>,
    /// Somebody waits for these records to be durable.
    #[prost(bool, tag = "4")]
    pub is_awaited: bool,
}

impl RecordBatch {
    /// A batch of `records`, the first of which has the number `first_sequence`.
    #[must_use]
    pub fn new(first_sequence: u64, records: &[Record]) -> Self {
        let count = records.len() as u64;
        Self {
            first_sequence,
            last_sequence: (first_sequence + count).saturating_sub(1),
            records: records
                .iter()
                .map(|record| record.encode_to_vec().into())
                .collect(),
            is_awaited: false,
        }
    }

    /// The same without brief records, for whoever does not read them, or not all records of the batch. What cannot be
    /// read stays as it is; nothing is left of a record that refers to what is not there.
    #[must_use]
    pub fn in_full(self) -> Self {
        let mut in_full = InFull::default();
        let records = self.records.into_iter();
        Self {
            records: records.map(|record| in_full.next(record)).collect(),
            ..self
        }
    }

    /// Its records.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn decoded(&self) -> Result<Vec<Record>, DecodeError> {
        let records = self.records.iter();
        records.map(|record| Record::decode(&**record)).collect()
    }
}
