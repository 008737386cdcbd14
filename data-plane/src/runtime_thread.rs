//! A thread with a single-threaded runtime of its own: its tasks wake each other without a word to another processor.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
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
        let runtime = builder.build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(stack_bytes)
            .spawn(move || {
                begin();
                runtime.block_on(stopped.cancelled());
            })?;
        Ok(Self {
            handle,
            _stop: stop.drop_guard(),
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
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
