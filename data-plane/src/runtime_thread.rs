//! A thread with a runtime of its own: its tasks wake each other without a word to another processor, and need not be fit
//! to be moved to one.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The thread ends when this is dropped, and its tasks with it.
#[derive(Debug)]
pub(crate) struct RuntimeThread {
    handle: Handle,
    _stop: DropGuard,
}

impl RuntimeThread {
    /// Starts a thread called `name` with a runtime that `configure` may change. It calls `begin` first.
    ///
    /// # Errors
    /// When the system gives no thread, or no epoll instance.
    pub(crate) fn start(
        name: &str,
        stack_bytes: usize,
        configure: impl FnOnce(&mut Builder),
        begin: fn(),
    ) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        // Also of the threads that judge long texts, or wait for the disk, for it.
        builder.enable_all().thread_stack_size(stack_bytes);
        configure(&mut builder);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (started, starting) = mpsc::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(stack_bytes)
            .spawn(move || {
                begin();
                // Such a runtime stays on the thread that made it.
                match builder.build_local(LocalOptions::default()) {
                    Ok(runtime) => run(&runtime, &started, &stopped),
                    Err(error) => {
                        let _nobody_waits = started.send(Err(error));
                    }
                }
            })?;
        let handle = starting.recv().map_err(io::Error::other)??;
        Ok(Self {
            handle,
            _stop: stop.drop_guard(),
        })
    }

    /// Spawns tasks on the thread; those of them that cannot be sent to it are spawned there, by others.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

fn run(
    runtime: &LocalRuntime,
    started: &mpsc::Sender<io::Result<Handle>>,
    stopped: &CancellationToken,
) {
    if started.send(Ok(runtime.handle().clone())).is_ok() {
        runtime.block_on(stopped.cancelled());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn tasks_run_on_the_thread_and_end_with_it() {
        let started = RuntimeThread::start("of-its-own", 1 << 20, |_runtime| {}, || {}).unwrap();
        let named = started
            .handle()
            .spawn(async { thread::current().name().map(str::to_owned) });
        assert_eq!(named.await.unwrap().as_deref(), Some("of-its-own"));
        let (never_sent, gone) = oneshot::channel::<()>();
        started.handle().spawn(async move {
            std::future::pending::<()>().await;
            drop(never_sent);
        });
        drop(started);
        assert!(gone.await.is_err());
    }
}
