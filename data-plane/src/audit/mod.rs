//! The record as it is made: statements with their rows, and the spool that keeps them until the control plane has
//! committed them.

pub(crate) mod batcher;
pub(crate) mod capture;
mod columns;
mod digest;
mod encode;
pub(crate) mod folder;
pub(crate) mod frame;
mod notes;
pub(crate) mod outbox;
mod parameters;
mod query_id;
pub(crate) mod reader;
pub(crate) mod recorder;
pub(crate) mod replay;
mod statement;
pub(crate) mod window;
mod writer;

pub(crate) use columns::Columns;
pub(crate) use outbox::{Outbox, OutboxHold, Reservation};
pub(crate) use parameters::{Parameter, Parameters};
pub(crate) use recorder::Recorder;
pub(crate) use statement::{Said, StatementFacts, Text};
