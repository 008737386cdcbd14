//! The relay: one task that reads from both sides, lets the engine decide, and writes to both sides.
//!
//! A turn takes each direction as far as it goes: what waits is written, then what was read is decided on, then more is
//! read. A direction stops while its far side does not take what waits for it, or while the engine waits; neither
//! direction stops the other. What the engine lets through unchanged is written from the buffer it was read into.

mod alarm;
mod at_work;
mod bulk;
mod copy_in;
mod described;
mod ending;
mod engine;
mod errors;
mod exchange;
mod facts;
mod from_client;
mod from_target;
mod large_bind;
mod malformed;
mod named;
mod output;
mod oversized;
mod prepared;
mod queues;
mod room;
mod rounds;
mod rows;
pub(crate) mod second_round;
mod side;
mod signals;
mod sql_names;
mod study;
#[cfg(test)]
mod tests;
mod timers;
pub(crate) mod tripwire;
mod watchdog;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use alarm::{Alarm, Doorbell};
pub(crate) use ending::{Delivery, Ending};
pub(crate) use engine::Engine;
use engine::Wait;
pub(crate) use output::{Output, Passage};
use rounds::Rounds;
use second_round::Seat;
pub(crate) use side::Side;
pub(crate) use signals::Signals;
use signals::{Event, next_event};
pub(crate) use timers::{Terms, Timers};
pub(crate) use watchdog::Watchdog;

use crate::clock::Now;
use crate::net::Connection;
use crate::session::report::put_notice;

/// How soon the end of a cancel request on its way to the target is noticed.
const CANCEL_POLL: Duration = Duration::from_millis(10);
/// Turns in a row before other sessions of the thread have theirs: up to 64 KiB each way per turn.
const MAX_TURNS: usize = 8;

/// A session that is being relayed.
pub(crate) struct Relay {
    pub(crate) client: Side,
    pub(crate) target: Side,
    pub(crate) engine: Engine,
    pub(crate) room: watch::Receiver<u64>,
    timers: Timers,
    watchdog: Watchdog,
    /// What waits for the target may not go out: its record is not written.
    is_held: bool,
    rounds: Rounds,
    quota_requests: mpsc::Sender<pglens_rpc::v1::QuotaRequest>,
    signals: Doorbell<(Signals, Event)>,
    /// Set while a direction waits for room in the record.
    room_wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Set while a text is judged elsewhere.
    study: Option<study::Answering>,
    alarm: Alarm,
    is_draining: bool,
    /// Wakes the task that the signals and the alarm know.
    task: Option<Waker>,
    room_watch: room::RoomWatch,
}

/// Whether a direction may get further without being woken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    GoesOn,
    Waits,
}

impl Relay {
    pub(crate) fn new(
        (client, target): (Connection, Connection),
        engine: Engine,
        (timers, watchdog): (Timers, Watchdog),
        signals: Signals,
        room: watch::Receiver<u64>,
        quota_requests: mpsc::Sender<pglens_rpc::v1::QuotaRequest>,
    ) -> Self {
        let seats = [(); 2].map(|()| Seat::take(engine.outbox()));
        let [for_client, for_target] = seats;
        Self {
            client: Side::new(client, for_client),
            target: Side::new(target, for_target),
            engine,
            room,
            alarm: Alarm::new(timers.next()),
            timers,
            room_watch: room::RoomWatch::default(),
            watchdog,
            is_held: false,
            rounds: Rounds::default(),
            quota_requests,
            signals: Doorbell::new(next_event(signals, false)),
            room_wait: None,
            study: None,
            is_draining: false,
            task: None,
        }
    }

    /// Relays until one side, the grant, or the proxy ends the session.
    ///
    /// Cancel safe: bytes stay in the buffers of the two sides.
    pub(crate) async fn run(&mut self) -> Ending {
        poll_fn(|cx| match self.poll(cx) {
            Ok(Poll::Ready(never)) => match never {},
            Ok(Poll::Pending) => Poll::Pending,
            Err(ending) => {
                // What it left has not gone out: it is part of what the end deals with.
                self.take_back();
                Poll::Ready(ending)
            }
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<std::convert::Infallible>, Ending> {
        self.know_task(cx.waker());
        let is_unfinished = self.take_back();
        let now = Now::read();
        self.rounds.begin(is_unfinished);
        for _turn in 0..MAX_TURNS {
            self.hear_signals()?;
            let turn = self.turn(cx, now)?;
            let is_idle = self.is_draining && self.engine.is_idle();
            if is_idle && self.client.connection.read.is_empty() {
                return Err(Ending::draining());
            }
            if self.engine.is_terminating()
                && self.engine.is_answered()
                && self.client.output.is_empty()
            {
                return Err(Ending::client_terminated());
            }
            if let Some(request) = self.engine.quota().request(now.instant) {
                // A full queue means that no control plane listens; the session asks again.
                let _asks_again = self.quota_requests.try_send(request);
            }
            if self.rounds.gives_way() {
                if !self.leave(cx, now)? {
                    cx.waker().wake_by_ref();
                }
                return Ok(Poll::Pending);
            }
            if turn == Turn::Waits {
                self.engine.catch_up();
            }
            let waits = turn == Turn::Waits
                && self.poll_room(cx).is_pending()
                && self.poll_study(cx)?.is_pending();
            if waits && self.poll_alarm(cx, now.instant).is_pending() {
                return Ok(Poll::Pending);
            }
        }
        // The others do not wait for one that goes on and on.
        second_round::end();
        cx.waker().wake_by_ref();
        Ok(Poll::Pending)
    }

    /// Signals and alarm wake the task that polled them once; they must learn of another one.
    fn know_task(&mut self, waker: &Waker) {
        if self.task.as_ref().is_none_or(|task| !task.will_wake(waker)) {
            self.task = Some(waker.clone());
            self.signals.set_task(waker);
            self.alarm.forget_task();
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Turn, Ending> {
        self.timers.check(now.instant)?;
        if self.watchdog.check(self.engine.running(), now.instant)? {
            self.engine.is_out_of_time();
        }
        if self.engine.is_between_target_messages()
            && let Some(notice) = self.notice(now)
        {
            put_notice(self.client.output.put(), &notice, "");
        }
        (self.client.got_on, self.target.got_on) = (false, false);
        let toward_client = self.toward_client(cx, now)?;
        let toward_target = self.toward_target(cx, now)?;
        let waits_for_room = self.client.waits_for_room() || self.target.waits_for_room();
        let got_on = self.client.got_on || self.target.got_on;
        self.room_watch.check(waits_for_room, got_on, now.instant)?;
        if toward_client == Turn::Waits && toward_target == Turn::Waits {
            return Ok(Turn::Waits);
        }
        Ok(Turn::GoesOn)
    }

    /// What the client is to be told now, once.
    fn notice(&mut self, now: Now) -> Option<String> {
        let nearly_spent = self.engine.quota().nearly_spent();
        nearly_spent
            .map(|quota| quota.to_string())
            .or_else(|| self.engine.notice())
            .or_else(|| self.timers.notice(now.instant))
    }

    fn toward_client(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Turn, Ending> {
        // Under `strict` the end of a statement is written before the client hears of it.
        self.is_held = !self.engine.record(now)?;
        let (client, target) = (&mut self.client, &mut self.target);
        let client_gone = |_| Ending::client_gone();
        let rest = self.engine.target_remaining();
        match client.poll_write(cx, rest) {
            Poll::Ready(written) => written.map_err(client_gone)?,
            Poll::Pending => return Ok(Turn::Waits),
        }
        if target.may_read() {
            match target.poll_read(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Err(self.engine.target_closed()),
                Poll::Pending => return Ok(Turn::Waits),
            }
        }
        if !target.is_worth_a_look() {
            return Ok(Turn::Waits);
        }
        let engine = &mut self.engine;
        let look = |passage: &mut Passage<'_>| engine.target_bytes(now, passage);
        let (run, consumed) = target.let_through(&mut client.output, look)?;
        let rest = self.engine.target_remaining();
        if consumed > 0 && self.rounds.give_way(run.len()) {
            client.output.keep(target.run(run), 0, rest);
            target.connection.read.consume(consumed);
            return Ok(Turn::Waits);
        }
        self.is_held = !self.engine.record(now)?;
        let written = client.poll_pass(cx, target.run(run), rest);
        target.connection.read.consume(consumed);
        match written {
            Poll::Ready(written) => written.map_err(client_gone)?,
            Poll::Pending => return Ok(Turn::Waits),
        }
        Ok(turn_after(target))
    }

    fn toward_target(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Turn, Ending> {
        let (client, target) = (&mut self.client, &mut self.target);
        // What was admitted goes out only once its record is written.
        self.is_held = !self.engine.record(now)?;
        if self.is_held {
            return Ok(Turn::Waits);
        }
        // When writing fails, the target's last words may still be readable.
        if target.poll_write(cx, 0).is_pending() {
            return Ok(Turn::Waits);
        }
        if self.engine.is_terminating() {
            return Ok(Turn::Waits);
        }
        if client.may_read() {
            match client.poll_read(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Err(Ending::client_gone()),
                Poll::Pending => return Ok(Turn::Waits),
            }
        }
        if !client.is_worth_a_look() {
            return Ok(Turn::Waits);
        }
        let engine = &mut self.engine;
        let look = |passage: &mut Passage<'_>| engine.client_bytes(now, passage);
        let (run, consumed) = client.let_through(&mut target.output, look)?;
        if consumed > 0 && self.rounds.give_way(run.len()) {
            target.output.keep(client.run(run), 0, 0);
            client.connection.read.consume(consumed);
            return Ok(Turn::Waits);
        }
        match self.engine.record(now) {
            Ok(is_recorded) => self.is_held = !is_recorded,
            Err(ending) => {
                // It was admitted and is not recorded: it goes nowhere.
                client.connection.read.consume(consumed);
                return Err(ending);
            }
        }
        if self.is_held {
            target.output.keep(client.run(run), 0, 0);
            client.connection.read.consume(consumed);
            return Ok(Turn::Waits);
        }
        let written = target.poll_pass(cx, client.run(run), 0);
        client.connection.read.consume(consumed);
        if written.is_pending() {
            return Ok(Turn::Waits);
        }
        Ok(turn_after(client))
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let looks_soon = self.client.progress.wait == Some(Wait::Cancel) || self.is_held;
        let dues = [
            self.engine.next_deadline(),
            self.watchdog.due(self.engine.running()),
            self.room_watch.due(),
            looks_soon.then(|| now + CANCEL_POLL),
        ];
        let soonest = dues.into_iter().flatten().min();
        // What ends the session by the clock is only ever put off.
        if soonest.is_none() && self.alarm.is_set(now) {
            return Poll::Pending;
        }
        let end = self.timers.next();
        let due = soonest.map_or(end, |due| due.min(end));
        // A notice that is due waits for the end of a message that is passing.
        self.alarm.poll(cx, due.max(now + CANCEL_POLL), now)
    }
}

/// After a chunk was passed on: more may be there at once.
fn turn_after(from: &Side) -> Turn {
    if from.progress.wait.is_some() {
        Turn::Waits
    } else {
        Turn::GoesOn
    }
}
