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
use super::{any_of, authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::page::Paged;
use crate::service::queries::download::download;
use crate::service::queries::{self, Query, QueryDetail, QueryFilter, Row, TableFormat};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(list, fetch, rows))]
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
        .and(warp::filters::header::optional("accept"))
        .and(query())
        .then(
            async |id, app, caller, accept: Option<String>, query: String| {
                let answered = rows(id, app, caller, accept.as_deref(), &query).await;
                answered.unwrap_or_else(|error| reply::failure(&error))
            },
        );
    any_of([list.boxed(), fetch.boxed(), rows.boxed()])
}

/// Lists statements; for administrators. A page with a cursor and fewer statements than its limit is where a long search
/// was cut short: it goes on from there.
#[utoipa::path(get, path = "/api/queries", tag = "queries",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
        ("order" = Option<String>, Query, description = "newest (the default) or oldest first"),
        ("connection_id" = Option<Uuid>, Query), ("user_id" = Option<i64>, Query),
        ("database_id" = Option<i64>, Query), ("grant_id" = Option<i64>, Query),
        ("from" = Option<String>, Query, description = "RFC 3339, included"),
        ("to" = Option<String>, Query, description = "RFC 3339, not included; also `until`"),
        ("text" = Option<String>, Query, description = "Part of the statement's text, in any case; also `q`"),
        ("sqlstate" = Option<String>, Query), ("refused" = Option<bool>, Query),
        ("min_duration_ms" = Option<i64>, Query), ("min_duration_us" = Option<i64>, Query),
        ("min_rows" = Option<i64>, Query), ("fingerprint" = Option<String>, Query)),
    responses((status = 200, body = QueryList), (status = "4XX", body = ErrorBody)))]
async fn list(app: Arc<App>, caller: Caller, query: String) -> Result<Paged<Query>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    let order = filters.order()?;
    let filter = read_filter(&mut filters)?;
    filters.finish()?;
    queries::list(&app, &caller, &filter, order, &page).await
}

/// The keys that narrow a list of statements.
fn read_filter(filters: &mut Filters) -> Result<QueryFilter, ServiceError> {
    let milliseconds: Option<i64> = filters.value("min_duration_ms")?;
    let min_duration_us: Option<i64> = filters.value("min_duration_us")?;
    if milliseconds.is_some() && min_duration_us.is_some() {
        let reason = "is given as min_duration_us as well";
        return Err(ServiceError::invalid("min_duration_ms", reason));
    }
    let in_us = milliseconds.map(|ms| ms.saturating_mul(1000));
    Ok(QueryFilter {
        connection_id: filters.value("connection_id")?,
        user_id: filters.value("user_id")?,
        database_id: filters.value("database_id")?,
        grant_id: filters.value("grant_id")?,
        from: filters.value("from")?,
        to: filters.either("to", "until")?,
        text: filters.either("text", "q")?,
        sqlstate: filters.text("sqlstate"),
        refused: filters.value("refused")?,
        min_duration_us: min_duration_us.or(in_us),
        min_rows: filters.value("min_rows")?,
        fingerprint: filters.text("fingerprint"),
    })
}

/// Shows a statement with its parameters and the first of its rows; for administrators, and recorded.
#[utoipa::path(get, path = "/api/queries/{id}", tag = "queries", params(("id" = Uuid, Path)),
    responses((status = 200, body = QueryDetail), (status = "4XX", body = ErrorBody)))]
async fn fetch(id: QueryId, app: Arc<App>, caller: Caller) -> Result<QueryDetail, ServiceError> {
    queries::fetch(&app, &caller, id).await
}

/// Lists the rows that were kept of a statement, or sends all of them as CSV or NDJSON; for administrators, and recorded.
#[utoipa::path(get, path = "/api/queries/{id}/rows", tag = "queries",
    params(("id" = Uuid, Path), ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
        ("format" = Option<String>, Query, description = "json (pages, the default), csv or ndjson (all rows); \
            the Accept header may say the same: text/csv, application/x-ndjson")),
    responses((status = 200, content((RowList = "application/json"), (String = "text/csv"),
        (String = "application/x-ndjson"))), (status = "4XX", body = ErrorBody)))]
async fn rows(
    id: QueryId,
    app: Arc<App>,
    caller: Caller,
    accept: Option<&str>,
    query: &str,
) -> Result<Response, ServiceError> {
    let mut filters = Filters::parse(query)?;
    let format = match filters.text("format").as_deref() {
        None => accepted(accept),
        Some("json") => None,
        Some("csv") => Some(TableFormat::Csv),
        Some("ndjson") => Some(TableFormat::Ndjson),
        Some(_) => {
            let reason = "must be json, csv or ndjson";
            return Err(ServiceError::invalid("format", reason));
        }
    };
    if let Some(format) = format {
        filters.finish()?;
        let pieces = download(&app, &caller, id, format).await?;
        return Ok(reply::download(
            content_type(format),
            file_name(id, format),
            pieces,
        ));
    }
    let page = filters.page()?;
    filters.finish()?;
    let paged = queries::list_rows(&app, &caller, id, &page).await?;
    Ok(reply::ok(Ok(RowList {
        rows: paged.items,
        next_cursor: paged.next_cursor,
    })))
}

/// The first of the formats that an Accept header names and that is one of ours; `None` is JSON.
fn accepted(accept: Option<&str>) -> Option<TableFormat> {
    let ranges = accept.unwrap_or_default().split(',');
    let mut types = ranges.map(|range| range.split(';').next().unwrap_or_default().trim());
    types.find_map(|name| match name {
        "text/csv" => Some(Some(TableFormat::Csv)),
        "application/x-ndjson" | "application/ndjson" => Some(Some(TableFormat::Ndjson)),
        "application/json" | "*/*" => Some(None),
        _ => None,
    })?
}

fn content_type(format: TableFormat) -> &'static str {
    match format {
        TableFormat::Csv => "text/csv; charset=utf-8; header=present",
        TableFormat::Ndjson => "application/x-ndjson",
    }
}

fn file_name(id: QueryId, format: TableFormat) -> String {
    format!("{id}.{}", format.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_chooses() {
        let check = |accept, expected| assert_eq!(accepted(accept), expected, "{accept:?}");
        check(None, None);
        check(Some("*/*"), None);
        check(Some("text/csv"), Some(TableFormat::Csv));
        check(
            Some("text/html, application/x-ndjson;q=0.9"),
            Some(TableFormat::Ndjson),
        );
        check(Some("application/json, text/csv"), None);
    }
}
