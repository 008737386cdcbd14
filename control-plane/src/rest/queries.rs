//! `/api/queries`.

use std::sync::Arc;

use pglens_core::QueryId;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{ErrorBody, QueryList};
use super::{authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::page::Paged;
use crate::service::queries::{self, Query, QueryDetail, QueryFilter, Row};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(list, fetch, list_rows))]
pub struct Doc;

/// A page of captured rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowList {
    /// Arrays in column order; lines of a COPY are arrays of one text.
    #[schema(value_type = Vec<Vec<Object>>)]
    pub rows: Vec<Row>,
    /// Where the next page starts; null on the last one.
    pub next_cursor: Option<String>,
}

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let all = warp::path!("api" / "queries");
    let one = warp::path!("api" / "queries" / Uuid).map(QueryId);
    let its_rows = warp::path!("api" / "queries" / Uuid / "rows").map(QueryId);
    let caller = authenticated(app);
    let list = all
        .and(warp::get())
        .and(caller.clone())
        .and(query())
        .then(async |app, caller, query: String| list(app, caller, query).await)
        .map(reply::list("queries"));
    let fetch = one
        .and(warp::get())
        .and(caller.clone())
        .then(async |id, app, caller| fetch(id, app, caller).await)
        .map(reply::ok);
    let rows = its_rows
        .and(warp::get())
        .and(caller)
        .and(query())
        .then(async |id, app, caller, query: String| list_rows(id, app, caller, query).await)
        .map(reply::ok);
    list.or(fetch).unify().or(rows).unify().boxed()
}

/// Lists statements, the newest first; for administrators.
#[utoipa::path(get, path = "/api/queries", tag = "queries",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
        ("connection_id" = Option<Uuid>, Query), ("user_id" = Option<i64>, Query),
        ("database_id" = Option<i64>, Query), ("grant_id" = Option<i64>, Query),
        ("from" = Option<String>, Query, description = "RFC 3339, included"),
        ("to" = Option<String>, Query, description = "RFC 3339, not included"),
        ("text" = Option<String>, Query, description = "Part of the statement's text, in any case"),
        ("sqlstate" = Option<String>, Query), ("refused" = Option<bool>, Query),
        ("min_duration_us" = Option<i64>, Query), ("min_rows" = Option<i64>, Query),
        ("fingerprint" = Option<String>, Query)),
    responses((status = 200, body = QueryList), (status = "4XX", body = ErrorBody)))]
async fn list(app: Arc<App>, caller: Caller, query: String) -> Result<Paged<Query>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    let filter = QueryFilter {
        connection_id: filters.value("connection_id")?,
        user_id: filters.value("user_id")?,
        database_id: filters.value("database_id")?,
        grant_id: filters.value("grant_id")?,
        from: filters.value("from")?,
        to: filters.value("to")?,
        text: filters.text("text"),
        sqlstate: filters.text("sqlstate"),
        refused: filters.value("refused")?,
        min_duration_us: filters.value("min_duration_us")?,
        min_rows: filters.value("min_rows")?,
        fingerprint: filters.text("fingerprint"),
    };
    filters.finish()?;
    queries::list(&app, &caller, &filter, &page).await
}

/// Shows a statement with its parameters and the first of its rows; for administrators, and recorded.
#[utoipa::path(get, path = "/api/queries/{id}", tag = "queries", params(("id" = Uuid, Path)),
    responses((status = 200, body = QueryDetail), (status = "4XX", body = ErrorBody)))]
async fn fetch(id: QueryId, app: Arc<App>, caller: Caller) -> Result<QueryDetail, ServiceError> {
    queries::fetch(&app, &caller, id).await
}

/// Lists the rows that were kept of a statement; for administrators, and recorded.
#[utoipa::path(get, path = "/api/queries/{id}/rows", tag = "queries",
    params(("id" = Uuid, Path), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = RowList), (status = "4XX", body = ErrorBody)))]
async fn list_rows(
    id: QueryId,
    app: Arc<App>,
    caller: Caller,
    query: String,
) -> Result<RowList, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    filters.finish()?;
    let paged = queries::list_rows(&app, &caller, id, &page).await?;
    Ok(RowList {
        rows: paged.items,
        next_cursor: paged.next_cursor,
    })
}
