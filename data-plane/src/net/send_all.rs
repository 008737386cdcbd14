//! Runs of bytes for several sockets, sent with one call to the system.
//!
//! Whoever waits for bytes is woken when they are sent, and may be given the processor of the sender as its call ends:
//! with a call for each socket that happens after each. Linux AIO (io_submit(2)) takes them all in one, and what is sent
//! through a socket that does not block is sent, or refused, before that call returns. Where AIO is not to be had, each run
//! has a call of its own.

use std::ffi::c_long;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use smallvec::SmallVec;
use vmm_sys_util::aio::{IOCB_CMD_PWRITE, IoContext, IoControlBlock, IoEvent};

/// Runs in one call.
const MAX_AT_ONCE: usize = 64;

/// Bytes for a socket that does not block.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    socket: RawFd,
    bytes: &'a [u8],
    sent: Option<usize>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(socket: RawFd, bytes: &'a [u8]) -> Self {
        Self {
            socket,
            bytes,
            sent: None,
        }
    }

    /// How many of the bytes the socket took.
    pub(crate) fn sent(&self) -> usize {
        self.sent.unwrap_or(0)
    }

    fn send(&mut self) {
        self.sent = send(self.socket, self.bytes, MsgFlags::MSG_NOSIGNAL).ok();
    }

    /// `None`: AIO cannot say it.
    fn block(&self, number: u64) -> Option<IoControlBlock> {
        Some(IoControlBlock {
            aio_data: number,
            aio_lio_opcode: IOCB_CMD_PWRITE.try_into().ok()?,
            aio_fildes: self.socket.try_into().ok()?,
            aio_buf: self.bytes.as_ptr().expose_provenance().try_into().ok()?,
            aio_nbytes: self.bytes.len().try_into().ok()?,
            ..IoControlBlock::default()
        })
    }
}

/// Sends runs. What is wrong with a socket is not told: the next use of the socket does.
#[derive(Debug)]
pub(crate) struct Sender {
    together: Option<Together>,
}

/// AIO, with memory for what is said to it and what it says.
#[derive(Debug)]
struct Together {
    context: IoContext,
    blocks: Vec<IoControlBlock>,
    events: Box<[IoEvent]>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        let context = u32::try_from(MAX_AT_ONCE)
            .map_err(std::io::Error::other)
            .and_then(IoContext::new)
            .inspect_err(
                |error| tracing::debug!(%error, "no AIO, what sessions send has calls of its own"),
            )
            .ok();
        let together = context.map(|context| Together {
            context,
            blocks: Vec::with_capacity(MAX_AT_ONCE),
            events: vec![IoEvent::default(); MAX_AT_ONCE].into(),
        });
        Self { together }
    }

    /// Sends of each run what its socket takes at once.
    pub(crate) fn send(&mut self, runs: &mut [Run<'_>]) {
        match &mut self.together {
            Some(together) if runs.len() > 1 => {
                for runs in runs.chunks_mut(MAX_AT_ONCE) {
                    together.send(runs);
                }
            }
            _ => runs.iter_mut().for_each(Run::send),
        }
    }
}

impl Together {
    fn send(&mut self, runs: &mut [Run<'_>]) {
        let submitted = self.submit(runs);
        let (submitted, rest) = runs.split_at_mut(submitted.min(runs.len()));
        let are_done = self.collect(submitted);
        if !are_done {
            // Nobody knows how much of them was sent, and what is sent twice is worse than an end.
            for run in submitted.iter().filter(|run| run.sent.is_none()) {
                let _gone_already = shutdown(run.socket, Shutdown::Both);
            }
        }
        rest.iter_mut().for_each(Run::send);
    }

    /// Returns how many of the runs, from the first one on, the system has.
    fn submit(&mut self, runs: &[Run<'_>]) -> usize {
        let blocks = runs.iter().zip(0..);
        let blocks = blocks.map_while(|(run, number)| run.block(number));
        self.blocks.clear();
        self.blocks.extend(blocks);
        let mut blocks = SmallVec::<[&mut IoControlBlock; MAX_AT_ONCE]>::new();
        blocks.extend(&mut self.blocks);
        // It fails if the first one does, for a socket that is closed for instance.
        self.context.submit(&blocks).unwrap_or(0)
    }

    /// Notes how each went; `false` when the system does not say it of all.
    fn collect(&mut self, runs: &mut [Run<'_>]) -> bool {
        let mut outstanding = runs.len();
        while outstanding > 0 {
            let Ok(least) = c_long::try_from(outstanding) else {
                return false;
            };
            let count = match self.context.get_events(least, &mut self.events, None) {
                Ok(count) => count,
                Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => 0,
                Err(_) => return false,
            };
            for event in self.events.iter().take(count) {
                let number = usize::try_from(event.data).ok();
                if let Some(run) = number.and_then(|number| runs.get_mut(number)) {
                    run.sent = Some(usize::try_from(event.res).unwrap_or(0));
                }
            }
            outstanding = outstanding.saturating_sub(count);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// What a socket that does not block, and its peer, are.
    fn pair() -> (UnixStream, UnixStream) {
        let (socket, peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, peer)
    }

    fn send(sender: &mut Sender, runs: &[(&UnixStream, &[u8])]) -> Vec<usize> {
        let mut runs: Vec<_> = runs
            .iter()
            .map(|(socket, bytes)| Run::new(socket.as_raw_fd(), bytes))
            .collect();
        sender.send(&mut runs);
        runs.iter().map(Run::sent).collect()
    }

    fn assert_hears(mut peer: &UnixStream, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        peer.read_exact(&mut heard).unwrap();
        assert_eq!(heard, expected);
    }

    fn senders() -> [Sender; 2] {
        let with_aio = Sender::new();
        assert!(with_aio.together.is_some(), "this system has AIO");
        [with_aio, Sender { together: None }]
    }

    #[test]
    fn each_socket_gets_its_own_in_order_however_many_there_are() {
        for mut sender in senders() {
            for count in [1, 2, MAX_AT_ONCE + 3] {
                let pairs: Vec<_> = (0..count).map(|_| pair()).collect();
                let texts: Vec<_> = (0..count)
                    .map(|number| format!("number {number}"))
                    .collect();
                for _again in 0..2 {
                    let runs: Vec<_> = pairs.iter().zip(&texts).collect();
                    let runs: Vec<_> = runs
                        .iter()
                        .map(|((socket, _), text)| (socket, text.as_bytes()))
                        .collect();
                    let lengths: Vec<_> = texts.iter().map(String::len).collect();
                    assert_eq!(send(&mut sender, &runs), lengths);
                }
                for ((_socket, peer), text) in pairs.iter().zip(&texts) {
                    assert_hears(peer, text.repeat(2).as_bytes());
                }
            }
        }
    }

    #[test]
    fn what_a_socket_does_not_take_is_left_and_the_others_have_theirs() {
        for mut sender in senders() {
            let [
                (full, slow),
                (deaf, gone),
                (first, hears_first),
                (last, hears_last),
            ] = std::array::from_fn(|_| pair());
            drop(gone);
            let large = vec![7; 4 << 20];
            let sent = send(
                &mut sender,
                &[
                    (&first, b"first"),
                    (&full, &large),
                    (&deaf, b"nobody"),
                    (&last, b"last"),
                ],
            );
            assert!(0 < sent[1] && sent[1] < large.len());
            assert_eq!([sent[0], sent[2], sent[3]], [5, 0, 4]);
            assert_eq!(
                send(&mut sender, &[(&full, &large), (&last, b"more")]),
                [0, 4]
            );
            assert_hears(&slow, &large[..sent[1]]);
            assert_hears(&hears_first, b"first");
            assert_hears(&hears_last, b"lastmore");
        }
    }

    #[test]
    fn one_that_is_closed_does_not_keep_the_others_from_theirs() {
        for mut sender in senders() {
            let [(before, hears_before), (after, hears_after)] = std::array::from_fn(|_| pair());
            // One that the system does not know, and one that cannot be.
            for (closed, closed_first) in [(RawFd::MAX, true), (RawFd::MAX, false), (-1, true)] {
                let mut runs = vec![
                    Run::new(before.as_raw_fd(), b"before"),
                    Run::new(closed, b"nobody"),
                    Run::new(after.as_raw_fd(), b"after"),
                ];
                if closed_first {
                    runs.swap(0, 1);
                }
                sender.send(&mut runs);
                let total: usize = runs.iter().map(Run::sent).sum();
                assert_eq!(total, "beforeafter".len());
                assert_hears(&hears_before, b"before");
                assert_hears(&hears_after, b"after");
            }
        }
    }
}
