//! `pglens.v1.Grants`.

use std::sync::Arc;

use pglens_core::{AccessLevel, AuditLevel, DatabaseId, GrantId, UserId};
use pglens_rpc::convert::{InvalidField, time, timestamp};
use pglens_rpc::v1;
use pglens_rpc::v1::grants_server::Grants;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::ServiceError;
use crate::rpc::{caller, non_empty, page};
use crate::service::grants::{self, CreateGrant, Grant, GrantFilter};
use crate::service::schedule::{Schedule, Window};

/// The service.
#[derive(Debug, Clone)]
pub struct GrantsApi(pub Arc<App>);

fn grant(grant: Grant) -> v1::GrantInfo {
    v1::GrantInfo {
        id: grant.id.0,
        user_id: grant.user_id.0,
        database_id: grant.database_id.0,
        access_level: v1::AccessLevel::from(grant.access_level).into(),
        starts_at: Some(timestamp(grant.starts_at)),
        expires_at: Some(timestamp(grant.expires_at)),
        max_queries: grant.max_queries,
        max_bytes: grant.max_bytes,
        block_copy: grant.block_copy,
        block_ddl: grant.block_ddl,
        statement_timeout_ms: grant.statement_timeout_ms,
        max_connections: grant.max_connections,
        audit_level: v1::AuditLevel::from(grant.audit_level).into(),
        reason: grant.reason,
        schedule: grant.schedule.map(schedule),
        queries_used: grant.queries_used,
        bytes_used: grant.bytes_used,
        status: grant.status.as_str().to_owned(),
        created_at: Some(timestamp(grant.created_at)),
        created_by: grant.created_by.0,
        revoked_at: grant.revoked_at.map(timestamp),
        revoked_by: grant.revoked_by.map_or(0, |id| id.0),
    }
}

fn schedule(schedule: Schedule) -> v1::Schedule {
    let window = |Window { days, from, until }| v1::ScheduleWindow { days, from, until };
    v1::Schedule {
        time_zone: schedule.time_zone,
        windows: schedule.windows.into_iter().map(window).collect(),
    }
}

fn new_schedule(schedule: v1::Schedule) -> Schedule {
    let window = |v1::ScheduleWindow { days, from, until }| Window { days, from, until };
    Schedule {
        time_zone: schedule.time_zone,
        windows: schedule.windows.into_iter().map(window).collect(),
    }
}

fn new_grant(request: v1::CreateGrantRequest) -> Result<CreateGrant, InvalidField> {
    let access_level = v1::AccessLevel::try_from(request.access_level)
        .map_err(|_| InvalidField::new("access_level", "is unknown"))?;
    let audit_level = match request.audit_level {
        0 => None,
        level => {
            let level = v1::AuditLevel::try_from(level)
                .map_err(|_| InvalidField::new("audit_level", "is unknown"))?;
            Some(AuditLevel::try_from(level)?)
        }
    };
    let expires_at = request
        .expires_at
        .ok_or_else(|| InvalidField::missing("expires_at"))?;
    Ok(CreateGrant {
        user_id: UserId(request.user_id),
        database_id: DatabaseId(request.database_id),
        access_level: AccessLevel::try_from(access_level)?,
        starts_at: request
            .starts_at
            .map(|at| time("starts_at", &at))
            .transpose()?,
        expires_at: time("expires_at", &expires_at)?,
        max_queries: request.max_queries,
        max_bytes: request.max_bytes,
        block_copy: request.block_copy,
        block_ddl: request.block_ddl,
        statement_timeout_ms: request.statement_timeout_ms,
        max_connections: request.max_connections,
        audit_level,
        schedule: request.schedule.map(new_schedule),
        reason: request.reason,
    })
}

#[tonic::async_trait]
impl Grants for GrantsApi {
    async fn create_grant(
        &self,
        request: Request<v1::CreateGrantRequest>,
    ) -> Result<Response<v1::GrantInfo>, Status> {
        let caller = caller(&self.0, &request).await?;
        let new = new_grant(request.into_inner())?;
        Ok(Response::new(grant(
            grants::create(&self.0, &caller, new).await?,
        )))
    }

    async fn list_grants(
        &self,
        request: Request<v1::ListGrantsRequest>,
    ) -> Result<Response<v1::ListGrantsResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let status = non_empty(request.status)
            .map(|status| status.parse())
            .transpose();
        let filter = GrantFilter {
            user_id: request.user_id.map(UserId),
            database_id: request.database_id.map(DatabaseId),
            status: status.map_err(|reason: &str| ServiceError::invalid("status", reason))?,
        };
        let page = page(request.limit, &request.cursor)?;
        let paged = grants::list(&self.0, &caller, filter, &page)
            .await?
            .map(grant);
        Ok(Response::new(v1::ListGrantsResponse {
            grants: paged.items,
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }

    async fn get_grant(
        &self,
        request: Request<v1::GetGrantRequest>,
    ) -> Result<Response<v1::GrantInfo>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = GrantId(request.into_inner().id);
        Ok(Response::new(grant(
            grants::fetch(&self.0, &caller, id).await?,
        )))
    }

    async fn revoke_grant(
        &self,
        request: Request<v1::RevokeGrantRequest>,
    ) -> Result<Response<v1::GrantInfo>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = GrantId(request.into_inner().id);
        Ok(Response::new(grant(
            grants::revoke(&self.0, &caller, id).await?,
        )))
    }
}
