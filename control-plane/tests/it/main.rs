//! The control plane as a whole: real PostgreSQL below, real HTTP and gRPC around it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test helper that fails is the test failing"
)]

mod admin_grpc;
mod at_rest;
mod audit;
mod cancels;
mod capture;
mod collectors;
mod configuration;
mod databases;
mod downloads;
mod feed;
mod feed_trouble;
mod fleet;
mod grants;
mod journal;
mod lists;
mod live;
mod login;
mod openapi;
mod planes;
mod proxies;
mod quotas;
mod reading;
mod record;
mod records;
mod retention;
mod scene;
mod sessions;
mod settling;
mod storage_trouble;
mod streams;
mod sums;
mod support;
mod users;
mod watching;
