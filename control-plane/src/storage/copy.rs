//! Rows as `COPY ... (format binary)` takes them (PostgreSQL manual, COPY, "Binary Format"), written straight from the
//! values: one buffer for a batch, nothing allocated for a field.

use bytes::{BufMut, Bytes, BytesMut};
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::SinkExt;
use tokio_postgres::Statement;
use uuid::Uuid;

use super::{StoreError, Transaction};

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;
const NULL: i32 = -1;
/// Sent to the server when it is full: large enough that messages cost nothing, small enough to keep the server busy.
const PART_BYTES: usize = 256 * 1024;

/// 2000-01-01, where PostgreSQL counts days and microseconds from.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_US: i64 = 946_684_800_000_000;
/// Days of `NaiveDate` before 1970-01-01.
const UNIX_DAY_FROM_CE: i32 = 719_163;

/// Rows for one COPY.
#[derive(Debug)]
pub(super) struct CopyRows {
    parts: Vec<Bytes>,
    part: BytesMut,
    fields: i16,
}

impl CopyRows {
    /// Nothing yet; each row has `fields` fields.
    pub(super) fn new(fields: i16) -> Self {
        let mut part = BytesMut::with_capacity(PART_BYTES / 4);
        part.put_slice(HEADER);
        Self {
            parts: Vec::new(),
            part,
            fields,
        }
    }

    /// Begins a row; its fields follow in order.
    pub(super) fn row(&mut self) -> &mut Self {
        if self.part.len() >= PART_BYTES {
            self.parts.push(self.part.split().freeze());
        }
        self.part.put_i16(self.fields);
        self
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.part.put_i32(NULL);
        self
    }

    pub(super) fn uuid(&mut self, id: Uuid) -> &mut Self {
        self.fixed(16).put_slice(id.as_bytes());
        self
    }

    pub(super) fn int8(&mut self, number: i64) -> &mut Self {
        self.fixed(8).put_i64(number);
        self
    }

    pub(super) fn int4(&mut self, number: i32) -> &mut Self {
        self.fixed(4).put_i32(number);
        self
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.fixed(1).put_u8(value.into());
        self
    }

    pub(super) fn date(&mut self, day: NaiveDate) -> &mut Self {
        use chrono::Datelike;
        self.int4(day.num_days_from_ce() - UNIX_DAY_FROM_CE - EPOCH_DAYS)
    }

    pub(super) fn timestamptz(&mut self, time: DateTime<Utc>) -> &mut Self {
        self.int8(time.timestamp_micros().saturating_sub(EPOCH_US))
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytea(text.as_bytes())
    }

    pub(super) fn bytea(&mut self, bytes: &[u8]) -> &mut Self {
        // A field as large as that is beyond what a message brings; the server would refuse the length.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.part.put_i32(length);
        self.part.put_slice(bytes);
        self
    }

    /// A field that may be null.
    pub(super) fn optional<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => put(self, value),
            None => self.null(),
        }
    }

    fn fixed(&mut self, length: i32) -> &mut BytesMut {
        self.part.put_i32(length);
        &mut self.part
    }

    /// Sends the rows to `statement`, a `COPY ... FROM STDIN (FORMAT binary)`.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses one of them.
    pub(super) async fn send(
        mut self,
        txn: &Transaction<'_>,
        statement: &Statement,
    ) -> Result<(), StoreError> {
        self.part.put_i16(TRAILER);
        self.parts.push(self.part.freeze());
        let sink = txn.copy_in(statement).await?;
        let mut sink = std::pin::pin!(sink);
        for part in self.parts {
            sink.feed(part).await?;
        }
        sink.finish().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_as_postgresql_writes_them() {
        let mut rows = CopyRows::new(5);
        rows.row()
            .date("2000-01-02".parse().unwrap())
            .timestamptz(DateTime::from_timestamp_micros(EPOCH_US + 7).unwrap())
            .optional(None::<i64>, CopyRows::int8)
            .text("ab")
            .bool(true);
        let expected = [
            HEADER,
            b"\0\x05",
            b"\0\0\0\x04\0\0\0\x01",
            b"\0\0\0\x08\0\0\0\0\0\0\0\x07",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x02ab",
            b"\0\0\0\x01\x01",
        ]
        .concat();
        assert_eq!(rows.part, expected);
        assert_eq!(rows.parts.len(), 0);
    }

    #[test]
    fn full_parts_are_set_aside() {
        let mut rows = CopyRows::new(1);
        for _ in 0..3 {
            rows.row().bytea(&[0; PART_BYTES]);
        }
        assert_eq!(rows.parts.len(), 2);
    }
}
