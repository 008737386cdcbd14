//! The few threads with a large stack on which long texts are parsed.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

/// Stack of a parser thread: four times what the deepest tree needs. Only what is used becomes memory.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Parser threads. Each may hold a tree of 100 MB, so they are few; most texts are short and parsed elsewhere, or
/// cached.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// The way to the threads, started with the first long text; `None` if the system gave none.
static JOBS: LazyLock<Option<SyncSender<Job>>> = LazyLock::new(start);

fn start() -> Option<SyncSender<Job>> {
    // No queue: callers wait, and their number is bounded by their own threads.
    let (sender, receiver) = sync_channel::<Job>(0);
    let receiver = Arc::new(Mutex::new(receiver));
    let mut started = 0;
    for _ in 0..THREADS {
        let receiver = Arc::clone(&receiver);
        let thread = thread::Builder::new()
            .name("sql-parser".to_owned())
            .stack_size(STACK_BYTES);
        if thread.spawn(move || work(&receiver)).is_ok() {
            started += 1;
        }
    }
    (started > 0).then_some(sender)
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting and released before the job runs.
        let job = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

/// Runs `job` on a parser thread and waits for its result; `None` when there is no thread. `job` must not panic.
pub(super) fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (reply, answer) = sync_channel(1);
    let job = Box::new(move || {
        let _ = reply.send(job()); // the caller is waiting below
    });
    JOBS.as_ref()?.send(job).ok()?;
    answer.recv().ok()
}
