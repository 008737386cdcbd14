//! Every `ssl_mode` and every way to log in, towards a real PostgreSQL that speaks TLS.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use pglens_rpc::v1::SslMode;
use pglens_runtime::Authority;
use pglens_testkit::{DEADLINE, TestDatabase, TestPostgres, eventually};

use crate::harness::{Stack, db_error};

/// A target with TLS; `tls_only` may come in by TLS only, `plain_only` without.
struct Target {
    _server: TestPostgres,
    database: TestDatabase,
    ca: String,
}

const LOGINS: &str = "
    create role tls_only superuser login password 'secret';
    create role plain_only superuser login password 'secret';
    create role cleartext superuser login password 'secret';
    set password_encryption = 'md5';
    create role hashed superuser login password 'secret';";

/// The first line that fits counts.
const HBA: &str = "
hostssl   all tls_only   all scram-sha-256
hostnossl all tls_only   all reject
hostnossl all plain_only all scram-sha-256
hostssl   all plain_only all reject
host      all hashed     all md5
host      all cleartext  all password
";

impl Target {
    /// The certificate names `host`, and nobody else.
    async fn start(host: &str) -> Self {
        let server = TestPostgres::start_target(&[]).await;
        let database = server.create_database().await;
        let client = database.connect().await;
        client.batch_execute(LOGINS).await.unwrap();
        let setting = async |name: &str| -> PathBuf {
            let row = client
                .query_one(&format!("show {name}"), &[])
                .await
                .unwrap();
            row.get::<_, String>(0).into()
        };
        let (folder, hba) = (setting("data_directory").await, setting("hba_file").await);
        let authority = Authority::new("target").unwrap();
        let certificate = authority.server(&[host]).unwrap();
        let owner = std::fs::metadata(&folder).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        };
        write("server.crt", &certificate.certificate);
        write("server.key", certificate.key.expose());
        let before = std::fs::read_to_string(&hba).unwrap();
        std::fs::write(&hba, format!("{HBA}{before}")).unwrap();
        client
            .batch_execute("alter system set ssl = on")
            .await
            .unwrap();
        client
            .batch_execute("select pg_reload_conf()")
            .await
            .unwrap();
        eventually(DEADLINE, || async {
            let shown = database.connect().await.query_one("show ssl", &[]).await;
            shown.unwrap().get::<_, String>(0) == "on"
        })
        .await;
        Self {
            database,
            ca: authority.ca_pem().to_owned(),
            _server: server,
        }
    }
}

/// Whether the target's session is encrypted, or why there is none.
async fn attempt(stack: &Stack, user: &str, mode: SslMode, ca: &str) -> Result<bool, String> {
    stack.control.terms(|terms| {
        user.clone_into(&mut terms.target.username);
        "secret".clone_into(&mut terms.target.password);
        terms.target.ssl_mode = mode.into();
        ca.clone_into(&mut terms.target.ssl_root_cert);
    });
    let client = stack
        .try_connect()
        .await
        .map_err(|error| db_error(&error).0)?;
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let row = client.query_one(sql, &[]).await.unwrap();
    Ok(row.get(0))
}

fn unreachable() -> Result<bool, String> {
    Err("08001".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ssl_mode_does_what_it_does_in_libpq() {
    let target = Target::start("127.0.0.1").await;
    let stack = Stack::start_for(target.database.clone(), &[]).await;
    let (plain, tls) = (Ok(false), Ok(true));
    let other = Authority::new("somebody else").unwrap();
    let (ours, others) = (target.ca.as_str(), other.ca_pem());
    for (user, mode, ca, expected) in [
        ("tls_only", SslMode::Disable, "", unreachable()),
        ("tls_only", SslMode::Allow, "", tls.clone()),
        ("tls_only", SslMode::Prefer, "", tls.clone()),
        ("tls_only", SslMode::Require, "", tls.clone()),
        ("tls_only", SslMode::VerifyCa, ours, tls.clone()),
        ("tls_only", SslMode::VerifyFull, ours, tls.clone()),
        ("plain_only", SslMode::Disable, "", plain.clone()),
        ("plain_only", SslMode::Allow, "", plain.clone()),
        ("plain_only", SslMode::Prefer, "", plain),
        ("plain_only", SslMode::Require, "", unreachable()),
        ("plain_only", SslMode::VerifyCa, ours, unreachable()),
        ("plain_only", SslMode::VerifyFull, ours, unreachable()),
        // A CA is checked against as soon as one is given and TLS is required, as by libpq.
        ("tls_only", SslMode::Require, others, unreachable()),
        ("tls_only", SslMode::Require, ours, tls.clone()),
        ("tls_only", SslMode::VerifyCa, others, unreachable()),
        ("tls_only", SslMode::VerifyFull, others, unreachable()),
        // Without a CA it is the machine's, which has never heard of this one.
        ("tls_only", SslMode::VerifyCa, "", unreachable()),
        ("tls_only", SslMode::Prefer, others, tls),
    ] {
        let seen = attempt(&stack, user, mode, ca).await;
        assert_eq!(seen, expected, "{user} {mode:?} {}", !ca.is_empty());
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_ca_does_not_ask_for_the_name_and_verify_full_does() {
    let target = Target::start("another.example").await;
    let stack = Stack::start_for(target.database.clone(), &[]).await;
    for (mode, expected) in [
        (SslMode::Require, Ok(true)),
        (SslMode::VerifyCa, Ok(true)),
        (SslMode::VerifyFull, unreachable()),
    ] {
        let seen = attempt(&stack, "tls_only", mode, &target.ca).await;
        assert_eq!(seen, expected, "{mode:?}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_ways_to_log_in_work_with_and_without_tls() {
    let target = Target::start("127.0.0.1").await;
    let stack = Stack::start_for(target.database.clone(), &[]).await;
    for user in ["hashed", "cleartext"] {
        for (mode, tls) in [(SslMode::Disable, false), (SslMode::VerifyFull, true)] {
            let seen = attempt(&stack, user, mode, &target.ca).await;
            assert_eq!(seen, Ok(tls), "{user} {mode:?}");
        }
        stack
            .control
            .terms(|terms| "wrong".clone_into(&mut terms.target.password));
        let error = stack.try_connect().await.err().unwrap();
        assert_eq!(db_error(&error).0, "08001", "{user}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_tls_is_reached_only_where_that_is_allowed() {
    let database = TestPostgres::target().await.create_database().await;
    let user = database.user.clone();
    let client = database.connect().await;
    client
        .batch_execute("alter role current_user password 'secret'")
        .await
        .unwrap();
    let stack = Stack::start_for(database, &[]).await;
    for (mode, expected) in [
        (SslMode::Disable, Ok(false)),
        (SslMode::Allow, Ok(false)),
        (SslMode::Prefer, Ok(false)),
        (SslMode::Require, unreachable()),
        (SslMode::VerifyCa, unreachable()),
        (SslMode::VerifyFull, unreachable()),
    ] {
        let seen = attempt(&stack, &user, mode, "").await;
        assert_eq!(seen, expected, "{mode:?}");
    }
    stack.stop().await;
}
