//! What the control plane does, whichever protocol asked for it: REST and gRPC call the same functions.

pub mod audit;
pub mod body;
pub mod bootstrap;
pub mod caller;
pub mod captured;
pub mod connections;
pub mod databases;
pub mod grants;
pub mod login;
pub mod page;
pub mod proxies;
pub mod queries;
pub mod schedule;
pub mod stats;
pub mod target_test;
pub mod tokens;
pub mod users;
pub mod validate;
