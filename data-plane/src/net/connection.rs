//! A stream with its read buffer: message by message while a connection is being set up.
//!
//! The relay takes the two apart and works on the buffer in place.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pglens_wire::frame::{FrameError, HEADER_BYTES, Header};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::{ReadBuffer, Stream};

/// A message read whole, while a connection is being set up.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) payload: Vec<u8>,
}

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection was closed")]
    Closed,
    #[error("reading failed")]
    Io(#[source] io::Error),
    #[error("the peer broke the protocol")]
    Frame(#[from] FrameError),
    #[error("a message of {bytes} bytes came where {limit} is the most")]
    TooLong { bytes: usize, limit: usize },
}

/// A stream and what was read from it and not yet used.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) read: ReadBuffer,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: ReadBuffer::default(),
        }
    }

    /// A stream of which `bytes` were read by somebody else and not used.
    pub(crate) fn resumed(stream: Stream, bytes: &[u8]) -> Self {
        let mut connection = Self::new(stream);
        if !bytes.is_empty() {
            let room = connection.read.room(bytes.len());
            room.iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            connection.read.filled(bytes.len());
        }
        connection
    }

    /// Reads more bytes into the buffer.
    ///
    /// Cancel safe: bytes read so far stay in the buffer.
    pub(crate) async fn fill(&mut self, total: usize) -> Result<(), ReadError> {
        match poll_fn(|cx| self.poll_fill(cx, total)).await {
            Ok(0) => Err(ReadError::Closed),
            Ok(_count) => Ok(()),
            Err(error) => Err(ReadError::Io(error)),
        }
    }

    /// Reads one message of at most `limit` payload bytes.
    ///
    /// Cancel safe: bytes read so far stay in the buffer.
    pub(crate) async fn read_frame(&mut self, limit: usize) -> Result<Frame, ReadError> {
        loop {
            let header = Header::peek(self.read.data())?;
            if let Some(header) = header {
                if header.payload_bytes() > limit {
                    return Err(ReadError::TooLong {
                        bytes: header.payload_bytes(),
                        limit,
                    });
                }
                let data = self.read.data();
                if data.len() >= header.total_bytes() {
                    let payload = header.payload(data).to_vec();
                    self.read.consume(header.total_bytes());
                    return Ok(Frame {
                        tag: header.tag(),
                        payload,
                    });
                }
            }
            let total = header.map_or(HEADER_BYTES, Header::total_bytes);
            self.fill(total).await?;
        }
    }

    /// Writes all of `bytes` and flushes. Not cancel safe: a message may be half written.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// One read into the buffer, with room for a message of `total` bytes; `Ready(0)` is the end of the stream.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        total: usize,
    ) -> Poll<io::Result<usize>> {
        // Most polls find nothing: they need no room.
        ready!(self.stream.poll_readable(cx))?;
        let mut room = ReadBuf::new(self.read.room(total));
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let count = room.filled().len();
                self.read.filled(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.read.release();
                Poll::Pending
            }
        }
    }
}
