//! Logins through proxies: who gets in, and what the others hear.

use chrono::{Duration, Utc};
use pglens_rpc::convert::timestamp;
use pglens_rpc::v1;
use pglens_rpc::v1::login_request::Step as Ask;
use pglens_rpc::v1::login_response::Step as Answer;
use pglens_testkit::TestPostgres;
use tonic::Code;

use crate::planes::Fleet;
use crate::proxies::{Client, Login, Proxy};
use crate::scene::{Scene, ann};

#[tokio::test]
async fn a_user_with_a_grant_gets_in_and_learns_where_to() {
    let mut scene = Scene::new().await;
    let grant_id = scene
        .grant(|grant| {
            grant.max_queries = Some(80_000);
            grant.block_copy = true;
        })
        .await;
    let allow = scene.proxy.allowed(&ann()).await;
    let grant = allow.grant.unwrap();
    assert_eq!((grant.id, allow.user_id), (grant_id, scene.user_id));
    assert_eq!(grant.access_level(), v1::AccessLevel::Read);
    assert!(grant.block_copy && !grant.block_ddl);
    assert!(
        (3_500_000..=3_600_000).contains(&grant.expires_in_ms),
        "{}",
        grant.expires_in_ms
    );
    let target = allow.target.unwrap();
    assert_eq!(
        (target.host.as_str(), target.port),
        ("db.example.com", 5432)
    );
    assert_eq!(target.username, "stored_login");
    assert_eq!(target.password, "stored-login-password");
    assert_eq!(allow.lease_ms, 15_000);
    let quota = allow.quota.unwrap();
    assert_eq!((quota.queries, quota.bytes), (Some(32), None));
    let held = scene.admin.grant(grant_id).await.queries_used;
    assert_eq!(held, 32);
}

#[tokio::test]
async fn read_grants_use_the_reader_and_the_highest_grant_counts() {
    let mut scene = Scene::new().await;
    scene
        .admin
        .databases
        .update_database(v1::UpdateDatabaseRequest {
            id: scene.database_id,
            read_username: Some("reader".to_owned()),
            read_password: Some("reader-password".to_owned()),
            ..Default::default()
        })
        .await
        .unwrap();
    scene.grant(|_| {}).await;
    let target = scene.proxy.allowed(&ann()).await.target.unwrap();
    assert_eq!(
        (target.username.as_str(), target.password.as_str()),
        ("reader", "reader-password")
    );

    let write = scene
        .grant(|grant| {
            grant.access_level = v1::AccessLevel::Write.into();
            grant.expires_at = Some(timestamp(Utc::now() + Duration::minutes(5)));
        })
        .await;
    let allow = scene.proxy.allowed(&ann()).await;
    assert_eq!(allow.grant.unwrap().id, write);
    assert_eq!(allow.target.unwrap().username, "stored_login");
}

#[tokio::test]
async fn without_the_right_password_everybody_hears_the_same_after_the_same_steps() {
    let mut scene = Scene::new().await;
    scene.grant(|_| {}).await;
    scene.admin.create_user("bob", "bob-password").await;
    let bob = scene
        .admin
        .users
        .list_users(v1::ListUsersRequest::default())
        .await
        .unwrap();
    let bob = bob
        .into_inner()
        .users
        .into_iter()
        .find(|user| user.username == "bob")
        .unwrap();
    let disable = v1::UpdateUserRequest {
        id: bob.id,
        is_disabled: Some(true),
        ..Default::default()
    };
    scene.admin.users.update_user(disable).await.unwrap();

    let long = "x".repeat(64);
    let mut heard = Vec::new();
    for (user, password) in [
        ("ann", "wrong"),
        ("nobody", "wrong"),
        ("bob", "bob-password"),
        (long.as_str(), "wrong"),
    ] {
        for client in [
            Client::new(user, password, "shop"),
            Client::new(user, password, "shop")
                .tls(b"")
                .password_in_clear(),
        ] {
            let by = client.method;
            let Login::Denied { deny, steps } = scene.proxy.login(&client).await else {
                panic!()
            };
            let message = deny.message.replace(user, "…");
            heard.push((by, deny.code, message, deny.detail, deny.hint, steps));
        }
    }
    let (scram, clear): (Vec<_>, Vec<_>) = heard
        .into_iter()
        .partition(|heard| heard.0 == v1::AuthMethod::ScramSha256);
    for heard in [scram, clear] {
        assert_eq!(heard[0].1, "authentication_failed");
        assert_eq!(heard[0].2, "password authentication failed for user \"…\"");
        assert!(heard.iter().all(|other| *other == heard[0]), "{heard:?}");
    }
    let reasons = scene.plane.fleet.refusals().await;
    let expected = [
        "wrong_password",
        "unknown_user",
        "user_disabled",
        "unknown_user",
    ];
    assert_eq!(reasons, expected.map(|reason| [reason, reason]).concat());
}

#[tokio::test]
async fn the_challenge_of_an_unknown_user_looks_like_one_of_a_user() {
    let scene = Scene::new().await;
    let mut challenges = Vec::new();
    for user in ["nobody", "nobody", "ann"] {
        let client = Client::new(user, "x", "shop");
        let mut login = scene.proxy.start_login(&client).await;
        let Answer::Authenticate(_) = login.next().await.unwrap() else {
            panic!()
        };
        let data = b"n,,n=,r=abcdefghijkl".to_vec();
        let mechanism = "SCRAM-SHA-256".to_owned();
        let initial = v1::SaslInitialResponse { mechanism, data };
        login
            .send(v1::login_request::Step::SaslInitial(initial))
            .await;
        let Answer::SaslContinue(challenge) = login.next().await.unwrap() else {
            panic!()
        };
        let text = String::from_utf8(challenge.data).unwrap();
        let (nonce, rest) = text.split_once(",s=").unwrap();
        challenges.push((nonce.len(), rest.to_owned()));
    }
    assert_eq!(challenges[0], challenges[1], "the salt stays the same");
    assert_eq!(challenges[0].0, challenges[2].0);
    assert_eq!(challenges[0].1.len(), challenges[2].1.len());
    assert!(challenges[2].1.ends_with(",i=4096") && challenges[0].1.ends_with(",i=4096"));
}

#[tokio::test]
async fn each_reason_behind_the_proof_has_its_words() {
    let mut scene = Scene::new().await;
    let mut expected = Vec::new();
    let no_grant = "no active grant for user \"ann\" on database \"shop\"";
    let hour = |hours: i64| Some(timestamp(Utc::now() + Duration::hours(hours)));

    let unknown = scene
        .proxy
        .denied(&Client::new("ann", "ann-password", "nowhere"))
        .await;
    let none = scene.proxy.denied(&ann()).await;
    assert_eq!(none.message, no_grant);
    assert_eq!(unknown.message.replace("nowhere", "shop"), none.message);
    assert_eq!(
        (unknown.code, unknown.detail, unknown.hint),
        (none.code, none.detail, none.hint)
    );
    expected.extend(["unknown_database", "no_grant"]);

    scene
        .grant(|grant| (grant.starts_at, grant.expires_at) = (hour(1), hour(2)))
        .await;
    let deny = scene.proxy.denied(&ann()).await;
    assert_eq!(
        (deny.code.as_str(), deny.message.as_str()),
        ("no_grant", no_grant)
    );
    assert!(deny.detail.contains(" starts at 20"), "{}", deny.detail);
    expected.push("grant_not_started");
    let storage = scene.plane.fleet.storage.connect().await;
    let shift =
        "update grants set starts_at = now() - interval '2 h', expires_at = now() - interval '1 h'";
    storage.batch_execute(shift).await.unwrap();
    let deny = scene.proxy.denied(&ann()).await;
    assert!(deny.detail.contains(" expired at 20"), "{}", deny.detail);
    expected.push("grant_expired");

    let id = scene.grant(|_| {}).await;
    scene
        .admin
        .grants
        .revoke_grant(v1::RevokeGrantRequest { id })
        .await
        .unwrap();
    let deny = scene.proxy.denied(&ann()).await;
    assert!(
        deny.detail.contains(" was revoked at 20"),
        "{}",
        deny.detail
    );
    expected.push("grant_revoked");

    let spent = scene.grant(|grant| grant.max_queries = Some(0)).await;
    let deny = scene.proxy.denied(&ann()).await;
    let detail = format!("All statements of grant {spent} are used.");
    assert_eq!((deny.code, deny.detail), ("quota_spent".to_owned(), detail));
    expected.push("quota_spent");

    let narrow = scene
        .grant(|grant| {
            grant.access_level = v1::AccessLevel::Write.into();
            grant.max_connections = Some(1);
        })
        .await;
    scene.proxy.allowed(&ann()).await;
    let deny = scene.proxy.denied(&ann()).await;
    let detail = format!("Grant {narrow} allows 1 at once, over all proxies.");
    assert_eq!(
        (deny.code, deny.detail),
        ("too_many_connections".to_owned(), detail)
    );
    expected.push("too_many_connections");
    assert_eq!(scene.plane.fleet.refusals().await, expected);
}

#[tokio::test]
async fn passwords_in_clear_and_tokens_are_taken_inside_tls_only() {
    let mut scene = Scene::new().await;
    scene.grant(|_| {}).await;
    let clear = ann().password_in_clear();
    assert_eq!(scene.proxy.denied(&clear).await.code, "unauthenticated");
    scene.proxy.allowed(&clear.clone().tls(b"")).await;

    let token = "pgl_0123456789abcdefghijklmnopqrstuvwxyz";
    let storage = scene.plane.fleet.storage.connect().await;
    let insert = "insert into tokens (user_id, kind, name, token_hash) values ($1, 'api', 't', sha256($2::text::bytea))";
    storage
        .execute(insert, &[&scene.user_id, &token])
        .await
        .unwrap();
    let with_token = Client {
        password: token.to_owned(),
        ..clear.tls(b"")
    };
    scene.proxy.allowed(&with_token).await;
    storage
        .batch_execute("update tokens set revoked_at = now()")
        .await
        .unwrap();
    assert_eq!(
        scene.proxy.denied(&with_token).await.code,
        "authentication_failed"
    );
}

#[tokio::test]
async fn channel_binding_is_offered_and_checked_inside_tls() {
    let mut scene = Scene::new().await;
    scene.grant(|_| {}).await;
    scene.proxy.allowed(&ann().tls(&[7; 32])).await;
    let client = ann().tls(&[7; 32]);
    let mut login = scene.proxy.start_login(&client).await;
    // The client binds to another certificate than the proxy has shown.
    let elsewhere = ann().tls(&[8; 32]);
    let Login::Denied { deny, .. } = login.finish(&elsewhere).await else {
        panic!()
    };
    assert_eq!(deny.code, "unauthenticated");
}

#[tokio::test]
async fn a_client_that_was_not_told_of_channel_binding_is_refused() {
    let mut scene = Scene::new().await;
    scene.grant(|_| {}).await;
    // "y": it could bind and believes that the server cannot. "n": it cannot.
    for (flag, code) in [("y", Some("unauthenticated")), ("n", None)] {
        let mut login = scene.proxy.start_login(&ann().tls(&[7; 32])).await;
        let Answer::Authenticate(offer) = login.next().await.unwrap() else {
            panic!()
        };
        assert_eq!(
            offer.sasl_mechanisms,
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
        );
        let first = v1::SaslInitialResponse {
            mechanism: "SCRAM-SHA-256".to_owned(),
            data: format!("{flag},,n=,r=rOprNGfwEbeRWgbNEkqO").into_bytes(),
        };
        login.send(Ask::SaslInitial(first)).await;
        let refused = match login.next().await.unwrap() {
            Answer::Deny(deny) => Some(deny.code),
            Answer::SaslContinue(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused.as_deref(), code, "{flag}");
    }
}

#[tokio::test]
async fn the_default_password_opens_the_api_only() {
    let storage = TestPostgres::shared().await.create_database().await;
    let plane = Fleet::new(storage)
        .start_plane_with(&[("PGL_ADMIN_PASSWORD", "")])
        .await;
    let proxy = Proxy::new(&plane, "proxy-1").await;
    let _attachment = proxy.attach().await;
    let deny = proxy.denied(&Client::new("admin", "admin", "shop")).await;
    assert_eq!(deny.code, "permission_denied");
    assert_eq!(
        deny.message,
        "user \"admin\" still has the default password"
    );
    assert_eq!(
        proxy.denied(&Client::new("admin", "x", "shop")).await.code,
        "authentication_failed"
    );
    assert_eq!(
        plane.fleet.refusals().await,
        ["default_password", "wrong_password"]
    );
}

#[tokio::test]
async fn only_a_run_of_the_proxy_itself_may_log_users_in() {
    let mut scene = Scene::new().await;
    scene.grant(|_| {}).await;
    let unattached = Proxy::new(&scene.plane, "proxy-2").await;
    let Login::Broken(status) = unattached.login(&ann()).await else {
        panic!()
    };
    assert_eq!(status.code(), Code::FailedPrecondition);
    let stolen = scene.proxy.over(&scene.plane, "proxy-2").await;
    let Login::Broken(status) = stolen.login(&ann()).await else {
        panic!()
    };
    assert_eq!(status.code(), Code::FailedPrecondition);
    let refused = stolen.try_attach(&[]).await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let nobody = Proxy {
        channel: scene.plane.channel(None).await,
        ..scene.proxy.clone()
    };
    let Login::Broken(status) = nobody.login(&ann()).await else {
        panic!()
    };
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn storage_that_is_gone_is_said_so() {
    let postgres = TestPostgres::start(&[]).await;
    let plane = Fleet::new(postgres.create_database().await)
        .start_plane()
        .await;
    let proxy = Proxy::new(&plane, "proxy-1").await;
    let _attachment = proxy.attach().await;
    postgres.stop().await;
    let deny = proxy.denied(&ann()).await;
    assert_eq!(deny.code, "control_plane_unavailable");
}
