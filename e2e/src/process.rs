//! A program that runs beside a test, and never outlives it: not after a panic, and not after `kill -9` of the test.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getsid};

/// How long a program may take to end when asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Lines of a program's output shown when its test fails.
const LOG_TAIL_LINES: usize = 120;

/// Waits for the pipe to close, which the system does when the test process ends however it ends, then ends the
/// process group $1, politely first.
const WATCHDOG: &str = r#"
while read -r line; do :; done
kill -TERM "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL "-$1" 2>/dev/null
"#;

/// A program in a process group of its own, with its output in a file.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    watchdog: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts `command` with stdout and stderr appended to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("log file"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "e2e-watchdog", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the watchdog starts");
        Self {
            name: name.to_owned(),
            child,
            watchdog,
            log: log.to_owned(),
            ended: None,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the program alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.try_wait().is_none() {
            let _gone = kill(pid(self.child.id()), signal);
        }
    }

    /// How it ended, if it did.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("own child");
        }
        self.ended
    }

    /// Waits until it ends, and panics when it does not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {limit:?}",
                self.name
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// All it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.try_wait().is_none() && Instant::now() < deadline {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Stopped processes (SIGSTOP) do not end on SIGTERM alone.
        let _gone = killpg(pid(self.child.id()), Signal::SIGCONT);
        self.stop();
        let _gone = killpg(pid(self.child.id()), Signal::SIGKILL);
        // Before the child's id can be given to another process.
        let _ended = self.watchdog.kill();
        let _status = self.watchdog.wait();
        let _status = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.len().saturating_sub(LOG_TAIL_LINES);
            println!(
                "--- output of {} ---\n{}",
                self.name,
                lines[tail..].join("\n")
            );
        }
    }
}

/// Whether a process of this id exists and is not a zombie.
pub fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    match stat {
        Ok(stat) => !stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('Z')),
        Err(_) if Path::new("/proc/self").exists() => false,
        Err(_) => kill(pid(id), None).is_ok(),
    }
}

/// Whether the process `id` leads a session of its own.
pub fn leads_session(id: u32) -> bool {
    getsid(Some(pid(id))) == Ok(pid(id))
}

/// The processes whose parent is `id`, with their command lines.
pub fn children(id: u32) -> Vec<(u32, String)> {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|child| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        let mut behind_name = stat.rsplit(") ").next()?.split(' ');
        let parent: u32 = behind_name.nth(1)?.parse().ok()?;
        let command = std::fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
        (parent == id).then(|| (child, command.replace('\0', " ")))
    })
    .collect()
}

/// Sends `signal` to the process `id`, if it is still there.
pub fn try_signal(id: u32, signal: Signal) {
    let _gone = kill(pid(id), signal);
}

/// Sends `signal` to the process `id`.
pub fn signal(id: u32, signal: Signal) {
    kill(pid(id), signal).unwrap_or_else(|error| panic!("{signal} to {id}: {error}"));
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("process ids are small"))
}
