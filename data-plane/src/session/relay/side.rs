//! One of the two connections of a relay: what was read from it, and what waits to be written to it.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::bulk::Rests;
use super::engine::{Progress, Wait};
use super::output::Passage;
use super::second_round::Seat;
use super::{Ending, Output};
use crate::net::{Connection, Stream};

/// A connection with its output, and how far the engine got with what was read from it.
pub(crate) struct Side {
    /// The first field, since it must be dropped before the connection.
    seat: Seat,
    pub(crate) connection: Connection,
    pub(crate) output: Output,
    pub(super) progress: Progress,
    /// What was read has not been looked at since.
    has_news: bool,
    /// The engine was done with some of it in this turn.
    pub(super) got_on: bool,
    needs_flush: bool,
    /// In this turn there was nothing to read, and the task is woken when there is.
    was_quiet: bool,
    rests: Rests,
    /// Writing failed: the peer is gone, though its last words may still be readable.
    is_deaf: bool,
}

impl Side {
    pub(super) fn new(connection: Connection, seat: Seat) -> Self {
        Self {
            seat,
            has_news: !connection.read.is_empty(),
            connection,
            output: Output::default(),
            progress: Progress::default(),
            got_on: false,
            needs_flush: false,
            was_quiet: false,
            rests: Rests::default(),
            is_deaf: false,
        }
    }

    /// Whether the engine can do something about what was read.
    pub(super) fn is_worth_a_look(&self) -> bool {
        self.has_news || self.progress.wait.is_some()
    }

    pub(super) fn waits_for_room(&self) -> bool {
        self.progress.wait == Some(Wait::Room)
    }

    /// Whether more can be read: the engine waits for bytes, and there is room.
    pub(super) fn may_read(&self) -> bool {
        !self.has_news
            && self.progress.wait.is_none()
            && self.connection.read.has_room(self.progress.needs)
    }

    /// One read; `Ready(0)` is the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let polled = self.poll_fill(cx);
        if let Poll::Ready(Ok(count)) = &polled {
            self.rests.came(*count);
        }
        self.has_news |= matches!(polled, Poll::Ready(Ok(1..)));
        self.was_quiet = polled.is_pending();
        polled
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.rests.poll(cx));
            let polled = self.connection.poll_fill(cx, self.progress.needs);
            if polled.is_ready() || !self.rests.begin(&mut self.connection.stream) {
                return polled;
            }
        }
    }

    /// The peer was written to: it is not let rest any more.
    fn turned(&mut self) {
        self.rests.turned();
        self.was_quiet = false;
    }

    /// Whether nothing can be read now, or is to be; the task is woken when that changes.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.was_quiet
            || !self.may_read()
            || self.rests.poll(cx).is_pending()
            || self.connection.stream.poll_readable(cx).is_pending()
    }

    /// Leaves what waits to the second round, to go out once `frame` is written; `rest` bytes of its last message are to
    /// come. `false`: it stays here.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, frame: Option<u64>, rest: usize) -> bool {
        if self.output.is_empty() {
            return true;
        }
        let stream = &mut self.connection.stream;
        let Some(socket) = stream.descriptor().filter(|_| !self.is_deaf) else {
            return false;
        };
        let Some(bytes) = self.output.unbegun().filter(|_| !stream.has_unsent()) else {
            return false;
        };
        if !stream.is_tls() {
            return self.seat.leave(bytes, socket, frame, cx.waker());
        }
        self.needs_flush = true;
        self.is_deaf = stream.seal(cx, bytes).is_err();
        // TLS writes by itself as well: an alert about what was read, for one.
        stream.hold(frame.is_some());
        self.output.wrote_all(rest);
        self.seat.leave(stream.unsent(), socket, frame, cx.waker())
    }

    /// A new turn takes back what was left; `rest` bytes of its last message are to come.
    pub(super) fn take_back(&mut self, rest: usize) {
        self.was_quiet = false;
        let stream = &mut self.connection.stream;
        let is_tls = stream.is_tls();
        let left = match is_tls {
            true => stream.unsent(),
            false => self.output.put(),
        };
        let Some(written) = self.seat.take_back(left) else {
            return;
        };
        if written > 0 {
            self.rests.turned();
        }
        if is_tls {
            stream.sent(written);
            self.needs_flush = stream.has_unsent();
        } else {
            self.output.wrote(written, rest);
        }
    }

    /// Whether something that was let through is not sent.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.output.is_empty() || self.connection.stream.has_unsent()
    }

    /// Drops what waits: it must not go out. What was sealed is missed by the peer, which understands nothing that
    /// would follow.
    pub(crate) fn forget(&mut self) {
        self.output = Output::default();
        self.is_deaf |= self.connection.stream.has_unsent();
        self.connection.stream.unsent().clear();
    }

    /// Whether the peer would take more.
    pub(crate) fn hears(&self) -> bool {
        !self.is_deaf
    }

    /// What was let through is written in the record: it may go out.
    pub(crate) fn release(&mut self) {
        self.connection.stream.hold(false);
    }

    /// Writes what waits, all of which may go out. Ready once nothing does; `rest` bytes of its last message are to come.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, rest: usize) -> Poll<io::Result<()>> {
        self.release();
        while !self.output.is_empty() {
            if self.is_deaf {
                self.output.wrote_all(rest);
                break;
            }
            match poll_write(&mut self.connection.stream, cx, self.output.pending()) {
                Poll::Ready(Ok(count)) => {
                    self.output.wrote(count, rest);
                    self.turned();
                    self.needs_flush = true;
                }
                Poll::Ready(Err(error)) => {
                    self.is_deaf = true;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.needs_flush && !self.is_deaf {
            match Pin::new(&mut self.connection.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes a run that stands in the other side's buffer, as far as the peer takes it at once. Ready once nothing
    /// waits.
    pub(super) fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        run: &[u8],
        rest: usize,
    ) -> Poll<io::Result<()>> {
        if !run.is_empty() && !self.is_deaf {
            match poll_write(&mut self.connection.stream, cx, run) {
                Poll::Ready(Ok(count)) => {
                    self.turned();
                    self.needs_flush = true;
                    if count == run.len() {
                        self.output.wrote_all(rest);
                    } else {
                        self.output.keep(run, count, rest);
                    }
                }
                Poll::Ready(Err(error)) => {
                    self.is_deaf = true;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => self.output.keep(run, 0, rest),
            }
        }
        self.poll_write(cx, rest)
    }

    /// Has the engine look at what was read, and puts behind `output` what it lets through, except for the run that may
    /// be written from where it stands. Returns that run, and how much of what was read is done with.
    pub(super) fn let_through(
        &mut self,
        output: &mut Output,
        look: impl FnOnce(&mut Passage<'_>) -> Result<Progress, Ending>,
    ) -> Result<(Range<usize>, usize), Ending> {
        self.has_news = false;
        let mut passage = Passage::new(self.connection.read.data(), output);
        let looked = look(&mut passage);
        let consumed = passage.consumed();
        self.got_on = consumed > 0;
        match looked {
            Ok(progress) => {
                self.progress = progress;
                Ok((passage.into_run(), consumed))
            }
            Err(ending) => {
                passage.into_output();
                Err(ending)
            }
        }
    }

    /// A run of what was read from this side.
    pub(super) fn run(&self, run: Range<usize>) -> &[u8] {
        self.connection.read.data().get(run).unwrap_or_default()
    }
}

fn poll_write(stream: &mut Stream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match Pin::new(stream).poll_write(cx, bytes) {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        polled => polled,
    }
}
