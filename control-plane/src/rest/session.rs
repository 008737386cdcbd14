//! `/api/login`, `/api/logout`, `/api/me`.

use std::net::IpAddr;
use std::sync::Arc;

use utoipa::OpenApi;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::openapi::ErrorBody;
use super::{any_of, authenticated, body, client_address, reply, with};
use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::Caller;
use crate::service::tokens::{self, LoggedIn, Login};
use crate::service::users::{self, User};

/// This part of the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(login, logout, me))]
pub struct Doc;

/// The routes.
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let login = warp::path!("api" / "login")
        .and(warp::post())
        .and(with(app))
        .and(client_address())
        .and(body::json())
        .then(async |app, address, given| login(app, address, given).await)
        .map(reply::ok);
    let logout = warp::path!("api" / "logout")
        .and(warp::post())
        .and(authenticated(app))
        .then(async |app, caller| logout(app, caller).await)
        .map(reply::no_content);
    let me = warp::path!("api" / "me")
        .and(warp::get())
        .and(authenticated(app))
        .then(async |app, caller| me(app, caller).await)
        .map(reply::ok);
    any_of([login.boxed(), logout.boxed(), me.boxed()])
}

/// Exchanges name and password for a bearer token that is good for some hours.
#[utoipa::path(post, path = "/api/login", tag = "session", request_body = Login, security(()),
    responses((status = 200, body = LoggedIn), (status = "4XX", body = ErrorBody)))]
async fn login(
    app: Arc<App>,
    address: Option<IpAddr>,
    given: Login,
) -> Result<LoggedIn, ServiceError> {
    tokens::login(&app, given, address).await
}

/// Ends the session whose token the request carries.
#[utoipa::path(post, path = "/api/logout", tag = "session",
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
async fn logout(app: Arc<App>, caller: Caller) -> Result<(), ServiceError> {
    tokens::logout(&app, &caller).await
}

/// Shows who is asking.
#[utoipa::path(get, path = "/api/me", tag = "session",
    responses((status = 200, body = User), (status = "4XX", body = ErrorBody)))]
async fn me(app: Arc<App>, caller: Caller) -> Result<User, ServiceError> {
    users::fetch(&app, &caller, caller.user_id).await
}
