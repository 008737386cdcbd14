//! `pglens dev`: everything on this machine, in the foreground, with nothing to set up.
//!
//! A private PostgreSQL server holds the storage and a sample target. The planes are the ones of production and talk
//! as in production: gRPC with certificates on both sides. Users, databases and grants are made over REST, as a
//! person would.

mod api;
mod databases;
mod folder;
mod inside;
mod options;
mod ports;
mod processes;
mod ready;
mod stack;

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use pglens_pgserver::StartError;
use pglens_runtime::{ConfigError, Fatal, process, termination};
use tokio_util::sync::CancellationToken;

use crate::files::FileError;
use crate::planes::PlaneError;
use options::DevOptions;
use stack::Stack;

/// Why the stack did not start or did not go on. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Certificate(#[from] pglens_runtime::CertificateError),
    #[error(transparent)]
    Postgres(#[from] StartError),
    #[error("PostgreSQL ended by itself ({status}); its log is {log}")]
    PostgresEnded { status: String, log: String },
    #[error("{what}: {source}")]
    Database {
        what: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("the {plane} ended: {source}")]
    Plane {
        plane: &'static str,
        #[source]
        source: PlaneError,
    },
    #[error("the {plane} ended by itself")]
    PlaneEnded { plane: &'static str },
    #[error("cannot start the {plane}: {source}")]
    Spawn {
        plane: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} failed: {reason}")]
    Api { what: String, reason: String },
    #[error("{what} was not ready within {seconds} seconds: {reason}")]
    NotReady {
        what: String,
        seconds: u64,
        reason: String,
    },
}

impl Fatal for DevError {
    fn config_error(&self) -> Option<&ConfigError> {
        match self {
            Self::Config(error) => Some(error),
            Self::Plane { source, .. } => source.config_error(),
            _ => None,
        }
    }
}

pub(crate) fn command() -> Command {
    options::command()
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let (options, settings) = options::read(matches);
    process::run("pglens dev", settings, |settings, shutdown| {
        let options = DevOptions::new(options, &settings);
        async move { Box::pin(serve(options?, shutdown)).await }
    })
}

async fn serve(options: DevOptions, shutdown: CancellationToken) -> Result<(), DevError> {
    let started = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        started = Stack::start(options) => started,
    };
    let mut stack = started?;
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        error = stack.failed() => Err(error),
    };
    println!("Stopping ...");
    tokio::select! {
        () = stack.stop() => println!("Stopped."),
        // A second Ctrl-C: what is left is killed when the stack is dropped.
        () = termination() => println!("Stopped at once."),
    }
    ended
}
