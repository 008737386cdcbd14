//! `pglens.v1.Users`.

use std::sync::Arc;

use pglens_core::UserId;
use pglens_rpc::convert::timestamp;
use pglens_rpc::v1;
use pglens_rpc::v1::users_server::Users;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::rpc::{caller, page};
use crate::service::users::{self, CreateUser, UpdateUser, User};

/// The service.
#[derive(Debug, Clone)]
pub struct UsersApi(pub Arc<App>);

fn user(user: User) -> v1::User {
    v1::User {
        id: user.id.0,
        username: user.username,
        is_admin: user.is_admin,
        is_disabled: user.is_disabled,
        created_at: Some(timestamp(user.created_at)),
        updated_at: Some(timestamp(user.updated_at)),
    }
}

#[tonic::async_trait]
impl Users for UsersApi {
    async fn create_user(
        &self,
        request: Request<v1::CreateUserRequest>,
    ) -> Result<Response<v1::User>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let new = CreateUser {
            username: request.username,
            password: request.password.into(),
            is_admin: request.is_admin,
        };
        Ok(Response::new(user(
            users::create(&self.0, &caller, new).await?,
        )))
    }

    async fn list_users(
        &self,
        request: Request<v1::ListUsersRequest>,
    ) -> Result<Response<v1::ListUsersResponse>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let paged = users::list(&self.0, &caller, &page(request.limit, &request.cursor)?)
            .await?
            .map(user);
        Ok(Response::new(v1::ListUsersResponse {
            users: paged.items,
            next_cursor: paged.next_cursor.unwrap_or_default(),
        }))
    }

    async fn get_user(
        &self,
        request: Request<v1::GetUserRequest>,
    ) -> Result<Response<v1::User>, Status> {
        let caller = caller(&self.0, &request).await?;
        let id = UserId(request.into_inner().id);
        Ok(Response::new(user(
            users::fetch(&self.0, &caller, id).await?,
        )))
    }

    async fn update_user(
        &self,
        request: Request<v1::UpdateUserRequest>,
    ) -> Result<Response<v1::User>, Status> {
        let caller = caller(&self.0, &request).await?;
        let request = request.into_inner();
        let change = UpdateUser {
            password: request.password.map(Into::into),
            is_admin: request.is_admin,
            is_disabled: request.is_disabled,
        };
        Ok(Response::new(user(
            users::update(&self.0, &caller, UserId(request.id), change).await?,
        )))
    }

    async fn delete_user(
        &self,
        request: Request<v1::DeleteUserRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = caller(&self.0, &request).await?;
        users::delete(&self.0, &caller, UserId(request.into_inner().id)).await?;
        Ok(Response::new(()))
    }
}
