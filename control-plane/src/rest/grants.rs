//! `/api/grants`.

use std::sync::Arc;

use pglens_core::GrantId;
use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{ErrorBody, GrantList};
use super::{any_of, authenticated, body, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::grants::{self, CreateGrant, Grant, GrantFilter};
use crate::service::page::Paged;

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(create, list, fetch, revoke))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let all = warp::path!("api" / "grants");
    let one = warp::path!("api" / "grants" / GrantId);
    let caller = authenticated(app);
    let create = all
        .and(warp::post())
        .and(caller.clone())
        .and(body::json())
        .then(async |app, caller, new| create(app, caller, new).await)
        .map(reply::created);
    let list = all
        .and(warp::get())
        .and(caller.clone())
        .and(query())
        .then(async |app, caller, query: String| list(app, caller, query).await)
        .map(reply::list("grants"));
    let fetch = one
        .and(warp::get())
        .and(caller.clone())
        .then(async |id, app, caller| fetch(id, app, caller).await)
        .map(reply::ok);
    let revoke = one
        .and(warp::delete())
        .and(caller)
        .then(async |id, app, caller| revoke(id, app, caller).await)
        .map(reply::ok);
    any_of([create.boxed(), list.boxed(), fetch.boxed(), revoke.boxed()])
}

/// Lets a user into a database for a time.
#[utoipa::path(post, path = "/api/grants", tag = "grants", request_body = CreateGrant,
    responses((status = 201, body = Grant), (status = "4XX", body = ErrorBody)))]
async fn create(app: Arc<App>, caller: Caller, new: CreateGrant) -> Result<Grant, ServiceError> {
    grants::create(&app, &caller, new).await
}

/// Lists grants by id; callers who are not administrators see their own.
#[utoipa::path(get, path = "/api/grants", tag = "grants",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query), ("user_id" = Option<i64>, Query),
        ("database_id" = Option<i64>, Query),
        ("status" = Option<String>, Query, description = "pending, active, expired or revoked")),
    responses((status = 200, body = GrantList), (status = "4XX", body = ErrorBody)))]
async fn list(app: Arc<App>, caller: Caller, query: String) -> Result<Paged<Grant>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    let filter = GrantFilter {
        user_id: filters.value("user_id")?,
        database_id: filters.value("database_id")?,
        status: filters.value("status")?,
    };
    filters.finish()?;
    grants::list(&app, &caller, filter, &page).await
}

/// Shows a grant.
#[utoipa::path(get, path = "/api/grants/{id}", tag = "grants", params(("id" = i64, Path)),
    responses((status = 200, body = Grant), (status = "4XX", body = ErrorBody)))]
async fn fetch(id: GrantId, app: Arc<App>, caller: Caller) -> Result<Grant, ServiceError> {
    grants::fetch(&app, &caller, id).await
}

/// Takes a grant back; its sessions end. Doing it again changes nothing.
#[utoipa::path(delete, path = "/api/grants/{id}", tag = "grants", params(("id" = i64, Path)),
    responses((status = 200, body = Grant), (status = "4XX", body = ErrorBody)))]
async fn revoke(id: GrantId, app: Arc<App>, caller: Caller) -> Result<Grant, ServiceError> {
    grants::revoke(&app, &caller, id).await
}
