//! The threads that run sessions, each with a runtime of its own.
//!
//! A session lives on one thread from its first byte to its last: its wakes come from that thread's own poll of its
//! sockets and cross to no other. What runs besides the sessions (logins to the control plane, the stream of leases, the
//! operations port) has the runtime of the process, and the record's way out a thread of its own. docs/performance.md has
//! the profiles that led here.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::runtime_thread::RuntimeThread;
use crate::session::relay::second_round;

/// Stack of a thread, and of those that it hands work to. The analysis of a deeply nested statement needs 1.5 MiB.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// They end when this is dropped.
#[derive(Debug)]
pub(crate) struct SessionThreads {
    threads: Vec<RuntimeThread>,
    next: AtomicUsize,
}

impl SessionThreads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system gives no more threads, or no epoll instance.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let start = |number| {
            RuntimeThread::start(
                &format!("sessions-{number}"),
                STACK_BYTES,
                |runtime| {
                    runtime.on_thread_park(second_round::end);
                },
                second_round::enable,
            )
        };
        Ok(Self {
            threads: (0..count).map(start).collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// Runs what `serve` makes of `socket` on the thread whose turn it is.
    ///
    /// # Errors
    /// When the socket cannot be taken from this runtime; it is closed then.
    pub(crate) fn spawn<F>(
        &self,
        tracker: &TaskTracker,
        socket: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + 'static,
    {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(thread) = self.threads.get(turn % self.threads.len().max(1)) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let handle = thread.handle();
        // The socket must be known to the poll of the thread that serves it.
        let socket = socket.into_std()?;
        let socket = {
            let _there = handle.enter();
            TcpStream::from_std(socket)?
        };
        // A session counts what it holds without regard to other threads: it begins where it stays.
        let (token, tracker) = (tracker.token(), tracker.clone());
        handle.spawn(async move {
            tracker.spawn_local(serve(socket));
            drop(token);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn sockets_are_served_on_the_threads_in_turn() {
        let threads = SessionThreads::start(2).unwrap();
        let tracker = TaskTracker::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut names = Vec::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let serve = |mut socket: TcpStream| async move {
                let name = thread::current().name().unwrap().to_owned();
                socket.write_all(name.as_bytes()).await.unwrap();
            };
            threads.spawn(&tracker, socket, serve).unwrap();
            let mut name = String::new();
            client.read_to_string(&mut name).await.unwrap();
            names.push(name);
        }
        assert_eq!(names, ["sessions-0", "sessions-1", "sessions-0"]);
        tracker.close();
        tracker.wait().await;
    }
}
