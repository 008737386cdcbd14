//! Where the programs are: `pglens` as cargo built it, PostgreSQL's own clients, and the rest of PATH.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use pglens_pgserver::PgBinaries;

/// Names a program to test instead of the one cargo builds: a release, or the one of a package.
const GIVEN: &str = "PGLENS_E2E_PROGRAM";

/// The `pglens` program: the one that was given, or the one beside this test's own executable, which cargo brings up
/// to date once per process.
///
/// A test executable is `<target>/<profile>/deps/it-<hash>`. `CARGO_BIN_EXE_pglens` exists only inside the crate that
/// has the program, and a program left from yesterday would be worse than none, so cargo is asked; when nothing
/// changed that takes a fraction of a second, and cargo's own lock serialises test processes that ask at once.
pub fn pglens() -> &'static Path {
    static PGLENS: OnceLock<PathBuf> = OnceLock::new();
    PGLENS.get_or_init(|| given_program().unwrap_or_else(built_program))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wish of who runs the tests, not a setting of ours"
)]
fn given_program() -> Option<PathBuf> {
    std::env::var_os(GIVEN).map(PathBuf::from)
}

/// How long a test that kills shall go on, if the person who runs it wants longer than usual.
#[expect(
    clippy::disallowed_methods,
    reason = "a wish of who runs the tests, not a setting of ours"
)]
pub fn soak_duration() -> Option<Duration> {
    let seconds = std::env::var("PGLENS_SOAK_SECONDS").ok()?;
    Some(Duration::from_secs(
        seconds.parse().expect("PGLENS_SOAK_SECONDS is a number"),
    ))
}

fn built_program() -> PathBuf {
    let executable = std::env::current_exe().expect("a running program has a path");
    let profile_folder = executable.ancestors().nth(2).expect("target/profile/deps");
    let target_folder = profile_folder.parent().expect("target/profile");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    build(target_folder, profile);
    let program = profile_folder.join("pglens");
    assert!(program.is_file(), "cargo made no {}", program.display());
    program
}

fn build(target_folder: &Path, profile: &str) {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--quiet", "--locked", "--package", "pglens"])
        .args(["--bin", "pglens", "--profile", profile, "--target-dir"])
        .arg(target_folder)
        .current_dir(workspace());
    // What cargo and nextest set for tests: some build scripts look at it and would run again each time.
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| is_of_a_test_run(name)) {
        command.env_remove(name);
    }
    let output = command.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo build of pglens failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_of_a_test_run(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "NEXTEST"];
    const NAMES: [&str; 3] = ["CARGO_CRATE_NAME", "CARGO_TARGET_TMPDIR", "LD_LIBRARY_PATH"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e/ lies in the workspace")
}

/// PATH with the folder of PostgreSQL's programs in front: Debian keeps `pgbench` and others out of PATH.
#[expect(
    clippy::disallowed_methods,
    reason = "PATH is the system's, not a setting of ours"
)]
pub fn path_variable() -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(binaries().folder().to_owned());
    std::env::join_paths(folders.chain(std::env::split_paths(&inherited))).expect("PATH is a PATH")
}

/// PostgreSQL's programs of this machine, clients among them. The target's are [`pglens_testkit::target_binaries`].
pub fn binaries() -> PgBinaries {
    PgBinaries::find(None).expect("end-to-end tests need a PostgreSQL server on this machine")
}

/// A command whose environment is known: nothing of the caller's `PG…` and `PGL_…` variables reaches it.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path_variable())
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    command
}
