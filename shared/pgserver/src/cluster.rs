//! The folder of a server: its lock, its superuser's password, and `initdb`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pglens_core::Secret;

use crate::account::{Account, AccountError};
use crate::binaries::PgBinaries;
use crate::watchdog::Orphaned;

/// Characters of a generated password; 32 of 62 are 190 bits.
const PASSWORD_CHARS: usize = 32;

/// Whether data survives a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As PostgreSQL promises.
    Full,
    /// For tests: no `fsync`, no full-page writes.
    Test,
}

/// How to run a server. Make one with [`Options::new`] and change what is to differ.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are.
    pub binaries: PgBinaries,
    /// The server's folder; made when it is not there.
    pub folder: PathBuf,
    /// The port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// The superuser of a new cluster, and the one to connect as.
    pub superuser: String,
    /// More `-c name=value` settings.
    pub settings: Vec<(String, String)>,
    /// Whether data survives a crash.
    pub durability: Durability,
    /// How long the server may take until it accepts a connection; crash recovery is part of it.
    pub start_timeout: Duration,
    /// What happens when this process is gone without having stopped the server.
    pub orphaned: Orphaned,
}

impl Options {
    /// A durable server on any free port.
    #[must_use]
    pub fn new(binaries: PgBinaries, folder: PathBuf) -> Self {
        Self {
            binaries,
            folder,
            port: 0,
            superuser: "postgres".to_owned(),
            settings: Vec::new(),
            durability: Durability::Full,
            start_timeout: Duration::from_secs(60),
            orphaned: Orphaned::Stop,
        }
    }
}

/// A cluster that could not be made or opened. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The user who runs the server cannot.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Another process has the folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// `initdb` could not run or failed.
    #[error("initdb failed: {0}")]
    Initdb(String),
    /// A file of the folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ClusterError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// A folder with a cluster in it, held by this process alone.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) account: Account,
    pub(crate) folder: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) password: Secret<String>,
    _lock: File,
}

/// Makes the cluster of `options.folder` if it is not there, without starting a server.
///
/// # Errors
/// When the folder cannot be used or `initdb` fails.
pub fn initialise(options: &Options) -> Result<(), ClusterError> {
    Cluster::open(options).map(drop)
}

impl Cluster {
    pub(crate) fn open(options: &Options) -> Result<Self, ClusterError> {
        let account = Account::unprivileged()?;
        account.prepare_folder(&options.folder)?;
        let folder =
            std::fs::canonicalize(&options.folder).map_err(ClusterError::file(&options.folder))?;
        let lock = take_lock(&folder)?;
        let data = folder.join("data");
        let password_file = folder.join("superuser-password");
        if !data.exists() {
            let password = Secret::new(generate_password());
            write_private(&password_file, password.expose())?;
            account
                .own(&password_file)
                .map_err(ClusterError::file(&password_file))?;
            run_initdb(options, &account, &folder, &password_file, &data)?;
        }
        let password =
            std::fs::read_to_string(&password_file).map_err(ClusterError::file(&password_file))?;
        Ok(Self {
            account,
            folder,
            data,
            password: Secret::new(password.trim_end().to_owned()),
            _lock: lock,
        })
    }
}

fn take_lock(folder: &Path) -> Result<File, ClusterError> {
    let path = folder.join("lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(ClusterError::file(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ClusterError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(ClusterError::File { path, source }),
    }
}

/// Makes the cluster beside its place and moves it there, so that a crash leaves no half of one.
fn run_initdb(
    options: &Options,
    account: &Account,
    folder: &Path,
    password_file: &Path,
    data: &Path,
) -> Result<(), ClusterError> {
    let unfinished = folder.join("data.unfinished");
    let attempt = |locale: &str| {
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)
                .map_err(|error| format!("{}: {error}", unfinished.display()))?;
        }
        let mut command = server_command(options, account, "initdb", folder);
        command
            .arg("-D")
            .arg(&unfinished)
            .args(["-U", &options.superuser, "-E", "UTF8", "--locale", locale])
            .args(["--auth-local=scram-sha-256", "--auth-host=scram-sha-256"])
            .arg("--pwfile")
            .arg(password_file);
        if options.durability == Durability::Test {
            command.arg("--no-sync");
        }
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(last_lines(&String::from_utf8_lossy(&output.stderr)))
    };
    // Not every system has C.UTF-8; C works everywhere, and the encoding is UTF8 with either.
    attempt("C.UTF-8")
        .or_else(|error| {
            if error.contains("locale") {
                attempt("C")
            } else {
                Err(error)
            }
        })
        .map_err(ClusterError::Initdb)?;
    std::fs::rename(&unfinished, data).map_err(ClusterError::file(data))
}

/// A command of PostgreSQL's, as the server's user, without what the caller's environment says about PostgreSQL.
pub(crate) fn server_command(
    options: &Options,
    account: &Account,
    program: &str,
    folder: &Path,
) -> Command {
    let mut command = Command::new(options.binaries.program(program));
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    for name in [
        "PGDATA",
        "PGPORT",
        "PGHOST",
        "PGUSER",
        "PGDATABASE",
        "PGOPTIONS",
        "PGTZ",
    ] {
        command.env_remove(name);
    }
    account.apply(&mut command);
    command
}

/// Writes a new file that only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ClusterError::file(path)(error));
        }
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| writeln!(file, "{text}"))
        .map_err(ClusterError::file(path))
}

fn generate_password() -> String {
    use rand::RngExt as _;
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(PASSWORD_CHARS)
        .map(char::from)
        .collect()
}

/// The end of what a program said, on one line.
pub(crate) fn last_lines(text: &str) -> String {
    const LINES: usize = 4;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(LINES)..)
        .unwrap_or_default()
        .join("; ")
}
