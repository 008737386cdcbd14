//! The end of the last statement with its last rows: kept back for the transaction status that `ReadyForQuery` may bring.

use pglens_core::SessionId;
use uuid::Uuid;

use super::MAX_IDLE_BYTES;
use crate::audit::Reservation;
use crate::audit::capture::LastRows;
use crate::audit::encode::{EncodedEnd, Rows, Settled};
use crate::audit::outbox::{Appending, Pushed};
use crate::metrics::StatementOutcome;

/// What is kept back; nothing for most of the time.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) end: EncodedEnd,
    pub(super) ended_as: StatementOutcome,
    pub(super) query_id: Uuid,
    /// Those of its rows that have not gone into the record; they stand in `data`.
    pub(super) rows: Option<LastRows>,
    /// Memory for rows, of the statement at hand or of the next one.
    pub(super) data: Vec<u8>,
    /// Its place, which is given back behind its end.
    pub(super) place: Option<Reservation>,
}

impl Tail {
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_empty()
    }

    /// Appends the rows alone, whose end follows later.
    pub(super) fn push_rows(&mut self, session_id: SessionId, appending: &mut Appending<'_>) {
        let Some(rows) = self.rows.take() else {
            return;
        };
        if rows.is_all {
            self.end.digest(&self.data);
        }
        appending.push(&self.rows(session_id, rows));
        self.data.clear();
    }

    fn rows(&self, session_id: SessionId, rows: LastRows) -> Rows<'_> {
        Rows {
            query_id: self.query_id,
            session_id,
            chunk: rows.chunk,
            first_row: rows.first_row,
            row_count: rows.row_count,
            data: &self.data,
        }
    }

    /// Appends all of it, with the transaction status that came.
    pub(super) fn push(
        &mut self,
        (session_id, transaction_status): (SessionId, &'static str),
        appending: &mut Appending<'_>,
    ) -> Pushed {
        let rows = self.rows.take();
        if let Some(rows) = rows {
            appending.push(&self.rows(session_id, rows));
        }
        let is_all = rows.is_some_and(|rows| rows.is_all);
        let pushed = appending.push(&Settled {
            query_id: self.query_id,
            session_id,
            end: &self.end,
            rows_before: is_all.then_some(&self.data),
            transaction_status,
        });
        if let Some(place) = self.place.take() {
            appending.release(place);
        }
        self.data.clear();
        self.end.clear(MAX_IDLE_BYTES);
        pushed
    }

    /// Keeps little memory for the next statement: idle sessions are many.
    pub(super) fn shrink(&mut self) {
        if self.data.capacity() > MAX_IDLE_BYTES {
            self.data = Vec::new();
        }
    }
}
