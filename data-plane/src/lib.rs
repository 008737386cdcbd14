//! The data plane: the proxy that clients connect to.
//!
//! It holds no database and no key. Who may come in, and with which login to which target, is the control plane's
//! decision, made anew for every session; what was done is recorded here and kept until the control plane has it.

mod audit;
mod clock;
mod config;
mod control;
mod listener;
#[doc(hidden)]
pub mod measure;
mod metrics;
mod net;
mod policy;
mod reload;
mod run;
mod runtime_thread;
mod session;
mod session_threads;
mod tls;
mod upstream;

pub use config::{Config, SETTINGS};
pub use run::{Bound, RunError, run};
