//! A running server: start, wait until it answers, stop.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pglens_core::Secret;
use tokio_postgres::{Config, NoTls};

use crate::cluster::{Cluster, ClusterError, Durability, Options, last_lines, server_command};
use crate::watchdog::Watchdog;

/// How often a starting or stopping server is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How often a running server is looked at.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// A fast shutdown takes well under a second unless a checkpoint has much to write.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// A server asked to quit at once, or killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// One try to connect to a server that is starting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server's own log in its folder.
const LOG_FILE: &str = "server.log";
/// What makes a server quick and careless.
const TEST_SETTINGS: [&str; 3] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];
/// Rest before a start is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Starts that may fail because another process was quicker to take the free port, or an old server's processes
/// have not all ended.
const START_TRIES: u32 = 8;

/// A server that did not start. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The cluster cannot be made or opened.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The port is taken.
    #[error("port {port} on 127.0.0.1 is in use")]
    PortInUse {
        /// The port asked for.
        port: u16,
    },
    /// The program could not be run.
    #[error("cannot run {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended by itself.
    #[error("PostgreSQL ended while starting: {0}")]
    Ended(String),
    /// The server did not accept a connection in time.
    #[error("PostgreSQL accepted no connection within {} seconds: {last}", after.as_secs())]
    TimedOut {
        /// The time given.
        after: Duration,
        /// The last error.
        last: String,
    },
}

/// A running server. Dropping it stops the server at once; [`PgServer::stop`] does so in good order.
#[derive(Debug)]
pub struct PgServer {
    child: Child,
    port: u16,
    superuser: String,
    // Fields drop in this order: the watchdog must find the server stopped, and the lock in the cluster goes last.
    watchdog: Watchdog,
    cluster: Cluster,
}

impl PgServer {
    /// Starts the server of `options.folder`, making its cluster first if there is none, and waits until it accepts
    /// a connection. A server that an earlier run left behind in the folder is stopped first.
    ///
    /// # Errors
    /// When anything of that fails; nothing is left running then.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        if options.port != 0 {
            choose_port(options.port)?; // before initdb, which takes a second
        }
        let opening = options.clone();
        let cluster = tokio::task::spawn_blocking(move || Cluster::open(&opening))
            .await
            .map_err(|error| StartError::Ended(error.to_string()))??;
        leftover::stop(&cluster.data).await;
        let mut server = Self::spawn(&options, cluster)?;
        for tries in 1.. {
            match server.wait_until_ready(options.start_timeout).await {
                Ok(()) => break,
                Err(StartError::Ended(log)) if tries < START_TRIES && passes(&log, &options) => {
                    tokio::time::sleep(RETRY_DELAY).await;
                    server.spawn_again(&options)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    fn spawn(options: &Options, cluster: Cluster) -> Result<Self, StartError> {
        let failed = |source| StartError::Spawn {
            program: "/bin/sh".into(),
            source,
        };
        let watchdog = Watchdog::start(&cluster.data, &cluster.folder, options.orphaned);
        let mut watchdog = watchdog.map_err(failed)?;
        let port = choose_port(options.port)?;
        let child = spawn_postgres(options, &cluster, port)?;
        let watched = watchdog.watch(child.id());
        let server = Self {
            child,
            port,
            superuser: options.superuser.clone(),
            watchdog,
            cluster,
        };
        watched.map_err(failed)?; // after the server has an owner that stops it
        Ok(server)
    }

    fn spawn_again(&mut self, options: &Options) -> Result<(), StartError> {
        self.port = choose_port(options.port)?;
        self.child = spawn_postgres(options, &self.cluster, self.port)?;
        let watched = self.watchdog.watch(self.child.id());
        watched.map_err(|source| StartError::Spawn {
            program: "/bin/sh".into(),
            source,
        })
    }

    async fn wait_until_ready(&mut self, timeout: Duration) -> Result<(), StartError> {
        let deadline = Instant::now() + timeout;
        loop {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
                return Err(StartError::Ended(last_lines(&log)));
            }
            let last = match self.config("postgres").connect(NoTls).await {
                Ok(_connection_closed_by_drop) => return Ok(()),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(StartError::TimedOut {
                    after: timeout,
                    last,
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Where to connect to as the superuser.
    #[must_use]
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(&self.superuser)
            .password(self.cluster.password.expose())
            .dbname(database)
            .connect_timeout(CONNECT_TIMEOUT);
        config
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's name.
    #[must_use]
    pub fn superuser(&self) -> &str {
        &self.superuser
    }

    /// The superuser's password.
    #[must_use]
    pub fn superuser_password(&self) -> &Secret<String> {
        &self.cluster.password
    }

    /// The id of the server's first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server itself has to say.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.cluster.folder.join(LOG_FILE)
    }

    /// Waits until the server has ended by itself. Cancel safe.
    ///
    /// # Errors
    /// When the system does not know.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(EXIT_POLL_INTERVAL).await;
        }
    }

    /// Stops the server: connections are closed, everything is written, and if that takes too long the server is
    /// killed, which loses nothing that was committed.
    pub async fn stop(mut self) {
        self.signal(Signal::SIGINT);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tracing::warn!(timeout = ?STOP_TIMEOUT, "postgresql did not stop in time and is killed");
    }

    fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        for signal in [Signal::SIGQUIT, Signal::SIGKILL] {
            // Once it was reaped its id may be another process's.
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            self.signal(signal);
            let deadline = Instant::now() + KILL_TIMEOUT;
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
    }
}

fn spawn_postgres(options: &Options, cluster: &Cluster, port: u16) -> Result<Child, StartError> {
    let failed = |source| StartError::Spawn {
        program: options.binaries.program("postgres"),
        source,
    };
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        format!("port={port}"),
    ];
    if options.durability == Durability::Test {
        settings.extend(TEST_SETTINGS.map(str::to_owned));
    }
    let given = options.settings.iter();
    settings.extend(given.map(|(name, value)| format!("{name}={value}")));
    let log = open_log(&cluster.folder.join(LOG_FILE)).map_err(failed)?;
    let mut command = server_command(options, &cluster.account, "postgres", &cluster.folder);
    command.arg("-D").arg(&cluster.data);
    for setting in &settings {
        command.args(["-c", setting]);
    }
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.spawn().map_err(failed)
}

/// A new log file; the one before is kept beside it.
fn open_log(path: &Path) -> io::Result<File> {
    match std::fs::rename(path, path.with_extension("log.1")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// The port asked for if it is free, or any free one. Somebody may still be quicker; the caller tries again.
fn choose_port(port: u16) -> Result<u16, StartError> {
    TcpListener::bind(("127.0.0.1", port))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|_| StartError::PortInUse { port })
}

/// Whether a failed start may succeed when tried again.
fn passes(log: &str, options: &Options) -> bool {
    let port_was_taken = options.port == 0 && log.contains("could not create any TCP/IP sockets");
    // The processes of a killed server notice within moments that it is gone.
    port_was_taken || log.contains("pre-existing shared memory block")
}

fn signal_process(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // The only error that matters is that it is gone, which is what was wanted.
        let _gone = kill(Pid::from_raw(pid), signal);
    }
}

/// A server that runs on the data folder although its owner, who held the lock we hold now, is gone.
mod leftover {
    use super::{Duration, Instant, POLL_INTERVAL, Path, STOP_TIMEOUT, Signal, signal_process};

    /// After the polite signal.
    const QUIT_TIMEOUT: Duration = STOP_TIMEOUT;

    pub(super) async fn stop(data: &Path) {
        let pid_file = data.join("postmaster.pid");
        let Some(pid) = first_line_number(&pid_file) else {
            return;
        };
        for signal in [Signal::SIGINT, Signal::SIGKILL] {
            if !is_postgres_on(pid, data) {
                break;
            }
            tracing::info!(pid, %signal, "stopping a postgresql server that an earlier run left behind");
            signal_process(pid, signal);
            let deadline = Instant::now() + QUIT_TIMEOUT;
            while Instant::now() < deadline && is_postgres_on(pid, data) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        // PostgreSQL believes in the file as long as any process has the id, which may be another program by now.
        let _absent = std::fs::remove_file(&pid_file);
    }

    fn first_line_number(path: &Path) -> Option<u32> {
        std::fs::read_to_string(path)
            .ok()?
            .lines()
            .next()?
            .trim()
            .parse()
            .ok()
    }

    /// Compares the command line, which our own starts give the whole path of the data folder.
    fn is_postgres_on(pid: u32, data: &Path) -> bool {
        let command_line = std::fs::read(format!("/proc/{pid}/cmdline"))
            .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
            .or_else(|_no_proc_here| {
                std::process::Command::new("ps")
                    .args(["-o", "command=", "-p", &pid.to_string()])
                    .output()
                    .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            });
        command_line
            .is_ok_and(|line| line.contains("postgres") && line.contains(&*data.to_string_lossy()))
    }
}
