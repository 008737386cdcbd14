//! When the parts of a long result, or of a long COPY, are left to gather before they are read.
//!
//! PostgreSQL sends in parts of 8 KiB. To pass each on by itself costs a wake of this thread, one of the receiver, and the
//! switches between them, many times what is done with the bytes. So in the middle of bulk a socket that was read empty
//! is not watched for a moment.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::net::Stream;
use crate::net::nap::Nap;

/// How long parts gather at most: at 100 MB/s some 40 KiB, which finds room in the window of a young connection.
const REST: Duration = Duration::from_micros(400);
/// How often that is halved for faster flows.
const MAX_HALVED: u8 = 2;
/// Bytes after which a flow in one direction is bulk. Less than this is not held up at all.
const BULK_AFTER: usize = 512 * 1024;
/// What comes in smaller parts is a conversation.
const SMALL_READ: usize = 2048;
/// A flow that brings less in one rest may have a longer one.
const SLOW_BURST: usize = 32 * 1024;
/// A flow that brings so much in one rest would be held up by a longer one, and soon by this one.
const FAST_BURST: usize = 128 * 1024;
/// How often a socket has to be read empty before a flow for which each rest is too long is looked at again.
const FAST_FOR: u32 = 64;

/// What came from one peer since it was written to.
#[derive(Debug, Default)]
struct Flow {
    bytes: usize,
    /// Since the socket was empty.
    burst: usize,
    fast_for: u32,
    halved: u8,
}

impl Flow {
    fn came(&mut self, count: usize) {
        if count < SMALL_READ {
            *self = Self::default();
        } else {
            self.bytes = self.bytes.saturating_add(count);
            self.burst = self.burst.saturating_add(count);
        }
    }

    /// The socket is empty. How long parts are to gather in it, if at all.
    fn rest(&mut self) -> Option<Duration> {
        let burst = std::mem::take(&mut self.burst);
        if self.bytes < BULK_AFTER || burst == 0 {
            return None;
        }
        if let Some(left) = self.fast_for.checked_sub(1) {
            self.fast_for = left;
            return None;
        }
        if burst < SLOW_BURST {
            self.halved = self.halved.saturating_sub(1);
        } else if burst >= FAST_BURST && self.halved < MAX_HALVED {
            self.halved += 1;
        } else if burst >= FAST_BURST {
            self.fast_for = FAST_FOR;
            return None;
        }
        Some(REST / (1 << self.halved))
    }
}

/// The rests of one side of a relay.
#[derive(Debug, Default)]
pub(super) struct Rests {
    flow: Flow,
    /// Made for the first rest of a flow: few sessions have one.
    nap: Option<Box<Nap>>,
    is_resting: bool,
}

impl Rests {
    /// `count` bytes were read.
    pub(super) fn came(&mut self, count: usize) {
        self.flow.came(count);
    }

    /// The peer was written to: what comes now is an answer, or the next part of a conversation.
    pub(super) fn turned(&mut self) {
        if self.flow.bytes > 0 {
            self.flow = Flow::default();
            self.is_resting = false;
        }
    }

    /// Pending while parts gather. The stream must be read when it is not, so that the task is woken: the timer of a flow that
    /// is over goes then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(nap) = self.nap.as_ref().filter(|_| self.is_resting)
            && nap.poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.is_resting = false;
        if self.flow.bytes == 0 {
            self.nap = None;
        }
        Poll::Ready(())
    }

    /// Takes note that `stream` has nothing to read. `true`: it may not be watched any more, and [`Rests::poll`] says when
    /// it is to be read.
    pub(super) fn begin(&mut self, stream: &mut Stream) -> bool {
        let Some(rest) = self.flow.rest() else {
            return false;
        };
        // Without a timer the flow costs more and passes all the same; a socket that was lost says so when it is read.
        self.is_resting = self.try_begin(rest, stream).is_ok();
        true
    }

    fn try_begin(&mut self, rest: Duration, stream: &mut Stream) -> io::Result<()> {
        let nap = match &mut self.nap {
            Some(nap) => nap,
            none => none.insert(Box::new(Nap::new()?)),
        };
        nap.begin(rest)?;
        stream.unwatch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const PART: usize = 8192;

    fn bulk() -> Flow {
        let mut flow = Flow::default();
        for _ in 0..BULK_AFTER / PART {
            assert_eq!(flow.rest(), None, "{flow:?}");
            flow.came(PART);
        }
        flow
    }

    #[test]
    fn a_flow_rests_when_it_is_bulk_and_each_time_something_came() {
        let mut flow = bulk();
        for _ in 0..10 {
            assert_eq!(flow.rest(), Some(REST));
            assert_eq!(flow.rest(), None, "nothing came since");
            flow.came(PART);
            flow.came(PART);
        }
    }

    #[test]
    fn a_small_part_ends_it() {
        let mut flow = bulk();
        flow.came(100);
        flow.came(PART);
        assert_eq!(flow.rest(), None);
    }

    /// What the flow is given after each of these bursts.
    fn rests<const N: usize>(flow: &mut Flow, bursts: [usize; N]) -> [Option<Duration>; N] {
        bursts.map(|burst| {
            flow.came(burst);
            flow.rest()
        })
    }

    #[test]
    fn a_faster_flow_has_shorter_rests() {
        let mut flow = bulk();
        let bursts = [SLOW_BURST, FAST_BURST, SLOW_BURST, FAST_BURST, PART, PART];
        let halves = [0, 1, 1, 2, 1, 0].map(|halved| Some(REST / (1 << halved)));
        assert_eq!(rests(&mut flow, bursts), halves);
    }

    #[test]
    fn a_flow_that_is_too_fast_for_each_rest_is_left_alone_for_a_while() {
        let mut flow = bulk();
        let given = rests(&mut flow, [FAST_BURST; 3]);
        assert_eq!(given, [Some(REST / 2), Some(REST / 4), None]);
        for _ in 0..FAST_FOR {
            assert_eq!(rests(&mut flow, [PART]), [None]);
        }
        assert_eq!(rests(&mut flow, [SLOW_BURST]), [Some(REST / 4)]);
    }

    #[tokio::test]
    async fn a_rest_ends_by_itself_or_when_the_peer_is_written_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let (peer, accepted) = tokio::join!(peer, listener.accept());
        let (mut peer, mut stream) = (peer.unwrap(), Stream::Plain(accepted.unwrap().0.into()));
        let mut rests = Rests {
            flow: bulk(),
            ..Rests::default()
        };
        assert!(rests.begin(&mut stream));
        assert!(!rests.begin(&mut stream), "nothing came since");
        assert!(poll_fn(|cx| Poll::Ready(rests.poll(cx))).await.is_pending());
        peer.write_all(b"part").await.unwrap();
        poll_fn(|cx| rests.poll(cx)).await;
        let mut part = [0; 4];
        stream.read_exact(&mut part).await.unwrap();
        assert_eq!(&part, b"part");

        rests.came(PART);
        assert!(rests.begin(&mut stream) && rests.nap.is_some());
        rests.turned();
        assert!(poll_fn(|cx| Poll::Ready(rests.poll(cx))).await.is_ready());
        assert!(rests.nap.is_none(), "the flow is over");
    }
}
