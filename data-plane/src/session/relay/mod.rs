//! The relay: one task that reads from both sides, lets the engine decide, and writes to both sides.
//!
//! Each direction stops reading while the other side does not take what is waiting for it, or while the engine waits;
//! neither direction stops the other.

mod at_work;
mod copy_in;
mod ending;
mod engine;
mod errors;
mod exchange;
mod facts;
mod from_client;
mod from_target;
mod malformed;
mod named;
mod output;
mod prepared;
mod rows;
mod sql_names;
#[cfg(test)]
mod tests;
mod timers;
pub(crate) mod tripwire;
mod watchdog;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use ending::{Delivery, Ending};
pub(crate) use engine::Engine;
use engine::{Progress, Wait};
pub(crate) use output::Output;
pub(crate) use timers::{Terms, Timers};
pub(crate) use watchdog::Watchdog;

use crate::clock::Now;
use crate::control::SessionMessages;
use crate::net::Connection;
use crate::policy::quota::SharedQuota;
use crate::session::report::put_notice;

/// How soon the end of a cancel request on its way to the target is noticed.
const CANCEL_POLL: Duration = Duration::from_millis(10);

/// What a relay hears besides its two sockets.
pub(crate) struct Signals {
    pub(crate) messages: SessionMessages,
    pub(crate) quota_requests: mpsc::Sender<pglens_rpc::v1::QuotaRequest>,
    pub(crate) room: watch::Receiver<u64>,
    /// The proxy is shutting down: sessions end when they are idle.
    pub(crate) drain: CancellationToken,
    /// The time for that is over.
    pub(crate) abort: CancellationToken,
}

/// One side: its connection and what waits to be written to it.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    pub(crate) output: Output,
    needs_flush: bool,
    /// How far the engine got with what was read from this side.
    progress: Progress,
}

/// A session that is being relayed.
pub(crate) struct Relay {
    pub(crate) client: Side,
    pub(crate) target: Side,
    pub(crate) engine: Engine,
    timers: Timers,
    /// What waits for the target may not go out: its record is not written.
    is_held: bool,
    watchdog: Watchdog,
}

/// What made the relay look again.
enum Event {
    Io(Result<(), Ending>),
    Termination,
    Quota,
    Timer,
    Drain,
    Abort,
}

impl Relay {
    pub(crate) fn new(
        client: Connection,
        target: Connection,
        engine: Engine,
        timers: Timers,
        watchdog: Watchdog,
    ) -> Self {
        Self {
            client: Side::new(client),
            target: Side::new(target),
            engine,
            timers,
            is_held: false,
            watchdog,
        }
    }

    /// Relays until one side, the grant, or the proxy ends the session.
    pub(crate) async fn run(&mut self, signals: &mut Signals) -> Ending {
        loop {
            let now = Now::read();
            let is_draining = signals.drain.is_cancelled();
            if let Err(ending) = self.advance(now, is_draining) {
                return ending;
            }
            match self.engine.record(now) {
                Ok(is_recorded) => self.is_held = !is_recorded,
                Err(ending) => return ending,
            }
            if let Some(request) = self.engine.quota().request(now.instant) {
                // A full queue means that no control plane listens; the session asks again.
                let _asks_again = signals.quota_requests.try_send(request);
            }
            let due = self.due(now);
            let event = self.next_event(signals, due, is_draining).await;
            if let Err(ending) = self.take(event, signals) {
                return ending;
            }
        }
    }

    /// Lets the engine work on what was read, as far as there is room for what comes out.
    fn advance(&mut self, now: Now, is_draining: bool) -> Result<(), Ending> {
        self.timers.check(now.instant)?;
        if self.watchdog.check(self.engine.running(), now.instant)? {
            self.engine.is_out_of_time();
        }
        if self.engine.is_between_target_messages()
            && let Some(notice) = self.notice(now)
        {
            put_notice(&mut self.client.output.bytes, &notice, "");
        }
        let (client, target) = (&mut self.client, &mut self.target);
        if client.output.has_room() {
            let chunk = target.connection.read.data();
            target.progress = self
                .engine
                .target_bytes(chunk, now, &mut client.output.bytes)?;
            target.connection.read.consume(target.progress.consumed);
        }
        if target.output.has_room() {
            let chunk = client.connection.read.data();
            let progress = self
                .engine
                .client_bytes(chunk, now, &mut target.output.bytes);
            client.progress = progress?;
            client.connection.read.consume(client.progress.consumed);
        }
        if is_draining && self.engine.is_idle() && self.client.connection.read.is_empty() {
            return Err(Ending::draining());
        }
        Ok(())
    }

    /// What the client is to be told now, once.
    fn notice(&mut self, now: Now) -> Option<String> {
        let nearly_spent = self.engine.quota().nearly_spent();
        nearly_spent
            .map(|quota| quota.to_string())
            .or_else(|| self.engine.notice())
            .or_else(|| self.timers.notice(now.instant))
    }

    fn due(&self, now: Now) -> tokio::time::Instant {
        let mut due = self.timers.next();
        if let Some(deadline) = self.engine.next_deadline() {
            due = due.min(deadline);
        }
        if let Some(limit) = self.watchdog.due(self.engine.running()) {
            due = due.min(limit);
        }
        if self.client.progress.wait == Some(Wait::Cancel) || self.is_held {
            due = due.min(now.instant + CANCEL_POLL);
        }
        // A notice that is due waits for the end of a message that is passing.
        due.max(now.instant + CANCEL_POLL).into()
    }

    /// Cancel safe in every branch: bytes stay in the buffers of the two sides, messages in their channels.
    async fn next_event(
        &mut self,
        signals: &mut Signals,
        due: tokio::time::Instant,
        is_draining: bool,
    ) -> Event {
        let waits = |side: &Side| side.progress.wait == Some(Wait::Room);
        let waits_for_room = waits(&self.client) || waits(&self.target) || self.is_held;
        tokio::select! {
            biased;
            () = signals.abort.cancelled() => Event::Abort,
            _changed = signals.messages.termination.changed() => Event::Termination,
            () = signals.drain.cancelled(), if !is_draining => Event::Drain,
            () = quota_changed(signals.messages.quota.as_deref()) => Event::Quota,
            _changed = signals.room.changed(), if waits_for_room => Event::Timer,
            io = std::future::poll_fn(|cx| self.poll_io(cx)) => Event::Io(io),
            () = tokio::time::sleep_until(due) => Event::Timer,
        }
    }

    fn take(&mut self, event: Event, signals: &Signals) -> Result<(), Ending> {
        match event {
            Event::Io(result) => result,
            Event::Timer | Event::Drain | Event::Quota => Ok(()),
            Event::Abort => Err(Ending::aborted()),
            Event::Termination => match signals.messages.termination.borrow().clone() {
                Some(termination) => Err(Ending::terminated(termination)),
                None => Ok(()),
            },
        }
    }

    /// Writes what waits and reads what there is room for; ready when either got anywhere.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        let client_rest = self.engine.target_remaining();
        let wrote_client = self.client.poll_write(cx, client_rest);
        let wrote_target = match self.is_held {
            true => Poll::Pending,
            false => self.target.poll_write(cx, 0),
        };
        let mut progressed = false;
        match wrote_client {
            Poll::Ready(Ok(wrote)) => progressed |= wrote,
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Ending::client_gone())),
            Poll::Pending => {}
        }
        match wrote_target {
            Poll::Ready(Ok(wrote)) => progressed |= wrote,
            // The target's last words may still be readable.
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        if self.target.may_read(self.client.output.has_room()) {
            match self.target.poll_read(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    return Poll::Ready(Err(self.engine.target_closed()));
                }
                Poll::Ready(Ok(_)) => progressed = true,
                Poll::Pending => {}
            }
        }
        if self.client.may_read(self.target.output.has_room()) {
            match self.client.poll_read(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    return Poll::Ready(Err(Ending::client_gone()));
                }
                Poll::Ready(Ok(_)) => progressed = true,
                Poll::Pending => {}
            }
        }
        if progressed {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

/// Resolves when the control plane has answered a request for quota. Cancel safe.
async fn quota_changed(quota: Option<&SharedQuota>) {
    match quota {
        Some(quota) => quota.changed().await,
        None => std::future::pending().await,
    }
}

impl Side {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            output: Output::default(),
            needs_flush: false,
            progress: Progress {
                consumed: 0,
                needs: 0,
                wait: None,
            },
        }
    }

    /// Whether more can be read: the other side takes what comes, and the engine waits for more bytes.
    fn may_read(&self, other_has_room: bool) -> bool {
        other_has_room
            && self.progress.wait.is_none()
            && self.connection.read.has_room(self.progress.needs)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.connection.poll_fill(cx, self.progress.needs)
    }

    /// Writes what waits. `Ready(true)` when everything was written now; `rest` bytes of its last message are to come.
    fn poll_write(&mut self, cx: &mut Context<'_>, rest: usize) -> Poll<io::Result<bool>> {
        let mut wrote = false;
        let had_room = self.output.has_room();
        while !self.output.is_empty() {
            let stream = Pin::new(&mut self.connection.stream);
            match stream.poll_write(cx, self.output.pending()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.output.wrote(count, rest);
                    self.needs_flush = true;
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // What was freed may be what the other direction waits for.
                Poll::Pending if !had_room && self.output.has_room() => {
                    return Poll::Ready(Ok(true));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.connection.stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(wrote && !had_room))
    }
}
