//! The end of the last statement with its last rows: kept back for the transaction status that `ReadyForQuery` may bring.

use pglens_core::SessionId;
use uuid::Uuid;

use super::MAX_IDLE_BYTES;
use crate::audit::Reservation;
use crate::audit::capture::LastRows;
use crate::audit::encode::{Rows, Settled};
use crate::audit::outbox::{Appending, Pushed};
use crate::metrics::StatementOutcome;

/// What is kept back; nothing for most of the time.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The end, encoded. Empty when there is none.
    pub(super) ended: Vec<u8>,
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
        self.ended.is_empty()
    }

    pub(super) fn push_rows(&mut self, session_id: SessionId, appending: &mut Appending<'_>) {
        if let Some(rows) = self.rows.take() {
            appending.push(&Rows {
                query_id: self.query_id,
                session_id,
                chunk: rows.chunk,
                first_row: rows.first_row,
                row_count: rows.row_count,
                data: &self.data,
            });
            self.data.clear();
        }
    }

    /// Appends all of it, with the transaction status that came.
    pub(super) fn push(
        &mut self,
        (session_id, transaction_status): (SessionId, &'static str),
        appending: &mut Appending<'_>,
    ) -> Pushed {
        self.push_rows(session_id, appending);
        let pushed = appending.push(&Settled {
            ended: &self.ended,
            transaction_status,
        });
        if let Some(place) = self.place.take() {
            appending.release(place);
        }
        self.ended.clear();
        pushed
    }

    /// Keeps little memory for the next statement: idle sessions are many.
    pub(super) fn shrink(&mut self) {
        for buffer in [&mut self.ended, &mut self.data] {
            if buffer.capacity() > MAX_IDLE_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}
