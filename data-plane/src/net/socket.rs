//! A TCP socket that the thread can stop watching for a moment, and that can keep what is written for somebody else to
//! send.
//!
//! A peer that sends a long result sends it in small parts, and each wakes the thread that watches the socket: in bulk,
//! waking is most of what a relay costs. While nobody watches, the parts gather in the kernel.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Memory that a socket keeps while nothing is unsent: sessions that are idle are many.
const KEPT_BYTES: usize = 512;

/// One end of a TCP connection.
#[derive(Debug)]
pub(crate) struct Socket {
    state: State,
    unsent: Vec<u8>,
    /// What is written is added to what is unsent.
    is_keeping: bool,
    /// What is unsent must not go out.
    is_held: bool,
    awaited: Awaited,
}

/// The task that the runtime will wake when something can be read. Until then a look is enough: to ask for it again takes
/// a lock.
#[derive(Debug, Default)]
struct Awaited(Option<usize>);

impl Awaited {
    /// Where a waker's task is. No other can be there while the runtime keeps the waker.
    fn task(cx: &Context<'_>) -> usize {
        cx.waker().data().addr()
    }

    fn is_by(&self, cx: &Context<'_>) -> bool {
        self.0 == Some(Self::task(cx))
    }
}

#[derive(Debug)]
enum State {
    Watched(TcpStream),
    Unwatched(std::net::TcpStream),
    /// The system refused to change from one to the other.
    Lost,
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self {
            state: State::Watched(stream),
            unsent: Vec::new(),
            is_keeping: false,
            is_held: false,
            awaited: Awaited::default(),
        }
    }
}

impl Socket {
    /// Has what is written from now on kept in [`Socket::unsent`], or sent again.
    pub(crate) fn keep(&mut self, is_keeping: bool) {
        self.is_keeping = is_keeping;
    }

    /// What goes out before anything else that is written or flushed.
    pub(crate) fn unsent(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// Whether what is unsent has to wait, and all that is written behind it. Nobody is woken when it has not any more.
    pub(crate) fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Somebody sent the first `count` bytes of what is unsent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.unsent.drain(..count.min(self.unsent.len()));
        if self.unsent.is_empty() && self.unsent.capacity() > KEPT_BYTES {
            self.unsent = Vec::new();
        }
    }

    fn poll_send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            if self.is_held {
                return Poll::Pending;
            }
            let unsent = std::mem::take(&mut self.unsent);
            let polled = self.watched().map(|stream| stream.poll_write(cx, &unsent));
            self.unsent = unsent;
            match ready!(polled?)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Has the thread not woken for what comes in, until the socket is read or written again.
    ///
    /// # Errors
    /// When the system refuses; the socket cannot be used any more then.
    pub(crate) fn unwatch(&mut self) -> io::Result<()> {
        self.awaited = Awaited(None);
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Watched(stream) => State::Unwatched(stream.into_std()?),
            unchanged => unchanged,
        };
        Ok(())
    }

    /// Valid as long as the socket is not closed.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match &self.state {
            State::Watched(stream) => Some(stream.as_raw_fd()),
            State::Unwatched(stream) => Some(stream.as_raw_fd()),
            State::Lost => None,
        }
    }

    /// See [`TcpStream::set_zero_linger`].
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn set_zero_linger(&mut self) -> io::Result<()> {
        self.watched()?.set_zero_linger()
    }

    /// Ready when a read may find something, or the end of the stream; otherwise the task is woken then.
    ///
    /// # Errors
    /// When the socket is not usable, or the runtime is gone.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.awaited.is_by(cx) {
            if self
                .watched()?
                .try_io(Interest::READABLE, || Ok(()))
                .is_err()
            {
                return Poll::Pending;
            }
            // Whom the runtime has woken it does not know any more.
            self.awaited = Awaited(None);
            return Poll::Ready(Ok(()));
        }
        let polled = self.watched()?.poll_read_ready(cx);
        self.awaited = Awaited(polled.is_pending().then(|| Awaited::task(cx)));
        polled
    }

    /// Reads what is there, if anything can be. What fills less than `buf` is all there is: the runtime is told so.
    fn try_read(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let stream = match self.watched() {
            Ok(stream) => stream,
            Err(error) => return Some(Err(error)),
        };
        let (socket, room) = (stream.as_raw_fd(), buf.remaining());
        let mut count = None;
        let tried = stream.try_io(Interest::READABLE, || {
            let read = recv(socket, buf.initialize_unfilled(), MsgFlags::empty())?;
            count = Some(read);
            match read {
                1.. if read < room => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        self.awaited = Awaited(None);
        match (count, tried) {
            (Some(count), _) => {
                buf.advance(count);
                Some(Ok(()))
            }
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
            (None, tried) => Some(tried),
        }
    }

    fn watched(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if matches!(self.state, State::Unwatched(_)) {
            self.state = match std::mem::replace(&mut self.state, State::Lost) {
                State::Unwatched(stream) => State::Watched(TcpStream::from_std(stream)?),
                unchanged => unchanged,
            };
        }
        match &mut self.state {
            State::Watched(stream) => Ok(Pin::new(stream)),
            State::Unwatched(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.try_read(buf) {
            Some(read) => Poll::Ready(read),
            None => this.watched()?.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_keeping {
            this.unsent.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_send_unsent(cx))?;
        this.watched()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_keeping {
            bufs.iter()
                .for_each(|buf| this.unsent.extend_from_slice(buf));
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        ready!(this.poll_send_unsent(cx))?;
        this.watched()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true // as TcpStream is
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_keeping {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_send_unsent(cx))?;
        this.watched()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send_unsent(cx))?;
        this.watched()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), accepted.unwrap().0.into())
    }

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until `bell` has rung, or fails.
    async fn rings(bell: &Bell) {
        let rung = async {
            while bell.0.swap(0, Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), rung)
            .await
            .expect("nobody was woken");
    }

    #[tokio::test]
    async fn who_asked_last_is_woken_each_time_something_comes() {
        let (mut peer, mut socket) = pair().await;
        let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
        let wakers = bells.clone().map(Waker::from);
        let mut read = [0; 16];
        // A new socket may be taken for readable until it was read.
        let mut nothing = ReadBuf::new(&mut read);
        let cx = &mut Context::from_waker(&wakers[0]);
        assert!(
            Pin::new(&mut socket)
                .poll_read(cx, &mut nothing)
                .is_pending()
        );
        for round in 0..6 {
            let last = round / 3;
            for waker in wakers.iter().take(last + 1) {
                let cx = &mut Context::from_waker(waker);
                assert!(socket.poll_readable(cx).is_pending());
                assert!(socket.poll_readable(cx).is_pending());
            }
            peer.write_all(b"part").await.unwrap();
            rings(&bells[last]).await;
            let cx = &mut Context::from_waker(&wakers[last]);
            assert!(socket.poll_readable(cx).is_ready());
            assert!(socket.poll_readable(cx).is_ready(), "it was not read");
            let mut read = ReadBuf::new(&mut read);
            assert!(Pin::new(&mut socket).poll_read(cx, &mut read).is_ready());
            assert_eq!(read.filled(), b"part");
        }
        drop(peer);
        let cx = &mut Context::from_waker(&wakers[0]);
        while socket.poll_readable(cx).is_pending() {
            rings(&bells[0]).await;
        }
        let mut read = ReadBuf::new(&mut read);
        assert!(Pin::new(&mut socket).poll_read(cx, &mut read).is_ready());
        assert_eq!(read.filled(), b"", "the end is seen");
    }

    #[tokio::test]
    async fn what_came_while_nobody_watched_is_read_afterwards() {
        let (mut peer, mut socket) = pair().await;
        for round in 0..3_u8 {
            socket.unwatch().unwrap();
            socket.unwatch().unwrap();
            peer.write_all(&[round; 5]).await.unwrap();
            let mut read = [9; 5];
            socket.read_exact(&mut read).await.unwrap();
            assert_eq!(read, [round; 5]);
        }
        socket.unwatch().unwrap();
        socket.write_all(b"answer").await.unwrap();
        let mut read = [0; 6];
        peer.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"answer");
        socket.unwatch().unwrap();
        drop(peer);
        assert_eq!(socket.read(&mut read).await.unwrap(), 0, "the end is seen");
    }
}
