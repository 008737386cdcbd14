//! `pglens.v1.Databases`.

use std::sync::Arc;

use pglens_core::{DatabaseId, SslMode};
use pglens_rpc::convert::{InvalidField, timestamp};
use pglens_rpc::v1;
use pglens_rpc::v1::databases_server::Databases;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::rpc::{caller, non_empty, page};
use crate::service::databases::{
    self, CreateDatabase, DEFAULT_PORT, Database, UpdateDatabase, VisibleDatabase,
};
use crate::service::target_test;

/// The service.
#[derive(Debug, Clone)]
pub struct DatabasesApi(pub Arc<App>);

fn full(database: Database) -> v1::Database {
    v1::Database {
        id: database.id.0,
        name: database.name,
        description: database.description,
        host: database.host,
        port: u32::from(database.port),
        database_name: database.database_name,
        username: database.username,
        ssl_mode: v1::SslMode::from(database.ssl_mode).into(),
        ssl_root_cert: database.ssl_root_cert.unwrap_or_default(),
        read_username: database.read_username.unwrap_or_default(),
        is_disabled: database.is_disabled,
        record_rows: database.record_rows,
        record_max_rows: database.record_max_rows,
        record_max_bytes: database.record_max_bytes,
        allowed_functions: database.allowed_functions,
        reader_can_write: database.reader_can_write,
        warning: database.warning.unwrap_or_default().to_owned(),
        created_at: Some(timestamp(database.created_at)),
        updated_at: Some(timestamp(database.updated_at)),
    }
}

fn visible(database: VisibleDatabase) -> v1::Database {
    match database {
        VisibleDatabase::Full(database) => full(*database),
        VisibleDatabase::Summary(summary) => v1::Database {
            id: summary.id.0,
            name: summary.name,
            description: summary.description,
            ..v1::Database::default()
        },
    }
}

/// 0 takes a limit of the database away.
fn none_for_zero(limit: i64) -> Option<i64> {
    Some(limit).filter(|limit| *limit != 0)
}

fn ssl_mode(value: i32) -> Result<SslMode, Status> {
    let known =
        v1::SslMode::try_from(value).map_err(|_| InvalidField::new("ssl_mode", "is unknown"))?;
    Ok(SslMode::try_from(known)?)
}

#[tonic::async_trait]
impl Databases for DatabasesApi {
    async fn create_database(
        &self,
        request: Request<v1::CreateDatabaseRequest>,
    ) -> Result<Response<v1::Database>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let new = CreateDatabase {
            name: request.name,
            description: request.description,
            host: request.host,
            port: if request.port == 0 {
                DEFAULT_PORT
            } else {
                i64::from(request.port)
            },
            database_name: request.database_name,
            username: request.username,
            password: request.password.into(),
            ssl_mode: match request.ssl_mode {
                0 => SslMode::Prefer,
                mode => ssl_mode(mode)?,
            },
            ssl_root_cert: non_empty(request.ssl_root_cert),
            read_username: non_empty(request.read_username),
            read_password: non_empty(request.read_password).map(Into::into),
            record_rows: request.record_rows.unwrap_or(true),
            record_max_rows: request.record_max_rows.filter(|limit| *limit != 0),
            record_max_bytes: request.record_max_bytes.filter(|limit| *limit != 0),
            allowed_functions: request.allowed_functions,
        };
        Ok(Response::new(full(
            databases::create(&self.0, &caller, new).await?,
        )))
    }

    async fn list_databases(
        &self,
        request: Request<v1::ListDatabasesRequest>,
    ) -> Result<Response<v1::ListDatabasesResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let paged = databases::list(&self.0, &caller, &page(request.limit, &request.cursor)?)
            .await?
            .map(visible);
        Ok(Response::new(v1::ListDatabasesResponse {
            databases: paged.items,
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }

    async fn get_database(
        &self,
        request: Request<v1::GetDatabaseRequest>,
    ) -> Result<Response<v1::Database>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = DatabaseId(request.into_inner().id);
        Ok(Response::new(visible(
            databases::fetch(&self.0, &caller, id).await?,
        )))
    }

    async fn update_database(
        &self,
        request: Request<v1::UpdateDatabaseRequest>,
    ) -> Result<Response<v1::Database>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let change = UpdateDatabase {
            description: request.description,
            host: request.host,
            port: request.port.map(i64::from),
            database_name: request.database_name,
            username: request.username,
            password: request.password.map(Into::into),
            ssl_mode: request.ssl_mode.map(ssl_mode).transpose()?,
            ssl_root_cert: request.ssl_root_cert,
            read_username: request.read_username,
            read_password: request.read_password.map(Into::into),
            record_rows: request.record_rows,
            record_max_rows: request.record_max_rows.map(none_for_zero),
            record_max_bytes: request.record_max_bytes.map(none_for_zero),
            is_disabled: request.is_disabled,
            allowed_functions: request.allowed_functions.map(|allowed| allowed.names),
        };
        Ok(Response::new(full(
            databases::update(&self.0, &caller, DatabaseId(request.id), change).await?,
        )))
    }

    async fn delete_database(
        &self,
        request: Request<v1::DeleteDatabaseRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = caller(&self.0, &request).await?;
        databases::delete(&self.0, &caller, DatabaseId(request.into_inner().id)).await?;
        Ok(Response::new(()))
    }

    async fn test_database(
        &self,
        request: Request<v1::TestDatabaseRequest>,
    ) -> Result<Response<v1::TestDatabaseResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let tested =
            target_test::test(&self.0, &caller, DatabaseId(request.into_inner().id)).await?;
        let logins = tested.logins.into_iter().map(|login| v1::LoginTest {
            login: login.login.to_owned(),
            ok: login.ok,
            error: login.error.unwrap_or_default(),
            server_version: login.server_version.unwrap_or_default(),
            tls: login.tls,
            is_superuser: login.is_superuser,
            latency_us: login.latency_us,
            can_write: login.can_write,
        });
        Ok(Response::new(v1::TestDatabaseResponse {
            logins: logins.collect(),
            advice: tested.advice.unwrap_or_default(),
        }))
    }
}
