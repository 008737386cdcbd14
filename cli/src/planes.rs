//! `pglens control-plane` and `pglens data-plane`: the same programs as `pglens-control-plane` and
//! `pglens-data-plane`, in one binary.

use std::io::Read;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use nix::unistd::setsid;
use pglens_runtime::{Chain, ConfigError, Fatal, Settings, process};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(crate) const CONTROL_PLANE: &str = "control-plane";
pub(crate) const DATA_PLANE: &str = "data-plane";

/// A flag of the planes that `pglens dev` starts: they must not outlive it.
pub(crate) const STOP_WITH_STDIN: &str = "stop-when-stdin-closes";

/// Why a plane ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaneError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Run(String),
}

impl Fatal for PlaneError {
    fn config_error(&self) -> Option<&ConfigError> {
        match self {
            Self::Config(error) => Some(error),
            Self::Run(_) => None,
        }
    }
}

impl From<pglens_control_plane::RunError> for PlaneError {
    fn from(error: pglens_control_plane::RunError) -> Self {
        match error {
            pglens_control_plane::RunError::Config(error) => Self::Config(error),
            other => Self::Run(Chain(&other).to_string()),
        }
    }
}

impl From<pglens_data_plane::RunError> for PlaneError {
    fn from(error: pglens_data_plane::RunError) -> Self {
        match error {
            pglens_data_plane::RunError::Config(error) => Self::Config(error),
            other => Self::Run(Chain(&other).to_string()),
        }
    }
}

/// Runs a control plane until `shutdown`; `ready` hears when it serves.
pub(crate) async fn serve_control_plane(
    settings: Settings,
    shutdown: CancellationToken,
    ready: oneshot::Sender<pglens_control_plane::Bound>,
) -> Result<(), PlaneError> {
    let config = pglens_control_plane::Config::from_settings(&settings)?;
    Ok(Box::pin(pglens_control_plane::run(config, shutdown, ready)).await?)
}

/// Runs a data plane until `shutdown`; `ready` hears when it serves.
pub(crate) async fn serve_data_plane(
    settings: Settings,
    shutdown: CancellationToken,
    ready: oneshot::Sender<pglens_data_plane::Bound>,
) -> Result<(), PlaneError> {
    let config = pglens_data_plane::Config::from_settings(&settings)?;
    Ok(Box::pin(pglens_data_plane::run(config, shutdown, ready)).await?)
}

pub(crate) fn control_plane_command() -> Command {
    let about = "Run a control plane: decisions, the record, REST and gRPC";
    Settings::command(CONTROL_PLANE, about, pglens_control_plane::SETTINGS).arg(stop_with_stdin())
}

pub(crate) fn data_plane_command() -> Command {
    let about = "Run a data plane: the proxy that PostgreSQL clients connect to";
    Settings::command(DATA_PLANE, about, pglens_data_plane::SETTINGS).arg(stop_with_stdin())
}

pub(crate) fn run_control_plane(matches: &ArgMatches) -> ExitCode {
    let settings = Settings::from_matches(pglens_control_plane::SETTINGS, matches);
    let with_stdin = matches.get_flag(STOP_WITH_STDIN);
    process::run("pglens control-plane", settings, |settings, shutdown| {
        belong_to_dev(with_stdin, &shutdown);
        let (ready, _nobody_waits) = oneshot::channel();
        serve_control_plane(settings, shutdown, ready)
    })
}

pub(crate) fn run_data_plane(matches: &ArgMatches) -> ExitCode {
    let settings = Settings::from_matches(pglens_data_plane::SETTINGS, matches);
    let with_stdin = matches.get_flag(STOP_WITH_STDIN);
    process::run("pglens data-plane", settings, |settings, shutdown| {
        belong_to_dev(with_stdin, &shutdown);
        let (ready, _nobody_waits) = oneshot::channel();
        serve_data_plane(settings, shutdown, ready)
    })
}

fn stop_with_stdin() -> Arg {
    Arg::new(STOP_WITH_STDIN)
        .long(STOP_WITH_STDIN)
        .action(ArgAction::SetTrue)
        .hide(true)
        .help("End in good order when standard input ends")
}

/// What is different for a plane that `pglens dev` started.
fn belong_to_dev(enabled: bool, shutdown: &CancellationToken) {
    if enabled {
        own_session();
        follow_stdin(shutdown);
    }
}

/// Ctrl-C reaches only who started us, and stops things in order. And the scheduler, which may share processors out by
/// sessions (sched(7), "The autogroup feature"), treats the planes as it does services: each has its own share.
fn own_session() {
    let _leads_one = setsid(); // refused to those who lead a group already, and so are not reached either
}

/// Standard input is a pipe whose other end closes with the process that started us, however that ends.
fn follow_stdin(shutdown: &CancellationToken) {
    let shutdown = shutdown.clone();
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().read(&mut rest), Ok(1..)) {}
        shutdown.cancel();
    });
}
