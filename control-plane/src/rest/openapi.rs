//! `/api/openapi.json`, made from the handlers and types themselves, and `/api/docs`, a page that shows it.

use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::{
    any_of, audit, connections, databases, grants, proxies, queries, reply, session, stats, stream,
    tokens, users,
};
use crate::error::ServiceError;
use crate::service::audit::AuditEvent;
use crate::service::connections::Connection;
use crate::service::databases::VisibleDatabase;
use crate::service::grants::Grant;
use crate::service::proxies::Proxy;
use crate::service::queries::Query;
use crate::service::tokens::Token;
use crate::service::users::User;

/// The page of `/api/docs`; it fetches the document and needs nothing from elsewhere.
const DOCS_PAGE: &str = include_str!("docs.html");
/// The page runs its own script and style and talks to this server only.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong, for people.
    pub error: String,
    /// What went wrong, for programs: for example "invalid_argument".
    pub code: String,
    /// Facts about it: `{"field": …}` when a field is at fault.
    #[schema(value_type = Option<Object>)]
    pub details: Option<Value>,
}

macro_rules! list_schema {
    ($name:ident { $field:ident: $item:ty }) => {
        /// A page of a list.
        #[derive(Debug, Serialize, ToSchema)]
        pub struct $name {
            /// The items.
            pub $field: Vec<$item>,
            /// Where the next page starts; null on the last one.
            pub next_cursor: Option<String>,
        }
    };
}

list_schema!(UserList { users: User });
list_schema!(DatabaseList {
    databases: VisibleDatabase
});
list_schema!(GrantList { grants: Grant });
list_schema!(AuditList { events: AuditEvent });
list_schema!(TokenList { tokens: Token });
list_schema!(ConnectionList {
    connections: Connection
});
list_schema!(QueryList { queries: Query });
list_schema!(ProxyList { proxies: Proxy });

#[derive(OpenApi)]
#[openapi(
    info(title = "PgLens", description = "Access to PostgreSQL with grants, quotas and a full record.", license(name = "MIT OR Apache-2.0")),
    paths(document, docs),
    modifiers(&Credentials),
    security(("basic" = []), ("bearer" = [])),
)]
struct Base;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme(
            "basic",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)),
        );
        components.add_security_scheme(
            "bearer",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    }
}

/// The whole document.
#[must_use]
pub fn whole() -> utoipa::openapi::OpenApi {
    let mut whole = Base::openapi();
    for part in [
        session::Doc::openapi(),
        users::Doc::openapi(),
        databases::Doc::openapi(),
        grants::Doc::openapi(),
        tokens::Doc::openapi(),
        audit::Doc::openapi(),
        connections::Doc::openapi(),
        queries::Doc::openapi(),
        proxies::Doc::openapi(),
        stats::Doc::openapi(),
        stream::Doc::openapi(),
    ] {
        whole.merge(part);
    }
    whole
}

/// The routes.
#[must_use]
pub fn routes() -> BoxedFilter<(Response,)> {
    let document = warp::path!("api" / "openapi.json")
        .and(warp::get())
        .map(|| reply::ok(document()));
    let docs = warp::path!("api" / "docs").and(warp::get()).map(docs);
    any_of([document.boxed(), docs.boxed()])
}

/// Shows this document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "documentation", security(()), responses((status = 200)))]
fn document() -> Result<utoipa::openapi::OpenApi, ServiceError> {
    Ok(whole())
}

/// Shows this document to people.
#[utoipa::path(get, path = "/api/docs", tag = "documentation", security(()),
    responses((status = 200, content_type = "text/html")))]
fn docs() -> Response {
    let mut response = Response::new(DOCS_PAGE.into());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, DOCS_POLICY);
    response
}
