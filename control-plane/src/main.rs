//! The control plane as a process of its own.

use std::process::ExitCode;

use pglens_control_plane::{Config, RunError, SETTINGS};
use pglens_runtime::process;

fn main() -> ExitCode {
    let about = "Decides who may open a session, keeps the record, and serves the administration API of PgLens";
    process::main(
        "pglens-control-plane",
        about,
        SETTINGS,
        |settings, shutdown| async move {
            let config = Config::from_settings(&settings)?;
            // Nobody in this process waits for the addresses.
            let (ready, _) = tokio::sync::oneshot::channel();
            Box::pin(pglens_control_plane::run(config, shutdown, ready)).await
                as Result<(), RunError>
        },
    )
}
