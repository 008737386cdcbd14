//! A TCP socket that the thread can stop watching for a moment.
//!
//! A peer that sends a long result sends it in small parts, and each wakes the thread that watches the socket: in bulk,
//! waking is most of what a relay costs. While nobody watches, the parts gather in the kernel.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One end of a TCP connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Watched(TcpStream),
    Unwatched(std::net::TcpStream),
    /// The system refused to change from one to the other.
    Lost,
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Watched(stream)
    }
}

impl Socket {
    /// Has the thread not woken for what comes in, until the socket is read or written again.
    ///
    /// # Errors
    /// When the system refuses; the socket cannot be used any more then.
    pub(crate) fn unwatch(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Watched(stream) => Self::Unwatched(stream.into_std()?),
            unchanged => unchanged,
        };
        Ok(())
    }

    /// Valid as long as the socket is not closed.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Watched(stream) => Some(stream.as_raw_fd()),
            Self::Unwatched(stream) => Some(stream.as_raw_fd()),
            Self::Lost => None,
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
        if matches!(self, Self::Unwatched(_)) {
            *self = match std::mem::replace(self, Self::Lost) {
                Self::Unwatched(stream) => Self::Watched(TcpStream::from_std(stream)?),
                unchanged => unchanged,
            };
        }
        match self {
            Self::Watched(stream) => Ok(Pin::new(stream)),
            Self::Unwatched(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
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
        self.get_mut().watched()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().watched()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true // as TcpStream is
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_shutdown(cx)
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
