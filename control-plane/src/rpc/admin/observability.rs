//! `pglens.v1.Observability`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use pglens_core::{DatabaseId, GrantId, QueryId, SessionId, UserId};
use pglens_rpc::convert::{InvalidField, time, timestamp};
use pglens_rpc::v1;
use pglens_rpc::v1::observability_server::Observability;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::error::ServiceError;
use crate::rpc::{caller, non_empty, page};
use crate::service::audit::{self, AuditEvent, AuditFilter};
use crate::service::connections::{self, Connection, ConnectionFilter};
use crate::service::proxies::{self, Proxy};
use crate::service::queries::{self, Order, ParameterType, Query, QueryColumn, QueryFilter};

/// The service.
#[derive(Debug, Clone)]
pub struct ObservabilityApi(pub Arc<App>);

#[tonic::async_trait]
impl Observability for ObservabilityApi {
    async fn list_connections(
        &self,
        request: Request<v1::ListConnectionsRequest>,
    ) -> Result<Response<v1::ListConnectionsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let page = page(request.limit, &request.cursor)?;
        let order = order(request.oldest_first);
        let filter = connection_filter(request)?;
        let paged = connections::list(&self.0, &caller, filter, order, &page)
            .await?
            .map(connection);
        Ok(Response::new(v1::ListConnectionsResponse {
            connections: paged.items,
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }

    async fn get_connection(
        &self,
        request: Request<v1::GetConnectionRequest>,
    ) -> Result<Response<v1::Connection>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = SessionId(id(&request.get_ref().id)?);
        Ok(Response::new(connection(
            connections::fetch(&self.0, &caller, id).await?,
        )))
    }

    async fn kill_connection(
        &self,
        request: Request<v1::KillConnectionRequest>,
    ) -> Result<Response<v1::Connection>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = SessionId(id(&request.get_ref().id)?);
        Ok(Response::new(connection(
            connections::kill(&self.0, &caller, id).await?,
        )))
    }

    async fn list_queries(
        &self,
        request: Request<v1::ListQueriesRequest>,
    ) -> Result<Response<v1::ListQueriesResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let page = page(request.limit, &request.cursor)?;
        let order = order(request.oldest_first);
        let filter = query_filter(request)?;
        let paged = queries::list(&self.0, &caller, &filter, order, &page)
            .await?
            .map(query);
        Ok(Response::new(v1::ListQueriesResponse {
            queries: paged.items,
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }

    async fn get_query(
        &self,
        request: Request<v1::GetQueryRequest>,
    ) -> Result<Response<v1::Query>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = QueryId(id(&request.get_ref().id)?);
        let described = queries::describe(&self.0, &caller, id).await?;
        let parameters = described.parameters.values.iter();
        let types = described.parameters.types.into_iter();
        Ok(Response::new(v1::Query {
            columns: described
                .columns
                .into_iter()
                .flatten()
                .map(column)
                .collect(),
            parameters_json: parameters.map(|value| value.get().to_owned()).collect(),
            parameter_types: types.map(parameter_type).collect(),
            ..query(described.query)
        }))
    }

    async fn list_query_rows(
        &self,
        request: Request<v1::ListQueryRowsRequest>,
    ) -> Result<Response<v1::ListQueryRowsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let id = QueryId(id(&request.id)?);
        let page = page(request.limit, &request.cursor)?;
        let paged = queries::list_rows(&self.0, &caller, id, &page).await?;
        let rows = paged.items.iter();
        Ok(Response::new(v1::ListQueryRowsResponse {
            rows_json: rows.map(|row| row.get().to_owned()).collect(),
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }

    async fn list_audit_events(
        &self,
        request: Request<v1::ListAuditEventsRequest>,
    ) -> Result<Response<v1::ListAuditEventsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let page = page(request.limit, &request.cursor)?;
        let filter = AuditFilter {
            action: non_empty(request.action),
            subject_type: non_empty(request.subject_type),
            subject_id: non_empty(request.subject_id),
            actor_id: request.actor_id.map(UserId),
            from: None,
            to: None,
        };
        let paged = audit::list(&self.0, &caller, &filter, &page)
            .await?
            .map(audit_event);
        Ok(Response::new(v1::ListAuditEventsResponse {
            events: paged.items,
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }

    async fn list_proxies(
        &self,
        request: Request<v1::ListProxiesRequest>,
    ) -> Result<Response<v1::ListProxiesResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let page = page(request.limit, &request.cursor)?;
        let paged = proxies::list(&self.0, &caller, &page).await?.map(proxy);
        Ok(Response::new(v1::ListProxiesResponse {
            proxies: paged.items,
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }
}

fn id(text: &str) -> Result<Uuid, ServiceError> {
    text.parse()
        .map_err(|_| ServiceError::invalid("id", "is not a UUID"))
}

fn order(oldest_first: bool) -> Order {
    match oldest_first {
        true => Order::Oldest,
        false => Order::Newest,
    }
}

fn instant(
    field: &'static str,
    at: Option<&prost_types::Timestamp>,
) -> Result<Option<DateTime<Utc>>, InvalidField> {
    at.map(|at| time(field, at)).transpose()
}

fn query_filter(request: v1::ListQueriesRequest) -> Result<QueryFilter, ServiceError> {
    let connection_id = non_empty(request.connection_id).map(|id| {
        id.parse()
            .map_err(|_| ServiceError::invalid("connection_id", "is not a UUID"))
    });
    // More than storage can hold is more than anything stored.
    let least = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(QueryFilter {
        connection_id: connection_id.transpose()?,
        user_id: request.user_id.map(UserId),
        database_id: request.database_id.map(DatabaseId),
        grant_id: request.grant_id.map(GrantId),
        from: instant("from", request.from.as_ref())?,
        to: instant("to", request.to.as_ref())?,
        text: non_empty(request.text),
        sqlstate: non_empty(request.sqlstate),
        refused: request.refused,
        min_duration_us: request.min_duration_us.map(least),
        min_rows: request.min_rows.map(least),
        fingerprint: non_empty(request.fingerprint),
    })
}

fn connection_filter(
    request: v1::ListConnectionsRequest,
) -> Result<ConnectionFilter, ServiceError> {
    let client_address = non_empty(request.client_address).map(|address| {
        address
            .parse()
            .map_err(|_| ServiceError::invalid("client_address", "is not an IP address"))
    });
    Ok(ConnectionFilter {
        user_id: request.user_id.map(UserId),
        database_id: request.database_id.map(DatabaseId),
        grant_id: request.grant_id.map(GrantId),
        active: request.active,
        from: instant("from", request.from.as_ref())?,
        to: instant("to", request.to.as_ref())?,
        proxy: non_empty(request.proxy),
        client_address: client_address.transpose()?,
        audit_complete: request.audit_complete,
    })
}

fn connection(connection: Connection) -> v1::Connection {
    v1::Connection {
        id: connection.id.to_string(),
        user_id: connection.user_id,
        username: connection.username,
        database_id: connection.database_id,
        database: connection.database,
        grant_id: connection.grant_id,
        client_address: connection.client_address,
        application_name: connection.application_name,
        tls_version: connection.tls_version.unwrap_or_default(),
        proxy: connection.proxy,
        started_at: Some(timestamp(connection.started_at)),
        ended_at: connection.ended_at.map(timestamp),
        end_reason: connection.end_reason.unwrap_or_default(),
        sqlstate: connection.sqlstate.unwrap_or_default(),
        audit_complete: connection.audit_complete,
        query_count: count(connection.query_count),
        bytes_in: count(connection.bytes_in),
        bytes_out: count(connection.bytes_out),
    }
}

fn query(query: Query) -> v1::Query {
    v1::Query {
        id: query.id.to_string(),
        connection_id: query.connection_id.to_string(),
        user_id: query.user_id,
        database_id: query.database_id,
        grant_id: query.grant_id,
        sequence: count(query.sequence),
        sql: query.sql,
        kind: query.kind,
        fingerprint: query.fingerprint.unwrap_or_default(),
        started_at: Some(timestamp(query.started_at)),
        first_row_us: query.first_row_us.map(count),
        duration_us: query.duration_us.map(count),
        row_count: count(query.row_count),
        bytes_in: count(query.bytes_in),
        bytes_out: count(query.bytes_out),
        command_tag: query.command_tag.unwrap_or_default(),
        sqlstate: query.sqlstate.unwrap_or_default(),
        error_message: query.error_message.unwrap_or_default(),
        refusal: query.refusal.unwrap_or_default(),
        transaction_status: query.transaction_status.unwrap_or_default(),
        rows_truncated: query.rows_truncated,
        result_digest: query.result_digest.unwrap_or_default(),
        captured_rows: count(query.captured_rows),
        captured_bytes: count(query.captured_bytes),
        rows_recorded: query.rows_recorded,
        rows_dropped: query.rows_dropped,
        columns: Vec::new(),
        parameters_json: Vec::new(),
        parameter_types: Vec::new(),
        username: query.username.unwrap_or_default(),
        database: query.database.unwrap_or_default(),
    }
}

fn column(column: QueryColumn) -> v1::QueryColumn {
    v1::QueryColumn {
        name: column.name,
        type_oid: column.type_oid,
        type_name: column.type_name.unwrap_or_default(),
    }
}

fn parameter_type(parameter: ParameterType) -> v1::ParameterType {
    v1::ParameterType {
        type_oid: parameter.type_oid,
        type_name: parameter.type_name.unwrap_or_default(),
        value_bytes: parameter.value_bytes,
        value_digest: parameter.value_digest.unwrap_or_default(),
    }
}

fn audit_event(event: AuditEvent) -> v1::AuditEvent {
    let json = |value: Option<serde_json::Value>| {
        value.map_or_else(String::new, |value| value.to_string())
    };
    v1::AuditEvent {
        id: event.id,
        at: Some(timestamp(event.at)),
        actor_id: event.actor_id.unwrap_or_default(),
        actor: event.actor,
        action: event.action,
        subject_type: event.subject_type,
        subject_id: event.subject_id,
        before_json: json(event.before),
        after_json: json(event.after),
        client_address: event.client_address.unwrap_or_default(),
    }
}

fn proxy(proxy: Proxy) -> v1::Proxy {
    v1::Proxy {
        run_id: proxy.run_id.to_string(),
        name: proxy.name,
        hostname: proxy.hostname,
        version: proxy.version,
        started_at: Some(timestamp(proxy.started_at)),
        last_seen_at: Some(timestamp(proxy.last_seen_at)),
        status: proxy.status.as_str().to_owned(),
        clock_skew_ms: proxy.clock_skew_ms,
        active_sessions: u32::try_from(proxy.active_sessions).unwrap_or(u32::MAX),
        committed_sequence: count(proxy.committed_sequence),
    }
}

/// The schema keeps counts from being negative.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
