//! `/api/users`.

use std::sync::Arc;

use pglens_core::UserId;
use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{ErrorBody, UserList};
use super::{any_of, authenticated, body, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::page::Paged;
use crate::service::users::{self, CreateUser, UpdateUser, User};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(create, list, fetch, update, delete))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let all = warp::path!("api" / "users");
    let one = warp::path!("api" / "users" / UserId);
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
        .map(reply::list("users"));
    let fetch = one
        .and(warp::get())
        .and(caller.clone())
        .then(async |id, app, caller| fetch(id, app, caller).await)
        .map(reply::ok);
    let update = one
        .and(warp::put())
        .and(caller.clone())
        .and(body::json())
        .then(async |id, app, caller, change| update(id, app, caller, change).await)
        .map(reply::ok);
    let delete = one
        .and(warp::delete())
        .and(caller)
        .then(async |id, app, caller| delete(id, app, caller).await)
        .map(reply::no_content);
    any_of([
        create.boxed(),
        list.boxed(),
        fetch.boxed(),
        update.boxed(),
        delete.boxed(),
    ])
}

/// Creates a user.
#[utoipa::path(post, path = "/api/users", tag = "users", request_body = CreateUser,
    responses((status = 201, body = User), (status = "4XX", body = ErrorBody)))]
async fn create(app: Arc<App>, caller: Caller, new: CreateUser) -> Result<User, ServiceError> {
    users::create(&app, &caller, new).await
}

/// Lists users by id; callers who are not administrators see themselves.
#[utoipa::path(get, path = "/api/users", tag = "users",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = UserList), (status = "4XX", body = ErrorBody)))]
async fn list(app: Arc<App>, caller: Caller, query: String) -> Result<Paged<User>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    filters.finish()?;
    users::list(&app, &caller, &page).await
}

/// Shows a user.
#[utoipa::path(get, path = "/api/users/{id}", tag = "users", params(("id" = i64, Path)),
    responses((status = 200, body = User), (status = "4XX", body = ErrorBody)))]
async fn fetch(id: UserId, app: Arc<App>, caller: Caller) -> Result<User, ServiceError> {
    users::fetch(&app, &caller, id).await
}

/// Changes a user; absent fields stay as they are. Users may change their own password.
#[utoipa::path(put, path = "/api/users/{id}", tag = "users", params(("id" = i64, Path)), request_body = UpdateUser,
    responses((status = 200, body = User), (status = "4XX", body = ErrorBody)))]
async fn update(
    id: UserId,
    app: Arc<App>,
    caller: Caller,
    change: UpdateUser,
) -> Result<User, ServiceError> {
    users::update(&app, &caller, id, change).await
}

/// Deletes a user: its sessions, tokens and grants end, its history stays.
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", params(("id" = i64, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
async fn delete(id: UserId, app: Arc<App>, caller: Caller) -> Result<(), ServiceError> {
    users::delete(&app, &caller, id).await
}
