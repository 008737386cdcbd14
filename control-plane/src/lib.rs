//! The control plane: decides who may open a session, keeps the record, and serves the administration API.

pub mod app;
pub mod background;
pub mod config;
pub mod crypto;
pub mod error;
pub mod feed;
pub mod fleet;
pub mod ingest;
pub mod maintenance;
pub mod metrics;
mod percent;
pub mod rest;
pub mod rpc;
mod run;
pub mod service;
pub mod storage;

pub use config::{Config, SETTINGS};
pub use error::RunError;
pub use run::{Bound, run};
