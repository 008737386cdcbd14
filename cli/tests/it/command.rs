//! Running the command.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes that works, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The command, deaf to the settings of whoever runs the tests.
pub(crate) fn pglens(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pglens"));
    command.args(args).stdin(Stdio::null()).env_clear();
    if let Some(path) = option_env!("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Runs to the end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// `pglens dev` on a folder of its own and free ports. It is stopped when dropped.
pub(crate) struct Dev {
    child: Child,
    pub(crate) ready: Value,
}

impl Dev {
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        let ready_file = ready_file(folder);
        let data_dir = folder.join("data");
        let mut args = vec!["dev", "--postgres-port=0", "--api-addr=127.0.0.1:0"];
        args.extend([
            "--listen-addr=127.0.0.1:0",
            "--data-dir",
            data_dir.to_str().unwrap(),
        ]);
        args.extend(["--ready-file", ready_file.to_str().unwrap()]);
        args.extend(more);
        let child = pglens(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut dev = Self {
            child,
            ready: Value::Null,
        };
        eventually("the stack is ready", || {
            let status = dev.child.try_wait().unwrap();
            assert!(status.is_none(), "pglens dev ended: {status:?}");
            ready_file.exists()
        });
        dev.ready = read_ready(folder);
        dev
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap()
    }

    /// Ends it with a signal; what it printed comes with its status.
    pub(crate) fn end(mut self, signal: &str) -> (ExitStatus, String) {
        kill(self.child.id(), signal);
        let mut printed = String::new();
        let stdout = self.child.stdout.as_mut().unwrap();
        stdout.read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap(), printed)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub(crate) fn ready_file(folder: &Path) -> PathBuf {
    folder.join("ready.json")
}

pub(crate) fn read_ready(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(ready_file(folder)).unwrap()).unwrap()
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let pid = pid.to_string();
    let status = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(status.unwrap().success());
}

/// Whether a process runs; a zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output();
    let state = String::from_utf8(output.unwrap().stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
