//! The gRPC server: the planes' contract for proxies with a client certificate, the administration API for people and
//! programs with credentials, both on one port, with reflection and health.

pub mod access;
pub mod admin;
pub mod events;
pub mod fleet;
pub mod identity;
pub mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use pglens_core::limits::{HEARTBEAT_INTERVAL, MAX_GRPC_MESSAGE_BYTES};
use pglens_rpc::FILE_DESCRIPTOR_SET;
use pglens_rpc::v1::access_server::AccessServer;
use pglens_rpc::v1::databases_server::DatabasesServer;
use pglens_rpc::v1::events_server::EventsServer;
use pglens_rpc::v1::fleet_server::FleetServer;
use pglens_rpc::v1::grants_server::GrantsServer;
use pglens_rpc::v1::observability_server::ObservabilityServer;
use pglens_rpc::v1::users_server::UsersServer;
use pglens_runtime::Readiness;
use tokio::net::TcpListener;
use tonic::Request;
use tonic::service::Routes;
use tonic::transport::{Error, Server};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::app::App;
use crate::error::ServiceError;
use crate::service::caller::{Caller, authenticate};
use crate::service::page::Page;
use access::AccessService;
use admin::databases::DatabasesApi;
use admin::grants::GrantsApi;
use admin::observability::ObservabilityApi;
use admin::users::UsersApi;
use events::EventsService;
use fleet::FleetService;
use tls::GrpcTls;

/// Together with the interval, a proxy whose machine vanished is noticed within 15 s.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the health service is brought in step with `/readyz`.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// A whole batch of records may be on its way, so that publishing does not wait for round trips.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Several streams of one proxy at once; also what one connection can make this process hold.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Streams on one connection: a proxy has one for each login in progress, and two besides.
const MAX_CONCURRENT_STREAMS: u32 = 4096;
/// Metadata is a credential and a few names.
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// Largest message of the administration API, as in REST.
pub const MAX_ADMIN_MESSAGE_BYTES: usize = 64 * 1024;

/// Serves until the app's shutdown token is cancelled and every stream has ended.
///
/// # Errors
/// When the server cannot go on.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    tls: Arc<GrpcTls>,
    readiness: Readiness,
) -> Result<(), Error> {
    let incoming = tls.accept(listener, app.shutdown.clone());
    let shutdown = app.shutdown.clone();
    let (health, routes) = routes(app).await;
    let served = Server::builder()
        .http2_keepalive_interval(Some(HEARTBEAT_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned());
    tokio::select! {
        served = served => served,
        never = report_health(health, readiness) => match never {},
    }
}

/// Keeps the health of the whole server ("") in step with `/readyz`; that of a service says that it exists.
async fn report_health(health: HealthReporter, readiness: Readiness) -> Infallible {
    loop {
        let status = match readiness.is_ready() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        health.set_service_status("", status).await;
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

/// Every service with its routes; those of the planes allow larger messages.
async fn routes(app: Arc<App>) -> (HealthReporter, Routes) {
    let (health, health_service) = tonic_health::server::health_reporter();
    let users = UsersServer::new(UsersApi(Arc::clone(&app)))
        .max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    let databases = DatabasesServer::new(DatabasesApi(Arc::clone(&app)))
        .max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    let grants = GrantsServer::new(GrantsApi(Arc::clone(&app)))
        .max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    let observability = ObservabilityServer::new(ObservabilityApi(Arc::clone(&app)))
        .max_decoding_message_size(MAX_ADMIN_MESSAGE_BYTES);
    let access = AccessServer::new(AccessService(Arc::clone(&app)))
        .max_decoding_message_size(access::MAX_MESSAGE_BYTES);
    let fleet = FleetServer::new(FleetService(Arc::clone(&app)))
        .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES);
    let events = EventsServer::new(EventsService(Arc::clone(&app)))
        .max_decoding_message_size(MAX_GRPC_MESSAGE_BYTES);
    health.set_serving::<AccessServer<AccessService>>().await;
    health.set_serving::<FleetServer<FleetService>>().await;
    health.set_serving::<EventsServer<EventsService>>().await;
    health.set_serving::<UsersServer<UsersApi>>().await;
    health.set_serving::<DatabasesServer<DatabasesApi>>().await;
    health.set_serving::<GrantsServer<GrantsApi>>().await;
    health
        .set_serving::<ObservabilityServer<ObservabilityApi>>()
        .await;
    let routes = Routes::new(health_service)
        .add_service(access)
        .add_service(fleet)
        .add_service(events);
    let routes = routes
        .add_service(users)
        .add_service(databases)
        .add_service(grants)
        .add_service(observability);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let routes = match reflection.build_v1() {
        Ok(service) => routes.add_service(service),
        Err(error) => {
            tracing::error!(%error, "reflection is not available");
            routes
        }
    };
    (health, routes)
}

/// The caller of an administration request: credentials in the `authorization` metadata, as in REST.
///
/// # Errors
/// When they are missing or wrong.
pub async fn caller<T>(app: &App, request: &Request<T>) -> Result<Caller, ServiceError> {
    let authorization = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let address = request
        .remote_addr()
        .map(|address| address.ip().to_canonical());
    authenticate(app, authorization, address).await
}

/// `limit` and `cursor` as proto3 sends them: 0 and the empty string stand for "not given".
///
/// # Errors
/// When either cannot be used.
pub fn page<K: std::str::FromStr>(limit: u32, cursor: &str) -> Result<Page<K>, ServiceError> {
    Page::new((limit != 0).then_some(limit), Some(cursor))
}

/// An optional text as proto3 sends it where the empty string stands for "not given".
#[must_use]
pub fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
