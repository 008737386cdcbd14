//! Rows and COPY data from the target: they pass in runs, each counted, recorded and paid for.

use pglens_wire::backend::tag;
use pglens_wire::frame::Header;

use super::ending::Ending;
use super::engine::{Engine, Rest, Step, Wait};
use super::output::Passage;
use crate::audit::recorder::ChunkRoom;
use crate::clock::Now;
use crate::policy::quota::Taken;

/// Rows from this size on pass piece by piece; smaller ones wait in the buffer until they are whole.
const STREAMED_ROW_BYTES: usize = 8 * 1024;

impl Engine {
    /// Takes as many row messages as stand whole at the start of `chunk`, or the beginning of a large one.
    pub(super) fn rows(
        &mut self,
        first: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Step, Ending> {
        if !self.recorder.is_running() {
            return Err(Ending::target_protocol("a row belongs to no statement"));
        }
        if first.total_bytes() > STREAMED_ROW_BYTES {
            return match self.begin_row(0, first, now)? {
                Step::Taken(_) => Ok(self.take_target(first, chunk, Rest::Record, out)),
                step => Ok(step),
            };
        }
        if let Some(run) = self.plain_run(chunk, now) {
            self.pass(chunk.get(..run).unwrap_or_default(), Rest::Record, out);
            return Ok(Step::Taken(run));
        }
        let mut run = 0;
        let mut stopped = Step::Taken(0);
        while let Ok(Some(header)) = Header::peek(chunk.get(run..).unwrap_or_default()) {
            let total = header.total_bytes();
            let is_row = matches!(header.tag(), tag::DATA_ROW | tag::COPY_DATA);
            if !is_row || total > STREAMED_ROW_BYTES {
                break;
            }
            if chunk.len() < run + total {
                stopped = Step::NeedMore(total);
                break;
            }
            stopped = self.begin_row(run, header, now)?;
            if !matches!(stopped, Step::Taken(_)) {
                break;
            }
            run += total;
            stopped = Step::Taken(0);
            // The next row may be treated differently from this one: what was begun must be handed over first.
            if self.row_differs(run, chunk) {
                break;
            }
        }
        if run == 0 {
            return Ok(stopped);
        }
        self.pass(chunk.get(..run).unwrap_or_default(), Rest::Record, out);
        Ok(Step::Taken(run))
    }

    /// Begins all small rows that stand whole at the start of `chunk` at once, as long as none needs a decision of its
    /// own: millions of rows of some bytes each are what a COPY is made of. `None` where the next row needs one.
    fn plain_run(&mut self, chunk: &[u8], now: Now) -> Option<usize> {
        let most = self.recorder.plain_rows();
        let (mut rows, mut run) = (0, 0);
        while rows < most.rows
            && let Ok(Some(header)) = Header::peek(chunk.get(run..).unwrap_or_default())
        {
            let total = header.total_bytes();
            let is_row = matches!(header.tag(), tag::DATA_ROW | tag::COPY_DATA);
            let end = run + total;
            if !is_row || total > STREAMED_ROW_BYTES || end > chunk.len() || end > most.bytes {
                break;
            }
            run = end;
            rows += 1;
        }
        if rows == 0 || self.quota.take_bytes(run as u64, now.instant) != Taken::Yes {
            return None;
        }
        self.target_goes_on();
        self.recorder.begin_rows(rows, run, now);
        Some(run)
    }

    fn row_differs(&self, run: usize, chunk: &[u8]) -> bool {
        match Header::peek(chunk.get(run..).unwrap_or_default()) {
            Ok(Some(next)) => !self.recorder.is_like_last_row(next.total_bytes()),
            _ => false,
        }
    }

    /// Begins a row behind `pending` bytes of rows that were begun and not yet passed. `Taken` means that it may pass.
    fn begin_row(&mut self, pending: usize, header: Header, now: Now) -> Result<Step, Ending> {
        let total = header.total_bytes();
        match self.recorder.room_for_row(pending, total) {
            ChunkRoom::Ready => {}
            ChunkRoom::HandOnFirst | ChunkRoom::OutboxFull => return Ok(Step::Wait(Wait::Room)),
        }
        match self.pay_bytes(total, now) {
            Ok(true) => {}
            Ok(false) => return Ok(Step::Wait(Wait::Quota)),
            // The rows before this one are delivered first.
            Err(_spent) if pending > 0 => return Ok(Step::Wait(Wait::Quota)),
            Err(spent) => return Err(spent),
        }
        self.recorder.begin_row(total, now);
        Ok(Step::Taken(0))
    }

    /// Pays for what the target wants to deliver; `false` while it waits for more of the quota.
    pub(super) fn pay_bytes(&mut self, bytes: usize, now: Now) -> Result<bool, Ending> {
        match self.quota.take_bytes(bytes as u64, now.instant) {
            Taken::Yes => {
                self.target_goes_on();
                Ok(true)
            }
            Taken::Spent => Err(Ending::bytes_spent(self.judge.grant())),
            Taken::Withheld => Err(Ending::bytes_withheld()),
            Taken::NotYet if self.target_waits(Wait::Quota, now) => Ok(false),
            Taken::NotYet => Err(Ending::bytes_unavailable()),
        }
    }
}
