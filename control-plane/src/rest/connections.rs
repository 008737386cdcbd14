//! `/api/connections`.

use std::sync::Arc;

use pglens_core::SessionId;
use utoipa::OpenApi;
use uuid::Uuid;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{ConnectionList, ErrorBody};
use super::{any_of, authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::connections::{self, Connection, ConnectionFilter};
use crate::service::page::Paged;

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(list, fetch, kill))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let all = warp::path!("api" / "connections");
    let one = warp::path!("api" / "connections" / Uuid).map(SessionId);
    let caller = authenticated(app);
    let list = all
        .and(warp::get())
        .and(caller.clone())
        .and(query())
        .then(async |app, caller, query: String| list(app, caller, query).await)
        .map(reply::list("connections"));
    let fetch = one
        .and(warp::get())
        .and(caller.clone())
        .then(async |id, app, caller| fetch(id, app, caller).await)
        .map(reply::ok);
    let kill = one
        .and(warp::delete())
        .and(caller)
        .then(async |id, app, caller| kill(id, app, caller).await)
        .map(reply::ok);
    any_of([list.boxed(), fetch.boxed(), kill.boxed()])
}

/// Lists connections; callers who are not administrators see their own.
#[utoipa::path(get, path = "/api/connections", tag = "connections",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
        ("order" = Option<String>, Query, description = "newest (the default) or oldest first"),
        ("user_id" = Option<i64>, Query),
        ("database_id" = Option<i64>, Query), ("grant_id" = Option<i64>, Query),
        ("active" = Option<bool>, Query, description = "true: open ones; false: ended ones"),
        ("from" = Option<String>, Query, description = "Begun then or later; RFC 3339"),
        ("to" = Option<String>, Query, description = "Begun before then; RFC 3339; also `until`"),
        ("proxy" = Option<String>, Query, description = "Name of the proxy"),
        ("client_address" = Option<String>, Query, description = "An IP address, without a port"),
        ("audit_complete" = Option<bool>, Query, description = "false: records of it may be missing")),
    responses((status = 200, body = ConnectionList), (status = "4XX", body = ErrorBody)))]
async fn list(
    app: Arc<App>,
    caller: Caller,
    query: String,
) -> Result<Paged<Connection>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    let order = filters.order()?;
    let filter = ConnectionFilter {
        user_id: filters.value("user_id")?,
        database_id: filters.value("database_id")?,
        grant_id: filters.value("grant_id")?,
        active: filters.value("active")?,
        from: filters.value("from")?,
        to: filters.either("to", "until")?,
        proxy: filters.text("proxy"),
        client_address: filters.value("client_address")?,
        audit_complete: filters.value("audit_complete")?,
    };
    filters.finish()?;
    connections::list(&app, &caller, filter, order, &page).await
}

/// Shows a connection.
#[utoipa::path(get, path = "/api/connections/{id}", tag = "connections", params(("id" = Uuid, Path)),
    responses((status = 200, body = Connection), (status = "4XX", body = ErrorBody)))]
async fn fetch(id: SessionId, app: Arc<App>, caller: Caller) -> Result<Connection, ServiceError> {
    connections::fetch(&app, &caller, id).await
}

/// Ends a connection; users who are not administrators may end their own.
#[utoipa::path(delete, path = "/api/connections/{id}", tag = "connections", params(("id" = Uuid, Path)),
    responses((status = 200, body = Connection), (status = "4XX", body = ErrorBody)))]
async fn kill(id: SessionId, app: Arc<App>, caller: Caller) -> Result<Connection, ServiceError> {
    connections::kill(&app, &caller, id).await
}
