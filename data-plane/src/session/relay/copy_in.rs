//! COPY data from the client, and Sync, which COPY swallows (PostgreSQL manual, section "COPY Operations").

use pglens_wire::frame::Header;
use pglens_wire::frontend::{self, tag};

use super::ending::Ending;
use super::engine::{CopyIn, Engine, Rest, Step, Wait};
use super::output::Passage;
use crate::audit::recorder::ChunkRoom;
use crate::clock::Now;
use crate::policy::quota::Taken;

impl Engine {
    pub(super) fn sync(&mut self, header: Header, chunk: &[u8], out: &mut Passage<'_>) -> Step {
        if self.exchange.is_full() {
            return self.wait_for_replies(out);
        }
        match self.copy_in {
            CopyIn::Active { .. } => self.exchange.swallow_sync(),
            CopyIn::No | CopyIn::GivenUp => self.exchange.push_sync(),
        }
        self.take_client(header, chunk, Rest::Forward, out)
    }

    /// Stops the client until replies have come. The target may be sitting on some that fill no packet.
    pub(super) fn wait_for_replies(&mut self, out: &mut Passage<'_>) -> Step {
        if !self.flushed {
            self.flushed = true;
            frontend::put_flush(out.put());
        }
        Step::Wait(Wait::Replies)
    }

    pub(super) fn copy_data(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Step, Ending> {
        let CopyIn::Active { is_text } = self.copy_in else {
            return Ok(self.stray_copy(header, chunk, out));
        };
        self.exchange.copy_goes_on();
        if let Some(run) = self.plain_copy_run(chunk, is_text, now) {
            self.pass_to_target(chunk.get(..run).unwrap_or_default(), Rest::Record, out);
            return Ok(Step::Taken(run));
        }
        let total = header.total_bytes();
        if self.recorder.room_for_row(0, total) == ChunkRoom::OutboxFull {
            return Ok(Step::Wait(Wait::Room));
        }
        match self.quota.take_bytes(total as u64, now.instant) {
            Taken::Yes => self.client_goes_on(),
            Taken::Spent => return Err(Ending::bytes_spent(self.judge.grant())),
            Taken::Withheld => return Err(Ending::bytes_withheld()),
            Taken::NotYet if self.client_waits(Wait::Quota, now) => {
                return Ok(Step::Wait(Wait::Quota));
            }
            Taken::NotYet => return Err(Ending::bytes_unavailable()),
        }
        self.recorder.begin_copy_data(total, now);
        Ok(self.take_client(header, chunk, Rest::Record, out))
    }

    /// Begins all messages of COPY data that stand whole at the start of `chunk` at once, as long as none needs a
    /// decision of its own. `None` where the next one does.
    fn plain_copy_run(&mut self, chunk: &[u8], is_text: bool, now: Now) -> Option<usize> {
        let most = self.recorder.plain_rows();
        let counts_lines = is_text && most.rows < u64::MAX;
        let (mut messages, mut lines, mut run) = (0, 0, 0);
        while lines < most.rows
            && let Some(rest) = chunk.get(run..)
            && let Ok(Some(header)) = Header::peek(rest)
        {
            let end = run + header.total_bytes();
            if header.tag() != tag::COPY_DATA || end > chunk.len() || end > most.bytes {
                break;
            }
            lines += match counts_lines {
                true => lines_of(header.payload(rest)).max(1),
                false => 1,
            };
            messages += 1;
            run = end;
        }
        if messages == 0 || self.quota.take_bytes(run as u64, now.instant) != Taken::Yes {
            return None;
        }
        self.client_goes_on();
        self.recorder.begin_copy_run((messages, lines), run, now);
        Some(run)
    }

    pub(super) fn copy_end(&mut self, header: Header, chunk: &[u8], out: &mut Passage<'_>) -> Step {
        let CopyIn::Active { .. } = self.copy_in else {
            return self.stray_copy(header, chunk, out);
        };
        self.exchange.copy_goes_on();
        self.copy_in = CopyIn::No;
        self.take_client(header, chunk, Rest::Forward, out)
    }

    /// The client sends something else in the middle of a COPY, and that must wait until the COPY has ended: it would wait for
    /// ever. If it has failed already, the target ignores this.
    pub(super) fn give_up_copy(&mut self, out: &mut Passage<'_>) {
        if let CopyIn::Active { .. } = self.copy_in {
            self.copy_in = CopyIn::GivenUp;
            frontend::put_copy_fail(out.put(), "another message came before its end");
        }
    }

    /// To read what comes now, the target must have given up a COPY that was not over.
    pub(super) fn copy_is_over(&mut self) {
        if self.copy_in != CopyIn::No {
            self.copy_in = CopyIn::No;
            self.exchange.expect_syncs_behind_data();
        }
    }

    /// COPY data while no COPY is known to run: either it is about to, or it has failed and the target ignores the rest.
    fn stray_copy(&mut self, header: Header, chunk: &[u8], out: &mut Passage<'_>) -> Step {
        if self.exchange.may_become_copy() {
            return self.wait_for_replies(out);
        }
        self.take_client(header, chunk, Rest::Drop, out)
    }
}

fn lines_of(data: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', data).count() as u64
}
