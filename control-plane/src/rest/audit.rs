//! `/api/audit`.

use std::sync::Arc;

use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{AuditList, ErrorBody};
use super::{authenticated, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::audit::{self, AuditEvent, AuditFilter};
use crate::service::caller::Caller;
use crate::service::page::Paged;

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(list))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "audit")
        .and(warp::get())
        .and(authenticated(app))
        .and(query())
        .then(async |app, caller, query: String| list(app, caller, query).await)
        .map(reply::list("events"))
        .boxed()
}

/// Lists audit events, the newest first; for administrators.
#[utoipa::path(get, path = "/api/audit", tag = "audit",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query), ("action" = Option<String>, Query),
        ("subject_type" = Option<String>, Query), ("subject_id" = Option<String>, Query),
        ("actor_id" = Option<i64>, Query),
        ("from" = Option<String>, Query, description = "RFC 3339, included"),
        ("to" = Option<String>, Query, description = "RFC 3339, not included")),
    responses((status = 200, body = AuditList), (status = "4XX", body = ErrorBody)))]
async fn list(
    app: Arc<App>,
    caller: Caller,
    query: String,
) -> Result<Paged<AuditEvent>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    let filter = AuditFilter {
        action: filters.text("action"),
        subject_type: filters.text("subject_type"),
        subject_id: filters.text("subject_id"),
        actor_id: filters.value("actor_id")?,
        from: filters.value("from")?,
        to: filters.value("to")?,
    };
    filters.finish()?;
    audit::list(&app, &caller, &filter, &page).await
}
