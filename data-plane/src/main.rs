//! The data plane as a process of its own.

use std::process::ExitCode;

use pglens_data_plane::{Config, SETTINGS, run};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    pglens_runtime::process::main(
        "pglens-data-plane",
        "The PgLens proxy that PostgreSQL clients connect to",
        SETTINGS,
        |settings, shutdown| async move {
            let config = Config::from_settings(&settings)?;
            let (ready, _where) = oneshot::channel();
            run(config, shutdown, ready).await
        },
    )
}
