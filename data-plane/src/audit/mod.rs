//! The record as it is made: statements with their rows, and the outbox that keeps them until the control plane has
//! committed them.

pub(crate) mod batcher;
pub(crate) mod capture;
pub(crate) mod outbox;
pub(crate) mod recorder;

pub(crate) use outbox::{Outbox, Reservation};
pub(crate) use recorder::{Recorder, StatementFacts};
