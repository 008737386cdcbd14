//! A setting that cannot be used ends the command with one line that names it, and exit code 2.

use std::net::TcpListener;

use super::command::{output, pglens};

/// Runs the command and checks that it refuses with exactly `expected`.
fn refuses(args: &[&str], environment: &[(&str, &str)], expected: &str) {
    let output = output(pglens(args).envs(environment.iter().copied()));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, format!("{expected}\n"), "{args:?}");
    assert_eq!(output.status.code(), Some(2), "{args:?}");
}

#[test]
fn no_postgresql_binaries() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    refuses(
        &["dev", "--postgres-bin", folder],
        &[],
        &format!(
            "pglens dev: PGL_POSTGRES_BIN (from the command line): \
             {folder} holds no PostgreSQL server binaries (initdb and postgres)"
        ),
    );
}

#[test]
fn a_port_that_was_asked_for_and_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().to_str().unwrap();
    let dev = [
        "dev",
        "--data-dir",
        data_dir,
        "--postgres-port=0",
        "--listen-addr=127.0.0.1:0",
    ];
    refuses(
        &[&dev[..], &["--api-addr", &address]].concat(),
        &[],
        &format!(
            "pglens dev: PGL_API_ADDR (from the command line): cannot listen on {address}: address in use"
        ),
    );
    let port = taken.local_addr().unwrap().port().to_string();
    refuses(
        &[
            "dev",
            "--data-dir",
            data_dir,
            "--api-addr=127.0.0.1:0",
            "--listen-addr=127.0.0.1:0",
        ],
        &[("PGL_POSTGRES_PORT", port.as_str())],
        &format!(
            "pglens dev: PGL_POSTGRES_PORT (from the environment): cannot listen on {address}: address in use"
        ),
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[test]
fn addresses_and_numbers_that_are_none() {
    refuses(
        &["dev", "--listen-addr", "everywhere"],
        &[],
        "pglens dev: PGL_LISTEN_ADDR (from the command line): \"everywhere\" is not an address to listen on, \
         like :5432, host:5432 or [::1]:5432",
    );
    refuses(
        &["dev"],
        &[("PGL_POSTGRES_PORT", "65536")],
        "pglens dev: PGL_POSTGRES_PORT (from the environment): \"65536\" is not a whole number from 0 to 65535",
    );
    refuses(
        &["dev", "--log-format=xml"],
        &[],
        "pglens dev: PGL_LOG_FORMAT (from the command line): \"xml\" is not one of text, json",
    );
}

#[test]
fn a_folder_of_somebody_elses_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("mine");
    std::fs::write(&mine, "").unwrap();
    let path = std::fs::canonicalize(folder.path()).unwrap();
    let data_dir = path.to_str().unwrap();
    let dev = [
        "dev",
        "--fresh",
        "--data-dir",
        data_dir,
        "--postgres-port=0",
    ];
    refuses(
        &[
            &dev[..],
            &["--api-addr=127.0.0.1:0", "--listen-addr=127.0.0.1:0"],
        ]
        .concat(),
        &[],
        &format!(
            "pglens dev: PGL_DATA_DIR (from the command line): {data_dir} holds other files; name a new folder"
        ),
    );
    assert!(mine.exists());
}

#[test]
fn the_planes_say_what_they_lack() {
    refuses(
        &["control-plane"],
        &[],
        "pglens control-plane: PGL_DSN: is required and was not given",
    );
    let output = output(&mut pglens(&["data-plane"]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("pglens data-plane: PGL_CONTROL_"),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn keys_and_certificates_are_made() {
    let made = output(&mut pglens(&["key", "generate"]));
    assert!(made.status.success());
    assert_eq!(String::from_utf8(made.stdout).unwrap().trim_end().len(), 44);

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("certificates");
    let args = [
        "certificates",
        "--out",
        out.to_str().unwrap(),
        "--data-plane",
        "east-1",
    ];
    assert!(output(&mut pglens(&args)).status.success());
    assert!(out.join("east-1-key.pem").exists());
    assert_eq!(
        output(&mut pglens(&args)).status.code(),
        Some(2),
        "a second time"
    );
}
