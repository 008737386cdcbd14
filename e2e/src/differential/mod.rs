//! The differential engine: a scripted session is run at the target itself and through the proxy, and the bytes the
//! server answered must be the same but for the fields that [`normal`] lists.
//!
//! `script` reads sessions, `encode` turns their steps into messages, `peer` plays them over a raw socket, `normal`
//! makes answers comparable, `random` makes sessions up, `outcome` tells from the answers what must have been recorded.

pub mod compare;
pub mod encode;
mod lines;
pub mod login;
pub mod normal;
pub mod outcome;
pub mod peer;
pub mod random;
pub mod script;

pub use compare::difference;
pub use outcome::{Outcome, outcomes};
pub use peer::{Answer, Pace, Played, play};
pub use script::{Session, Step};
