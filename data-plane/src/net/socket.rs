//! A TCP socket that the thread can stop watching for a moment, and that can keep what is written for somebody else to
//! send.
//!
//! A peer that sends a long result sends it in small parts, and each wakes the thread that watches the socket: in bulk,
//! waking is most of what a relay costs. While nobody watches, the parts gather in the kernel.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
        self.watched()?.poll_read_ready(cx)
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
        self.get_mut().watched()?.poll_read(cx, buf)
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), accepted.unwrap().0.into())
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
