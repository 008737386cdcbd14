//! Everything that passes between this proxy and the control planes, and what follows from it for sessions here.

pub(crate) mod activity;
pub(crate) mod allowed;
pub(crate) mod attach;
pub(crate) mod cancel;
pub(crate) mod channel;
pub(crate) mod lease;
pub(crate) mod login;
pub(crate) mod publish;
mod record_codec;
pub(crate) mod recover;
pub(crate) mod registry;
pub(crate) mod storage_clock;

pub(crate) use allowed::{Allowed, Target};
pub(crate) use cancel::CancelExchange;
pub(crate) use channel::ControlPlanes;
pub(crate) use lease::LeaseClock;
pub(crate) use registry::{Registration, Registry, SessionMessages};
pub(crate) use storage_clock::StorageClock;
