//! `pglens dev`, the embedded stack, as a person would start it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::api::Api;
use crate::place::Place;
use crate::process::Running;
use crate::program;
use crate::target::{Target, open_folder};

/// initdb, two servers' starts and a cargo check are part of it.
const START_TIMEOUT: Duration = Duration::from_secs(90);

const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// How to start the stack.
#[derive(Debug, Clone, Default)]
pub struct StackOptions {
    /// More arguments for `pglens dev`.
    pub arguments: Vec<String>,
    /// Settings of the planes.
    pub environment: Vec<(String, String)>,
}

impl StackOptions {
    /// Planes as processes of their own.
    pub fn processes() -> Self {
        Self {
            arguments: vec!["--processes".to_owned()],
            environment: Vec::new(),
        }
    }
}

/// A running `pglens dev`, ended when this is dropped.
#[derive(Debug)]
pub struct Stack {
    pub process: Running,
    pub ready: Value,
    // Removed last; none when the caller keeps the folder.
    folder: Option<TempDir>,
}

impl Stack {
    /// Starts with a folder of its own.
    pub async fn start(options: StackOptions) -> Self {
        let folder = open_folder();
        let path = folder.path().to_owned();
        let mut stack = Self::start_in(&path, &options).await;
        stack.folder = Some(folder);
        stack
    }

    /// Starts with `folder` for the data, the ready file and the log, and leaves it there.
    pub async fn start_in(folder: &Path, options: &StackOptions) -> Self {
        let _left_by_an_earlier_one = std::fs::remove_file(ready_file(folder));
        let command = dev_command(folder, options);
        let mut process = Running::spawn("pglens dev", command, &folder.join("pglens.log"));
        let ready = wait_for_ready_file(&mut process, &ready_file(folder)).await;
        Self {
            process,
            ready,
            folder: None,
        }
    }

    /// An installation with a target of its own behind this stack.
    pub async fn place(&self) -> Place {
        Place::new(self.text("proxy"), self.api(), Target::start().await).await
    }

    /// The API as the administrator.
    pub fn api(&self) -> Api {
        Api::new(
            self.text("api"),
            self.text("admin_user"),
            self.text("admin_password"),
        )
    }

    /// A text of the ready file.
    pub fn text(&self, key: &str) -> &str {
        self.ready[key]
            .as_str()
            .unwrap_or_else(|| panic!("no text {key} in the ready file: {}", self.ready))
    }

    /// The process id of "control_plane", "data_plane" or "postgres".
    pub fn pid_of(&self, part: &str) -> u32 {
        let pid = self.ready["pids"][part].as_u64();
        let pid = pid.unwrap_or_else(|| panic!("no pid of {part} in {}", self.ready));
        u32::try_from(pid).expect("process ids are small")
    }

    /// The certificate of the authority that clients of the proxy are to trust.
    pub fn authority(&self) -> PathBuf {
        let folder = self.folder.as_ref().expect("the stack's own folder");
        data_folder(folder.path()).join("certificates/ca.pem")
    }
}

/// Where `pglens dev` keeps its data when started in `folder`.
pub fn data_folder(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The ready file of a stack started in `folder`.
pub fn ready_file(folder: &Path) -> PathBuf {
    folder.join("ready.json")
}

/// `pglens dev` on free ports.
pub fn dev_command(folder: &Path, options: &StackOptions) -> Command {
    let mut command = program::command(program::pglens());
    command
        .arg("dev")
        .args(["--listen-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(data_folder(folder))
        .arg("--ready-file")
        .arg(ready_file(folder))
        .args(&options.arguments)
        .env("HOME", folder)
        .env("PGL_SHUTDOWN_GRACE_SECONDS", "1")
        .env("PGL_POSTGRES_PORT", "0")
        .envs(options.environment.iter().cloned())
        .current_dir(folder);
    command
}

async fn wait_for_ready_file(process: &mut Running, file: &Path) -> Value {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(ready) = read_ready_file(file) {
            return ready;
        }
        if let Some(status) = process.try_wait() {
            panic!(
                "pglens dev ended with {status} before it was ready:\n{}",
                process.log()
            );
        }
        assert!(
            Instant::now() < deadline,
            "pglens dev was not ready in {START_TIMEOUT:?}:\n{}",
            process.log()
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A file that is there is whole: it must have been moved into its place.
fn read_ready_file(file: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("ready file: {error}: {text}")))
}
