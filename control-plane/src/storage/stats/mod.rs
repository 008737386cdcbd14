//! Sums over the record: kept while it is stored, read in buckets of time.

mod keep;
mod read;
mod span;

pub use keep::{Delta, add_in_txn};
pub use read::{
    Counts, SessionChanges, StatsBucket, StatsNow, TopDatabase, TopFingerprint, TopUser,
};
