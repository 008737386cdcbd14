//! `/api/proxies`.

use std::sync::Arc;

use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{ErrorBody, ProxyList};
use super::{authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::page::Paged;
use crate::service::proxies::{self, Proxy};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(list))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "proxies")
        .and(warp::get())
        .and(authenticated(app))
        .and(query())
        .then(async |app, caller, query: String| list(app, caller, query).await)
        .map(reply::list("proxies"))
        .boxed()
}

/// Lists the runs of proxies, the newest first; for administrators.
#[utoipa::path(get, path = "/api/proxies", tag = "proxies",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = ProxyList), (status = "4XX", body = ErrorBody)))]
async fn list(app: Arc<App>, caller: Caller, query: String) -> Result<Paged<Proxy>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    filters.finish()?;
    proxies::list(&app, &caller, &page).await
}
