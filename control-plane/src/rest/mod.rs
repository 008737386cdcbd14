//! The REST API: one file for each resource, each a filter, a function and the shared answers.
//!
//! [`authenticated`] is the only way to a [`Caller`]; [`body`] and [`filters`] are the only ways in for what callers send.

pub mod audit;
pub mod body;
pub mod connections;
pub mod databases;
pub mod filters;
pub mod grants;
pub mod openapi;
pub mod proxies;
pub mod queries;
pub mod reply;
pub mod route_table;
mod server;
pub mod session;
pub mod stats;
pub mod stream;
pub mod tokens;
pub mod users;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::reject::{Reject, Rejection};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::{Caller, authenticate};

pub use server::serve;

/// A request refused before its handler; becomes an answer in [`reply::recover`].
#[derive(Debug)]
pub struct Refused(pub ServiceError);

impl Reject for Refused {}

impl From<ServiceError> for Rejection {
    fn from(error: ServiceError) -> Self {
        warp::reject::custom(Refused(error))
    }
}

/// The peer of the connection a request came over.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Every route. What matches none of them is answered by [`reply::recover`].
#[must_use]
pub fn routes(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    any_of([
        users::routes(app),
        databases::routes(app),
        grants::routes(app),
        audit::routes(app),
        session::routes(app),
        tokens::routes(app),
        connections::routes(app),
        queries::routes(app),
        proxies::routes(app),
        stats::routes(app),
        stream::routes(app),
        openapi::routes(),
    ])
    .recover(reply::recover)
    .map(Reply::into_response)
    .boxed()
}

/// The first of `routes` that matches, in their order. Each is boxed: the type of a chain of them grows with every route,
/// and the time to compile it faster.
fn any_of<const N: usize>(routes: [BoxedFilter<(Response,)>; N]) -> BoxedFilter<(Response,)> {
    let nowhere = warp::any()
        .and_then(async || Err(warp::reject::not_found()))
        .boxed();
    routes
        .into_iter()
        .fold(nowhere, |one, other| one.or(other).unify().boxed())
}

/// Hands the app to a handler.
pub fn with(
    app: &Arc<App>,
) -> impl Filter<Extract = (Arc<App>,), Error = Infallible> + Clone + use<> {
    let app = Arc::clone(app);
    warp::any().map(move || Arc::clone(&app))
}

/// The address of the client, as the connection has it; IPv4 inside IPv6 is IPv4.
pub fn client_address() -> impl Filter<Extract = (Option<IpAddr>,), Error = Infallible> + Copy {
    warp::ext::optional::<Peer>()
        .map(|peer: Option<Peer>| peer.map(|Peer(peer)| peer.ip().to_canonical()))
}

/// The app, and who is asking; others go no further.
pub fn authenticated(app: &Arc<App>) -> BoxedFilter<(Arc<App>, Caller)> {
    with(app)
        .and(warp::filters::header::headers_cloned())
        .and(client_address())
        .and_then(async |app: Arc<App>, headers: http::HeaderMap, address| {
            let authorization = headers
                .get(http::header::AUTHORIZATION)
                .and_then(|value| value.to_str().ok());
            let caller = authenticate(&app, authorization, address).await?;
            Ok::<_, Rejection>((app, caller))
        })
        .untuple_one()
        .boxed()
}
