//! Sessions that leave bytes with real sockets, and a round that is ended by hand.

use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio_util::task::TaskTracker;

use super::*;
use crate::audit::outbox::tests::TestOutbox;
use crate::net::Connection;
use crate::net::stream::tests::tls_pair;
use crate::session::relay::Side;
use crate::session_threads::SessionThreads;

/// A socket of a session, and its peer. Of this kind, what one end does the other sees at once.
fn pair() -> (UnixStream, UnixStream) {
    let (socket, peer) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    (socket, peer)
}

fn assert_silent(peer: &mut UnixStream) {
    peer.set_nonblocking(true).unwrap();
    let error = peer.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    peer.set_nonblocking(false).unwrap();
}

fn assert_hears(peer: &mut UnixStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    peer.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Session {
    seat: Seat,
    socket: UnixStream,
    woken: Arc<Woken>,
}

impl Session {
    fn new(outbox: &Arc<Outbox>) -> (Self, UnixStream) {
        let (socket, peer) = pair();
        let session = Self {
            seat: Seat::take(outbox),
            socket,
            woken: Arc::default(),
        };
        (session, peer)
    }

    fn leave(&mut self, bytes: &[u8], frame: Option<u64>) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        let socket = self.socket.as_raw_fd();
        self.seat.leave(&mut bytes.to_vec(), socket, frame, &waker)
    }

    /// What it takes back, and how much of it was written.
    fn take_back(&mut self) -> Option<(Vec<u8>, usize)> {
        let mut bytes = Vec::new();
        let written = self.seat.take_back(&mut bytes)?;
        Some((bytes, written))
    }

    fn woken(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}

#[test]
fn what_sessions_leave_goes_out_at_the_end_and_wakes_nobody() {
    enable();
    let outbox = TestOutbox::new(1_000_000);
    let mut sessions: Vec<_> = (0..3).map(|_| Session::new(&outbox)).collect();
    for round in 1..4_u8 {
        for (session, peer) in &mut sessions {
            assert!(session.leave(&[round; 5], None));
            assert_silent(peer);
        }
        end();
        for (session, peer) in &mut sessions {
            assert_hears(peer, &[round; 5]);
            assert_eq!(session.take_back(), Some((vec![round; 5], 5)));
            assert_eq!((session.take_back(), session.woken()), (None, 0));
        }
    }
}

#[test]
fn what_is_taken_back_before_the_end_is_not_written() {
    enable();
    let outbox = TestOutbox::new(1_000_000);
    let (mut session, mut peer) = Session::new(&outbox);
    session.leave(b"left", None);
    assert_eq!(session.take_back(), Some((b"left".to_vec(), 0)));
    end();
    assert_silent(&mut peer);
}

#[test]
fn a_session_that_is_gone_leaves_nothing_and_its_place_to_the_next() {
    enable();
    let outbox = TestOutbox::new(1_000_000);
    let (mut gone, mut its_peer) = Session::new(&outbox);
    gone.leave(b"left", None);
    let Session { seat, socket, .. } = gone;
    drop(seat);
    let (mut next, mut peer) = Session::new(&outbox);
    next.leave(b"next", None);
    end();
    assert_hears(&mut peer, b"next");
    assert_silent(&mut its_peer);
    drop(socket);
    ROUND.with_borrow(|round| assert_eq!(round.places.len(), 1));
}

#[test]
fn a_socket_that_does_not_take_all_is_its_sessions_business() {
    enable();
    let outbox = TestOutbox::new(1_000_000);
    let (mut full, _peer) = Session::new(&outbox);
    while full.socket.write(&[0; 4096]).is_ok() {}
    let (mut closed, peer) = Session::new(&outbox);
    drop(peer);
    for session in [&mut full, &mut closed] {
        session.leave(b"left", None);
    }
    end();
    for session in [&mut full, &mut closed] {
        assert_eq!(session.woken(), 1);
        assert_eq!(session.take_back(), Some((b"left".to_vec(), 0)));
    }
}

#[test]
fn nothing_goes_out_before_its_record_is_written() {
    enable();
    let outbox = TestOutbox::locked(1_000_000, 1_000_000);
    let (mut session, mut peer) = Session::new(&outbox);
    let frame = outbox.push_row(10).frame;
    session.leave(b"statement", Some(frame));
    end();
    assert_silent(&mut peer);
    assert_eq!(session.woken(), 1);
    assert_eq!(session.take_back(), Some((b"statement".to_vec(), 0)));
    outbox.unlock_it();
    session.leave(b"statement", Some(frame));
    end();
    assert_hears(&mut peer, b"statement");
}

#[test]
fn those_who_go_on_and_on_hold_nobody_up_for_long() {
    enable();
    let outbox = TestOutbox::new(1_000_000);
    let (mut session, mut peer) = Session::new(&outbox);
    session.leave(b"left", None);
    for _ in 0..MAX_TURNS {
        begin_turn();
        assert_silent(&mut peer);
    }
    begin_turn();
    assert_hears(&mut peer, b"left");
}

#[test]
fn nothing_is_left_on_a_thread_that_does_not_end_its_rounds() {
    let outbox = TestOutbox::new(1_000_000);
    let (mut session, _peer) = Session::new(&outbox);
    assert!(!session.leave(b"left", None));
    assert_eq!(session.take_back(), None);
}

#[tokio::test]
async fn threads_of_sessions_end_their_rounds() {
    let threads = SessionThreads::start(1).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (peer, accepted) = tokio::join!(peer, listener.accept());
    let outbox = TestOutbox::new(1_000_000);
    let its_outbox = Arc::clone(&outbox);
    let serve = |socket: tokio::net::TcpStream| async move {
        let mut seat = Seat::take(&its_outbox);
        let number = socket.as_raw_fd();
        assert!(seat.leave(&mut b"left".to_vec(), number, None, Waker::noop()));
        std::future::pending::<()>().await;
        drop((seat, socket));
    };
    let (socket, _) = accepted.unwrap();
    threads.spawn(&TaskTracker::new(), socket, serve).unwrap();
    let mut heard = [0; 4];
    let reading = tokio::io::AsyncReadExt::read_exact(&mut peer.unwrap(), &mut heard).await;
    assert_eq!((reading.unwrap(), &heard), (4, b"left"));
}

/// A side with TLS that has something to say, and its peer.
async fn side(outbox: &Arc<Outbox>) -> (Side, impl tokio::io::AsyncRead + Unpin) {
    let (stream, peer) = tls_pair().await;
    let mut side = Side::new(Connection::new(stream), Seat::take(outbox));
    side.output.put().extend_from_slice(b"statement");
    (side, peer)
}

async fn leave(side: &mut Side, frame: Option<u64>) {
    let leaving = poll_fn(|cx| Poll::Ready(side.leave(cx, frame, 0)));
    assert!(leaving.await);
}

async fn assert_told(mut peer: impl tokio::io::AsyncRead + Unpin, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    let reading = tokio::io::AsyncReadExt::read_exact(&mut peer, &mut heard);
    reading.await.unwrap();
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn what_is_left_with_tls_goes_out_sealed() {
    enable();
    let outbox = TestOutbox::new(1_000_000);
    let (mut side, peer) = side(&outbox).await;
    leave(&mut side, None).await;
    assert!(side.output.is_empty());
    end();
    side.take_back(0);
    assert!(!side.is_unfinished());
    assert_told(peer, b"statement").await;
}

#[tokio::test]
async fn what_is_sealed_waits_for_its_record_or_is_forgotten() {
    enable();
    let outbox = TestOutbox::locked(1_000_000, 1_000_000);
    let frame = outbox.push_row(10).frame;
    let (mut waits, peer) = side(&outbox).await;
    let (mut forgets, mut silent) = side(&outbox).await;
    for side in [&mut waits, &mut forgets] {
        leave(side, Some(frame)).await;
    }
    end();
    for side in [&mut waits, &mut forgets] {
        side.take_back(0);
        assert!(side.is_unfinished() && side.hears());
    }
    forgets.forget();
    assert!(!forgets.is_unfinished() && !forgets.hears());
    drop(forgets);
    let nothing = tokio::io::AsyncReadExt::read(&mut silent, &mut [0; 1]).await;
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    poll_fn(|cx| waits.poll_write(cx, 0)).await.unwrap();
    assert_told(peer, b"statement").await;
}
