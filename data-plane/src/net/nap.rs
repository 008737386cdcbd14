//! A pause that is shorter than the runtime's clock, which counts milliseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer of the system (timerfd_create(2)).
#[derive(Debug)]
pub(crate) struct Nap(AsyncFd<Timer>);

impl Nap {
    /// # Errors
    /// When the process may have no more file descriptors.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for descriptors that change or close, which that of a timer we own does not"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        AsyncFd::with_interest(Timer(timer), Interest::READABLE).map(Self)
    }

    /// Begins a nap; one that was going on ends unheard.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn begin(&self, length: Duration) -> io::Result<()> {
        let nanos = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        let once = Expiration::OneShot(TimeSpec::nanoseconds(nanos));
        let timer = &self.0.get_ref().0;
        Ok(timer.set(once, TimerSetTimeFlags::empty())?)
    }

    /// Ready when the nap is over. Cancel safe.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let waited = guard.get_inner().0.wait();
            guard.clear_ready();
            match waited {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(Errno::EAGAIN) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Instant;

    #[tokio::test]
    async fn naps_end_and_follow_one_another() {
        let nap = Nap::new().unwrap();
        let length = Duration::from_micros(300);
        let begun = Instant::now();
        for _ in 0..10 {
            nap.begin(length).unwrap();
            poll_fn(|cx| nap.poll(cx)).await.unwrap();
        }
        assert!(begun.elapsed() >= length * 10);
        nap.begin(length).unwrap();
        nap.begin(Duration::from_secs(3600)).unwrap();
        let still = tokio::time::timeout(length * 10, poll_fn(|cx| nap.poll(cx)));
        assert!(still.await.is_err(), "the second replaces the first");
    }
}
