//! The administration API over gRPC: the functions of [`crate::service`], with conversions at the edge.

pub mod databases;
pub mod grants;
pub mod observability;
pub mod users;
