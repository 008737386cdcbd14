//! What wakes a relay besides its sockets, at the cost of next to nothing while it does not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::time::Sleep;

/// One timer for whatever is due next. It is set again only when that is earlier than before, or when it went off.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    due: Instant,
    is_registered: bool,
}

impl Alarm {
    pub(super) fn new(due: Instant) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(due.into())),
            due,
            is_registered: false,
        }
    }

    /// The task that is to be woken is another one.
    pub(super) fn forget_task(&mut self) {
        self.is_registered = false;
    }

    /// Whether the task will be woken by it.
    pub(super) fn is_set(&self, now: Instant) -> bool {
        self.is_registered && now < self.due
    }

    /// Sees to it that the task is woken at `due` or before; ready when that has come already.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, due: Instant, now: Instant) -> Poll<()> {
        if due < self.due || now >= self.due {
            self.sleep.as_mut().reset(due.into());
            self.due = due;
            self.is_registered = false;
        }
        if self.is_registered {
            return Poll::Pending;
        }
        self.is_registered = true;
        self.sleep.as_mut().poll(cx)
    }
}

/// A future that is polled only after it was woken itself, not whenever its task is.
pub(super) struct Doorbell<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    button: Arc<Button>,
    waker: Waker,
}

struct Button {
    is_pressed: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Button {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_pressed.store(true, Ordering::Release);
        self.task.lock().wake_by_ref();
    }
}

impl<T> Doorbell<T> {
    pub(super) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        let button = Arc::new(Button {
            is_pressed: AtomicBool::new(true),
            task: Mutex::new(Waker::noop().clone()),
        });
        Self {
            future: Box::pin(future),
            waker: Waker::from(Arc::clone(&button)),
            button,
        }
    }

    /// The task that is to be woken is another one.
    pub(super) fn set_task(&self, waker: &Waker) {
        self.button.task.lock().clone_from(waker);
        self.button.is_pressed.store(true, Ordering::Release);
    }

    /// Polls the future if it asked for it. After it was ready, only [`Doorbell::renew`] may follow.
    pub(super) fn poll(&mut self) -> Poll<T> {
        if !self.button.is_pressed.load(Ordering::Relaxed)
            || !self.button.is_pressed.swap(false, Ordering::AcqRel)
        {
            return Poll::Pending;
        }
        self.future
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }

    /// Goes on with another future.
    pub(super) fn renew(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.future = Box::pin(future);
        self.button.is_pressed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[tokio::test]
    async fn a_doorbell_is_answered_only_when_it_rings() {
        let polls = Arc::new(AtomicUsize::new(0));
        let (sender, mut receiver) = tokio::sync::watch::channel(0);
        let counted = Arc::clone(&polls);
        let mut changed = Box::pin(async move { receiver.changed().await.is_ok() });
        let future = std::future::poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            changed.as_mut().poll(cx)
        });
        let mut bell = Doorbell::new(future);
        for _ in 0..3 {
            assert!(bell.poll().is_pending());
        }
        assert_eq!(polls.load(Ordering::SeqCst), 1);
        sender.send_replace(1);
        assert_eq!(bell.poll(), Poll::Ready(true));
        bell.renew(std::future::ready(false));
        assert_eq!(bell.poll(), Poll::Ready(false));
    }

    #[tokio::test]
    async fn an_alarm_goes_off_at_the_earliest_time_it_was_given() {
        let begun = Instant::now();
        let (late, early) = (Duration::from_secs(600), Duration::from_millis(20));
        let mut alarm = Alarm::new(begun + late);
        let mut turns = 0;
        std::future::poll_fn(|cx| {
            turns += 1;
            let now = Instant::now();
            if turns > 1 && now >= begun + early {
                return Poll::Ready(());
            }
            let due = if turns == 1 { late } else { early };
            if alarm.poll(cx, begun + due, now).is_ready() || turns == 1 {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        assert!(begun.elapsed() < late);
    }
}
