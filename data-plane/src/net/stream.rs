//! A TCP connection with or without TLS.

use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::Socket;

/// Either end of a connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Closes it so that the system gives up what it has not delivered, and resets the connection.
    ///
    /// # Errors
    /// When the system refuses the option; it is closed as usual then.
    pub(crate) fn reset(mut self) -> io::Result<()> {
        self.socket().set_zero_linger()
    }

    /// See [`Socket::descriptor`].
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.socket_ref().descriptor()
    }

    /// Seals `bytes`, which count as written then, into [`Stream::unsent`]. Only a stream with TLS does that.
    ///
    /// # Errors
    /// When TLS has ended.
    pub(crate) fn seal(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        self.socket().keep(true);
        let sealed = self.write_at_once(cx, bytes);
        self.socket().keep(false);
        sealed
    }

    fn write_at_once(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match Pin::new(&mut *self).poll_write(cx, bytes)? {
                Poll::Ready(count @ 1..) => bytes = bytes.get(count..).unwrap_or_default(),
                Poll::Ready(0) | Poll::Pending => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
        Ok(())
    }

    /// What is sealed and not sent: it goes out before anything else that is written or flushed.
    pub(crate) fn unsent(&mut self) -> &mut Vec<u8> {
        self.socket().unsent()
    }

    /// See [`Socket::hold`].
    pub(crate) fn hold(&mut self, is_held: bool) {
        self.socket().hold(is_held);
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.socket_ref().has_unsent()
    }

    /// See [`Socket::sent`].
    pub(crate) fn sent(&mut self, count: usize) {
        self.socket().sent(count);
    }

    /// See [`Socket::unwatch`].
    ///
    /// # Errors
    /// When the system refuses; the connection is lost then.
    pub(crate) fn unwatch(&mut self) -> io::Result<()> {
        self.socket().unwatch()
    }

    /// Ready when a read may find something, or the end of the stream.
    ///
    /// # Errors
    /// See [`Socket::poll_readable`].
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // Something is opened that was not read.
            Self::Tls(stream) if !stream.get_ref().1.wants_read() => Poll::Ready(Ok(())),
            _ => self.socket().poll_readable(cx),
        }
    }

    fn socket_ref(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    fn socket(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_mut().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;

    use nix::sys::socket::{MsgFlags, send};
    use pglens_runtime::certificates::Authority;
    use pglens_runtime::tls::{Verification, client_config, provider};
    use rustls::ServerConfig;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    /// A stream with TLS, and its peer.
    pub(crate) async fn tls_pair() -> (Stream, client::TlsStream<TcpStream>) {
        let authority = Authority::new("PgLens test").unwrap();
        let pair = authority.server(&["localhost"]).unwrap();
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.expose().as_bytes()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let client = client_config(Verification::Chain, Some(authority.ca_pem())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = async {
            let socket = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let connector = TlsConnector::from(Arc::new(client));
            connector.connect(name, socket).await.unwrap()
        };
        let accepting = async {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(server));
            acceptor.accept(Socket::from(socket)).await.unwrap()
        };
        let (peer, stream) = tokio::join!(connecting, accepting);
        (Stream::Tls(Box::new(stream.into())), peer)
    }

    async fn seal(stream: &mut Stream, bytes: &[u8]) {
        let sealed = poll_fn(|cx| Poll::Ready(stream.seal(cx, bytes)));
        sealed.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_sealed_goes_out_by_any_hand_before_anything_else() {
        let (mut stream, mut peer) = tls_pair().await;
        for half in [true, false] {
            seal(&mut stream, b"sealed, ").await;
            assert!(stream.has_unsent());
            let socket = stream.descriptor().unwrap();
            let unsent = stream.unsent().clone();
            let part = if half { unsent.len() / 2 } else { unsent.len() };
            let sent = send(socket, &unsent[..part], MsgFlags::empty()).unwrap();
            stream.sent(sent);
            assert_eq!(stream.has_unsent(), half);
            stream.write_all(b"written").await.unwrap();
            stream.flush().await.unwrap();
            let mut heard = [0; 15];
            peer.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"sealed, written");
        }
    }

    #[tokio::test]
    async fn a_flush_or_the_end_sends_what_is_sealed() {
        let (mut stream, mut peer) = tls_pair().await;
        seal(&mut stream, b"flushed").await;
        stream.flush().await.unwrap();
        let mut heard = [0; 7];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"flushed");
        seal(&mut stream, b"last").await;
        stream.shutdown().await.unwrap();
        let mut last = Vec::new();
        peer.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, b"last");
    }

    #[tokio::test]
    async fn what_is_held_does_not_go_out_with_what_is_written_by_others() {
        let (mut stream, mut peer) = tls_pair().await;
        seal(&mut stream, b"held, ").await;
        stream.hold(true);
        let waits = poll_fn(|cx| {
            let written = Pin::new(&mut stream).poll_write(cx, b"written");
            let flushed = Pin::new(&mut stream).poll_flush(cx);
            Poll::Ready((written.is_ready(), flushed.is_pending()))
        });
        assert_eq!(waits.await, (true, true), "TLS has taken it");
        let nothing = peer.get_ref().0.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        stream.hold(false);
        stream.flush().await.unwrap();
        let mut heard = [0; 13];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"held, written");
    }

    #[tokio::test]
    async fn it_is_readable_while_something_is_opened_and_not_read() {
        let (mut stream, mut peer) = tls_pair().await;
        peer.write_all(b"twelve bytes").await.unwrap();
        let mut read = [0; 5];
        stream.read_exact(&mut read).await.unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await.unwrap();
        let mut rest = [0; 7];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!((&read, &rest), (b"twelv", b"e bytes"));
        let mut more = [0; 1];
        let nothing = poll_fn(|cx| {
            let mut more = ReadBuf::new(&mut more);
            Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut more).is_pending())
        });
        assert!(nothing.await);
        let is_quiet = poll_fn(|cx| Poll::Ready(stream.poll_readable(cx).is_pending()));
        assert!(is_quiet.await);
        peer.write_all(b"!").await.unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await.unwrap();
    }
}
