//! The administration API over gRPC: the same rules as REST, reflection and health.

use pglens_rpc::v1;
use pglens_rpc::v1::databases_client::DatabasesClient;
use pglens_rpc::v1::grants_client::GrantsClient;
use pglens_rpc::v1::users_client::UsersClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic::{Code, Request};

use crate::support::{ADMIN_PASSWORD, Plane, basic};

async fn channel(plane: &Plane) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(plane.authority.ca_pem()))
        .domain_name("localhost");
    let endpoint = Channel::from_shared(format!("https://{}", plane.bound.grpc)).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

fn by<T>(authorization: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", authorization.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rules_as_rest() {
    let plane = Plane::start().await;
    let channel = channel(&plane).await;
    let admin = basic("admin", ADMIN_PASSWORD);
    let mut users = UsersClient::new(channel.clone());
    let new = v1::CreateUserRequest {
        username: "ann".into(),
        password: "ann secret".into(),
        is_admin: false,
    };
    let refused = users
        .create_user(Request::new(new.clone()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let ann = users
        .create_user(by(&admin, new.clone()))
        .await
        .unwrap()
        .into_inner();
    let again = users.create_user(by(&admin, new)).await.unwrap_err();
    assert_eq!(
        (
            again.code(),
            again
                .metadata()
                .get("pglens-error-code")
                .unwrap()
                .as_bytes()
        ),
        (Code::AlreadyExists, &b"already_exists"[..])
    );
    assert_eq!(
        plane.get(&format!("/api/users/{}", ann.id)).await["username"],
        "ann"
    );
    let listed = users
        .list_users(by(
            &admin,
            v1::ListUsersRequest {
                limit: 1,
                cursor: String::new(),
            },
        ))
        .await;
    let listed = listed.unwrap().into_inner();
    assert_eq!(
        (listed.users.len(), listed.next_cursor.is_empty()),
        (1, false)
    );

    let mut databases = DatabasesClient::new(channel.clone());
    let new = v1::CreateDatabaseRequest {
        name: "orders".into(),
        host: "db.invalid".into(),
        database_name: "app".into(),
        username: "stored".into(),
        password: "hunter2".into(),
        ..Default::default()
    };
    let database = databases
        .create_database(by(&admin, new))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (database.port, database.ssl_mode()),
        (5432, v1::SslMode::Prefer)
    );

    let mut grants = GrantsClient::new(channel);
    let new = v1::CreateGrantRequest {
        user_id: ann.id,
        database_id: database.id,
        access_level: v1::AccessLevel::Read.into(),
        expires_at: Some(pglens_rpc::convert::timestamp(
            "2090-01-01T00:00:00Z".parse().unwrap(),
        )),
        ..Default::default()
    };
    let unspecified = v1::CreateGrantRequest {
        access_level: 0,
        ..new.clone()
    };
    let refused = grants
        .create_grant(by(&admin, unspecified))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "field access_level: is unspecified")
    );
    let grant = grants
        .create_grant(by(&admin, new))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(grant.status, "active");
    let own = basic("ann", "ann secret");
    let refused = grants
        .revoke_grant(by(&own, v1::RevokeGrantRequest { id: grant.id }))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let revoked = grants
        .revoke_grant(by(&admin, v1::RevokeGrantRequest { id: grant.id }))
        .await
        .unwrap();
    assert_eq!(revoked.into_inner().status, "revoked");
    // The address in the event is that of the TLS connection.
    assert_eq!(
        plane.last_event("grant.revoked").await["client_address"],
        "127.0.0.1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_and_health_need_no_credentials() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let plane = Plane::start().await;
    let channel = channel(&plane).await;
    let request = tonic_health::pb::HealthCheckRequest {
        service: "pglens.v1.Users".into(),
    };
    let health = HealthClient::new(channel.clone())
        .check(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        health.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );

    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        unreachable!("the answer is a list of services");
    };
    let names: Vec<&str> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in [
        "pglens.v1.Users",
        "pglens.v1.Databases",
        "pglens.v1.Grants",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
}
