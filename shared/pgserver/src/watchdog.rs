//! Stops a server whose owner is gone, however it went: `kill -9` and a panic run no destructor.
//!
//! A tiny shell holds the read end of a pipe of ours. The system closes our end when we end, the shell wakes and
//! stops the server, if the server is still the one it was told about.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What becomes of a server whose owner is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphaned {
    /// It is stopped; its data stay.
    Stop,
    /// It is stopped, and its folder is removed.
    StopAndRemove,
}

/// Reads the server's process id from the pipe, again for each new start, until the pipe closes.
/// $1: the data folder, $2: the signal to stop the server with, $3: a folder to remove or "".
///
/// `postmaster.pid` starts with the id of the process that runs on the folder: an id that was given to another
/// process since is left alone. The wait is bounded, since a dead process that nobody reaps looks alive.
const SCRIPT: &str = r#"
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && [ "$(head -n 1 "$1/postmaster.pid" 2>/dev/null)" = "$pid" ]; then
    kill "-$2" "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
[ -z "$3" ] || rm -rf "$3"
"#;

/// The shell that watches. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    pub(crate) fn start(data: &Path, folder: &Path, orphaned: Orphaned) -> io::Result<Self> {
        let (signal, remove) = match orphaned {
            Orphaned::Stop => ("INT", Path::new("")),
            Orphaned::StopAndRemove => ("QUIT", folder),
        };
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "pglens-watchdog"])
            .arg(data)
            .arg(signal)
            .arg(remove)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }

    /// Makes `server` the process to stop.
    pub(crate) fn watch(&mut self, server: u32) -> io::Result<()> {
        match &mut self.shell.stdin {
            Some(pipe) => writeln!(pipe, "{server}"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It has nothing to wait for: the server was stopped before. Reaping keeps the process table clean.
        let _status = self.shell.wait();
    }
}
