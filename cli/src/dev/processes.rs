//! The planes as processes of their own, started again when they die.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DevError;
use super::options::Pairs;
use crate::planes::{PlaneError, STOP_WITH_STDIN};

/// Rest between the death of a plane and its next start.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// What a plane may take beyond its own grace, which is its `PGL_SHUTDOWN_GRACE_SECONDS`.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// A bad setting does not get better by starting again.
const EXIT_BAD_SETTING: i32 = 2;

/// A plane in a process of its own. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct ProcessPlane {
    plane: &'static str,
    shutdown: CancellationToken,
    pid: watch::Receiver<Option<u32>>,
    task: Option<JoinHandle<Result<(), DevError>>>,
}

/// What is needed to start the process again.
struct Recipe {
    plane: &'static str,
    subcommand: &'static str,
    pairs: Pairs,
    grace: Duration,
}

impl ProcessPlane {
    pub(super) fn start(
        plane: &'static str,
        subcommand: &'static str,
        pairs: Pairs,
        grace: Duration,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let (pid_known, pid) = watch::channel(None);
        let recipe = Recipe {
            plane,
            subcommand,
            pairs,
            grace,
        };
        let task = tokio::spawn(supervise(recipe, shutdown.clone(), pid_known));
        Self {
            plane,
            shutdown,
            pid,
            task: Some(task),
        }
    }

    /// The process id of now, absent between two starts.
    pub(super) fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Waits until the process is another one, or cannot be kept running. Cancel safe.
    pub(super) async fn changed(&mut self) -> Result<(), DevError> {
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let ended = tokio::select! {
            Ok(()) = self.pid.changed() => return Ok(()),
            ended = task => ended,
        };
        self.task = None;
        match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(DevError::PlaneEnded { plane: self.plane }),
        }
    }

    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            let _ended = task.await;
        }
    }
}

impl Drop for ProcessPlane {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = &self.task {
            task.abort(); // the child is killed when its handle goes
        }
    }
}

async fn supervise(
    recipe: Recipe,
    shutdown: CancellationToken,
    pid: watch::Sender<Option<u32>>,
) -> Result<(), DevError> {
    loop {
        let mut child = recipe.spawn()?;
        let _open_as_long_as_we_live = child.stdin.take(); // `wait` would close it
        pid.send_replace(child.id());
        let status = tokio::select! {
            () = shutdown.cancelled() => {
                recipe.stop(&mut child).await;
                return Ok(());
            }
            status = child.wait() => status.map_err(|source| recipe.spawn_error(source))?,
        };
        pid.send_replace(None);
        recipe.judge(status)?;
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(RESTART_DELAY) => {}
        }
    }
}

impl Recipe {
    fn spawn(&self) -> Result<Child, DevError> {
        let program = std::env::current_exe().map_err(|source| self.spawn_error(source))?;
        Command::new(program)
            .arg(self.subcommand)
            .arg(format!("--{STOP_WITH_STDIN}"))
            // Not as flags: those are for every user of the machine to read.
            .envs(self.pairs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.spawn_error(source))
    }

    fn spawn_error(&self, source: std::io::Error) -> DevError {
        DevError::Spawn {
            plane: self.plane,
            source,
        }
    }

    /// Says that the plane died, or gives up on it.
    fn judge(&self, status: ExitStatus) -> Result<(), DevError> {
        if status.code() == Some(EXIT_BAD_SETTING) {
            return Err(DevError::Plane {
                plane: self.plane,
                source: PlaneError::Run("a setting cannot be used, see the line above".to_owned()),
            });
        }
        eprintln!(
            "pglens dev: the {} ended ({status}) and is started again",
            self.plane
        );
        Ok(())
    }

    async fn stop(&self, child: &mut Child) {
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = tokio::time::timeout(self.grace + STOP_MARGIN, child.wait()).await;
        if ended.is_err() {
            tracing::warn!(
                plane = self.plane,
                "plane did not stop in time and is killed"
            );
            let _gone = child.kill().await;
        }
    }
}
