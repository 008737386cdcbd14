//! `/api/tokens`.

use std::sync::Arc;

use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::filters::{Filters, query};
use super::openapi::{ErrorBody, TokenList};
use super::{any_of, authenticated, body, reply};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::page::Paged;
use crate::service::tokens::{self, CreateToken, CreatedToken, Token, TokenId};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(create, list, revoke))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let all = warp::path!("api" / "tokens");
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
        .map(reply::list("tokens"));
    let revoke = warp::path!("api" / "tokens" / i64)
        .and(warp::delete())
        .and(caller)
        .then(async |id, app, caller| revoke(id, app, caller).await)
        .map(reply::no_content);
    any_of([create.boxed(), list.boxed(), revoke.boxed()])
}

/// Creates an API token for the caller. The answer is the only one that shows it.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, body = CreatedToken), (status = "4XX", body = ErrorBody)))]
async fn create(
    app: Arc<App>,
    caller: Caller,
    new: CreateToken,
) -> Result<CreatedToken, ServiceError> {
    tokens::create(&app, &caller, new).await
}

/// Lists the caller's API tokens by id; administrators may ask for those of another user.
#[utoipa::path(get, path = "/api/tokens", tag = "tokens",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query), ("user_id" = Option<i64>, Query)),
    responses((status = 200, body = TokenList), (status = "4XX", body = ErrorBody)))]
async fn list(app: Arc<App>, caller: Caller, query: String) -> Result<Paged<Token>, ServiceError> {
    let mut filters = Filters::parse(&query)?;
    let page = filters.page()?;
    let of = filters.value("user_id")?;
    filters.finish()?;
    tokens::list(&app, &caller, of, &page).await
}

/// Revokes an API token.
#[utoipa::path(delete, path = "/api/tokens/{id}", tag = "tokens", params(("id" = i64, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
async fn revoke(id: i64, app: Arc<App>, caller: Caller) -> Result<(), ServiceError> {
    tokens::revoke(&app, &caller, TokenId(id)).await
}
