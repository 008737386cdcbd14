//! `/api/stats`.

use std::sync::Arc;

use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::ErrorBody;
use super::{authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::stats::{self, Stats, StatsQuery};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(fetch))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "stats")
        .and(warp::get())
        .and(authenticated(app))
        .and(query())
        .then(async |app, caller, query: String| fetch(app, caller, query).await)
        .map(reply::ok)
        .boxed()
}

/// Sums up what ran, in buckets of time; for administrators.
#[utoipa::path(get, path = "/api/stats", tag = "stats",
    params(("from" = Option<String>, Query, description = "RFC 3339, included; by default a day before `to`"),
        ("to" = Option<String>, Query, description = "RFC 3339, not included; by default now"),
        ("bucket" = Option<i64>, Query, description = "Seconds of a bucket, whole minutes; by default about a 96th of the time, whole hours if that is an hour or more"),
        ("top" = Option<u32>, Query, description = "Entries of each list of the greatest, 1 to 100; by default 10")),
    responses((status = 200, body = Stats), (status = "4XX", body = ErrorBody)))]
async fn fetch(app: Arc<App>, caller: Caller, query: String) -> Result<Stats, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let query = StatsQuery {
        from: filters.value("from")?,
        to: filters.either("to", "until")?,
        bucket: filters.value("bucket")?,
        top: filters.value("top")?,
    };
    filters.finish()?;
    stats::fetch(&app, &caller, query).await
}
