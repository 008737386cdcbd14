//! The life of a process around a plane's `run`: settings, logs, signals, exit code.

use std::error::Error;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, LOG, LOG_FORMAT, Setting, Settings};
use crate::open_files;
use crate::shutdown::termination;
use crate::telemetry::{Chain, init_logging};

/// Exit code after a setting that cannot be used.
const EXIT_BAD_SETTING: u8 = 2;

/// An error that ends a process.
pub trait Fatal: Error {
    /// The setting at fault, if it was one.
    fn config_error(&self) -> Option<&ConfigError>;
}

impl Fatal for ConfigError {
    fn config_error(&self) -> Option<&ConfigError> {
        Some(self)
    }
}

/// Prints an error as one line on standard error; 2 is the code for a bad setting, 1 for anything else.
pub fn exit_code_for<E: Fatal>(name: &str, result: Result<(), E>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    match error.config_error() {
        Some(config) => {
            print_line(name, config);
            ExitCode::from(EXIT_BAD_SETTING)
        }
        None => {
            print_line(name, &error);
            ExitCode::FAILURE
        }
    }
}

/// Whatever the error holds, it stays on one line.
fn print_line(name: &str, error: &dyn Error) {
    let line = Chain(error).to_string().replace(['\n', '\r'], " ");
    eprintln!("{name}: {line}");
}

/// Reads the settings of `table` from the command line and the environment and runs `start` until it ends; its
/// token is cancelled by SIGTERM and SIGINT. `table` has [`LOG`] and [`LOG_FORMAT`].
pub fn main<F, Running, E>(
    name: &'static str,
    about: &'static str,
    table: &[Setting],
    start: F,
) -> ExitCode
where
    F: FnOnce(Settings, CancellationToken) -> Running,
    Running: Future<Output = Result<(), E>>,
    E: Fatal + From<ConfigError>,
{
    let matches = Settings::command(name, about, table).get_matches();
    run(name, Settings::from_matches(table, &matches), start)
}

/// As [`main`], with settings that were read already.
pub fn run<F, Running, E>(name: &str, settings: Settings, start: F) -> ExitCode
where
    F: FnOnce(Settings, CancellationToken) -> Running,
    Running: Future<Output = Result<(), E>>,
    E: Fatal + From<ConfigError>,
{
    if let Err(error) = init_logging_from(&settings) {
        return exit_code_for(name, Err(error));
    }
    if let Err(error) = open_files::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print_line(name, &error);
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let running = start(settings, shutdown.clone());
        let signalled = async {
            termination().await;
            tracing::info!("asked to stop");
            shutdown.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = running => result,
            () = signalled => Ok(()),
        }
    });
    // Threads that still block, in a name lookup for example, must not keep the process.
    runtime.shutdown_background();
    exit_code_for(name, result)
}

/// Starts logging as [`LOG`] and [`LOG_FORMAT`] say.
///
/// # Errors
/// When either cannot be understood.
pub fn init_logging_from(settings: &Settings) -> Result<(), ConfigError> {
    let format = settings.required(LOG_FORMAT.name, str::parse)?;
    settings.required(LOG.name, |filter| init_logging(filter, format))
}
