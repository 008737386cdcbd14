//! The tables that tests read.

use pglens_e2e::Place;

const SCHEMA: &str = include_str!("sample.sql");

/// Makes the tables, directly.
pub(crate) async fn create(place: &Place) {
    place.target.execute(SCHEMA).await;
}
