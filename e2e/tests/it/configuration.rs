//! Settings that cannot be used: one line that names the setting and where it came from, and exit code 2.

use std::net::TcpListener;
use std::path::Path;

use pglens_e2e::target::open_folder;
use pglens_e2e::{Ran, client, fleet, program};

/// 31 bytes where 32 are needed.
const SHORT_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Nothing listens there: what is to fail does so before anything is connected to.
const DSN: &str = "postgres://nobody@127.0.0.1:1/none";

/// How a source is named.
const ENVIRONMENT: &str = "from the environment";
const FLAG: &str = "from the command line";

type Environment = Vec<(&'static str, String)>;

async fn pglens(arguments: &[&str], environment: &Environment) -> Ran {
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    client::run(program::pglens(), arguments, &environment, "").await
}

/// The one line names all of `words`.
#[track_caller]
fn names(ran: &Ran, what: &str, words: &[&str]) {
    let line = ran.only_error_line(2, what);
    for word in words {
        assert!(line.contains(word), "{what}: {word:?} is not in {line:?}");
    }
    assert_eq!(ran.stdout, "", "{what}");
}

/// Settings that are all right, but for those given, which replace or (empty) remove them.
fn control_plane(certificates: &Path, changes: &[(&'static str, &str)]) -> Environment {
    let file = |name: &str| certificates.join(name).display().to_string();
    let base = vec![
        ("PGL_DSN", DSN.to_owned()),
        ("PGL_KEY", KEY.to_owned()),
        ("PGL_API_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_GRPC_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_OPS_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_GRPC_TLS_CERT", file("control-plane.pem")),
        ("PGL_GRPC_TLS_KEY", file("control-plane-key.pem")),
        ("PGL_GRPC_CLIENT_CA", file("ca.pem")),
    ];
    changed(base, changes)
}

fn data_plane(certificates: &Path, changes: &[(&'static str, &str)]) -> Environment {
    let file = |name: &str| certificates.join(name).display().to_string();
    let base = vec![
        ("PGL_LISTEN_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_OPS_ADDR", "127.0.0.1:0".to_owned()),
        ("PGL_SPOOL_DIR", file("spool")),
        ("PGL_CONTROL_URLS", "https://127.0.0.1:1".to_owned()),
        ("PGL_CONTROL_CA", file("ca.pem")),
        ("PGL_CONTROL_CERT", file("proxy-1.pem")),
        ("PGL_CONTROL_KEY", file("proxy-1-key.pem")),
    ];
    changed(base, changes)
}

fn changed(mut base: Environment, changes: &[(&'static str, &str)]) -> Environment {
    for (name, value) in changes {
        base.retain(|(given, _)| given != name);
        if !value.is_empty() {
            base.push((name, (*value).to_owned()));
        }
    }
    base
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_says_which_setting_it_cannot_use() {
    let folder = open_folder();
    let certificates = fleet::certificates(folder.path()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: &[(&'static str, &str, &[&str])] = &[
        ("PGL_KEY", "", &["PGL_KEY", "required"]),
        (
            "PGL_KEY",
            SHORT_KEY,
            &["PGL_KEY", ENVIRONMENT, "31 bytes", "32"],
        ),
        ("PGL_KEY", "not base64!", &["PGL_KEY", ENVIRONMENT]),
        ("PGL_DSN", "", &["PGL_DSN", "required"]),
        ("PGL_DSN", "postgres://[broken", &["PGL_DSN", ENVIRONMENT]),
        ("PGL_API_ADDR", "nonsense", &["PGL_API_ADDR", ENVIRONMENT]),
        (
            "PGL_API_ADDR",
            &taken,
            &["PGL_API_ADDR", ENVIRONMENT, "address in use"],
        ),
        (
            "PGL_GRPC_ADDR",
            &taken,
            &["PGL_GRPC_ADDR", ENVIRONMENT, "address in use"],
        ),
        (
            "PGL_OPS_ADDR",
            &taken,
            &["PGL_OPS_ADDR", ENVIRONMENT, "address in use"],
        ),
        (
            "PGL_GRPC_TLS_CERT",
            "/nonexistent.pem",
            &["PGL_GRPC_TLS_CERT", ENVIRONMENT, "/nonexistent.pem"],
        ),
        (
            "PGL_LEASE_SECONDS",
            "soon",
            &["PGL_LEASE_SECONDS", ENVIRONMENT],
        ),
        (
            "PGL_KEYFILE",
            "/nonexistent.keys",
            &["PGL_KEYFILE", ENVIRONMENT],
        ),
    ];
    for (name, value, words) in cases {
        let ran = pglens(
            &["control-plane"],
            &control_plane(&certificates, &[(*name, *value)]),
        )
        .await;
        names(&ran, &format!("{name}={value}"), words);
    }
    // The flag wins, and is named as the source.
    let ran = pglens(
        &["control-plane", "--key", SHORT_KEY],
        &control_plane(&certificates, &[]),
    )
    .await;
    names(&ran, "--key", &["PGL_KEY", FLAG, "31 bytes"]);
    for ran in [
        pglens(
            &["control-plane"],
            &control_plane(&certificates, &[("PGL_KEY", SHORT_KEY)]),
        )
        .await,
        pglens(
            &["control-plane"],
            &control_plane(&certificates, &[("PGL_DSN", "postgres://u:hush@[broken")]),
        )
        .await,
    ] {
        assert!(
            !ran.stderr.contains(SHORT_KEY) && !ran.stderr.contains("hush"),
            "a secret is told: {ran:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_plane_says_which_setting_it_cannot_use() {
    let folder = open_folder();
    let certificates = fleet::certificates(folder.path()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: &[(&'static str, &str, &[&str])] = &[
        ("PGL_CONTROL_URLS", "", &["PGL_CONTROL_URLS", "required"]),
        (
            "PGL_CONTROL_URLS",
            "ftp://nowhere",
            &["PGL_CONTROL_URLS", ENVIRONMENT],
        ),
        ("PGL_CONTROL_CERT", "", &["PGL_CONTROL_CERT", "required"]),
        (
            "PGL_CONTROL_KEY",
            "/nonexistent.pem",
            &["PGL_CONTROL_KEY", ENVIRONMENT, "/nonexistent.pem"],
        ),
        (
            "PGL_LISTEN_ADDR",
            &taken,
            &["PGL_LISTEN_ADDR", ENVIRONMENT, "address in use"],
        ),
        (
            "PGL_LISTEN_ADDR",
            "nonsense",
            &["PGL_LISTEN_ADDR", ENVIRONMENT],
        ),
        (
            "PGL_OPS_ADDR",
            &taken,
            &["PGL_OPS_ADDR", ENVIRONMENT, "address in use"],
        ),
        ("PGL_TLS_CERT", "/nonexistent.pem", &["PGL_TLS_"]),
        (
            "PGL_CLIENT_AUTH",
            "trust",
            &["PGL_CLIENT_AUTH", ENVIRONMENT],
        ),
        ("PGL_MAX_SESSIONS", "-1", &["PGL_MAX_SESSIONS", ENVIRONMENT]),
        (
            "PGL_SPOOL_DIR",
            "/proc/spool",
            &[
                "PGL_SPOOL_DIR",
                ENVIRONMENT,
                "cannot keep records in /proc/spool",
            ],
        ),
        (
            "PGL_SPOOL_MAX_BYTES",
            "1000",
            &["PGL_SPOOL_MAX_BYTES", ENVIRONMENT],
        ),
    ];
    for (name, value, words) in cases {
        let ran = pglens(
            &["data-plane"],
            &data_plane(&certificates, &[(*name, *value)]),
        )
        .await;
        names(&ran, &format!("{name}={value}"), words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_stack_says_which_setting_it_cannot_use() {
    let folder = open_folder();
    let data = folder.path().join("data").display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    let cases: &[(&str, &[&str], &[&str])] = &[
        (
            "a taken proxy port",
            &["--listen-addr", &taken, "--api-addr", free],
            &["PGL_LISTEN_ADDR", FLAG, "address in use"],
        ),
        (
            "a taken API port",
            &["--listen-addr", free, "--api-addr", &taken],
            &["PGL_API_ADDR", FLAG, "address in use"],
        ),
        (
            "an address",
            &["--listen-addr", "nonsense"],
            &["PGL_LISTEN_ADDR", FLAG],
        ),
        (
            "no PostgreSQL",
            &[
                "--listen-addr",
                free,
                "--api-addr",
                free,
                "--postgres-bin",
                "/nonexistent",
            ],
            &[
                "PGL_POSTGRES_BIN",
                FLAG,
                "/nonexistent holds no PostgreSQL server binaries",
            ],
        ),
    ];
    for (what, arguments, words) in cases {
        let all = [&["dev", "--data-dir", &data][..], arguments].concat();
        let environment = vec![
            ("HOME", data.clone()),
            ("PGL_POSTGRES_PORT", "0".to_owned()),
        ];
        let ran = pglens(&all, &environment).await;
        names(&ran, what, words);
    }
}
