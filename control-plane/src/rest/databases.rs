//! `/api/databases`.

use std::sync::Arc;

use pglens_core::DatabaseId;
use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{DatabaseList, ErrorBody};
use super::{any_of, authenticated, body, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::databases::{self, CreateDatabase, Database, UpdateDatabase, VisibleDatabase};
use crate::service::page::Paged;
use crate::service::target_test::{self, DatabaseTest};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(create, list, fetch, update, delete, test))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let all = warp::path!("api" / "databases");
    let one = warp::path!("api" / "databases" / DatabaseId);
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
        .map(reply::list("databases"));
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
        .and(caller.clone())
        .then(async |id, app, caller| delete(id, app, caller).await)
        .map(reply::no_content);
    let test = warp::path!("api" / "databases" / DatabaseId / "test")
        .and(warp::post())
        .and(caller)
        .then(async |id, app, caller| test(id, app, caller).await)
        .map(reply::ok);
    any_of([
        create.boxed(),
        list.boxed(),
        fetch.boxed(),
        update.boxed(),
        delete.boxed(),
        test.boxed(),
    ])
}

/// Creates a database.
#[utoipa::path(post, path = "/api/databases", tag = "databases", request_body = CreateDatabase,
    responses((status = 201, body = Database), (status = "4XX", body = ErrorBody)))]
async fn create(
    app: Arc<App>,
    caller: Caller,
    new: CreateDatabase,
) -> Result<Database, ServiceError> {
    databases::create(&app, &caller, new).await
}

/// Lists databases by id; callers who are not administrators see the names of those they hold a grant for.
#[utoipa::path(get, path = "/api/databases", tag = "databases",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = DatabaseList), (status = "4XX", body = ErrorBody)))]
async fn list(
    app: Arc<App>,
    caller: Caller,
    query: String,
) -> Result<Paged<VisibleDatabase>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    filters.finish()?;
    databases::list(&app, &caller, &page).await
}

/// Shows a database.
#[utoipa::path(get, path = "/api/databases/{id}", tag = "databases", params(("id" = i64, Path)),
    responses((status = 200, body = VisibleDatabase), (status = "4XX", body = ErrorBody)))]
async fn fetch(
    id: DatabaseId,
    app: Arc<App>,
    caller: Caller,
) -> Result<VisibleDatabase, ServiceError> {
    databases::fetch(&app, &caller, id).await
}

/// Changes a database; absent fields stay as they are, null takes an optional one away.
#[utoipa::path(put, path = "/api/databases/{id}", tag = "databases", params(("id" = i64, Path)),
    request_body = UpdateDatabase, responses((status = 200, body = Database), (status = "4XX", body = ErrorBody)))]
async fn update(
    id: DatabaseId,
    app: Arc<App>,
    caller: Caller,
    change: UpdateDatabase,
) -> Result<Database, ServiceError> {
    databases::update(&app, &caller, id, change).await
}

/// Deletes a database: its sessions and grants end, its history stays.
#[utoipa::path(delete, path = "/api/databases/{id}", tag = "databases", params(("id" = i64, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
async fn delete(id: DatabaseId, app: Arc<App>, caller: Caller) -> Result<(), ServiceError> {
    databases::delete(&app, &caller, id).await
}

/// Tries the stored logins against the target.
#[utoipa::path(post, path = "/api/databases/{id}/test", tag = "databases", params(("id" = i64, Path)),
    responses((status = 200, body = DatabaseTest), (status = "4XX", body = ErrorBody)))]
async fn test(id: DatabaseId, app: Arc<App>, caller: Caller) -> Result<DatabaseTest, ServiceError> {
    target_test::test(&app, &caller, id).await
}
