//! Which PostgreSQL the tests have as their target: one major in each run, chosen from outside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pglens_pgserver::PgBinaries;

/// A major version ("14" to "18"); without it, the newest server that the machine's packages installed.
const VARIABLE: &str = "PGLENS_TEST_PG_MAJOR";

/// Knows where the servers of each major are, and gets those that are not there.
const SCRIPT: &str = "scripts/postgres-majors.sh";

/// The server programs of the target under test. Clients such as `psql` need not be among them.
///
/// PgLens' own storage is always the machine's PostgreSQL; only targets differ.
#[must_use]
pub fn target_binaries() -> PgBinaries {
    static FOUND: OnceLock<PgBinaries> = OnceLock::new();
    let find = || match chosen() {
        None => PgBinaries::find(None).unwrap_or_else(|error| panic!("{error}")),
        Some(major) => {
            let folder = folder_from_script(&["folder", &major]);
            PgBinaries::find(Some(&folder)).unwrap_or_else(|error| panic!("{error}"))
        }
    };
    FOUND.get_or_init(find).clone()
}

/// The major version of [`target_binaries`].
#[must_use]
pub fn target_major() -> u32 {
    static MAJOR: OnceLock<u32> = OnceLock::new();
    *MAJOR.get_or_init(|| major_of(&version(&target_binaries())))
}

/// A client program that the target understands and that understands the target: the machine's own, or of a newer
/// major when the machine's is older than the target. `pg_dump` insists on that; `psql` mostly gets along.
#[must_use]
pub fn client_program(name: &str) -> PathBuf {
    let own = PgBinaries::find(None).unwrap_or_else(|error| panic!("{error}"));
    if major_of(&version(&own)) >= target_major() {
        own.program(name)
    } else {
        folder_from_script(&["clients"]).join(name)
    }
}

/// The first number of "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
fn major_of(version: &str) -> u32 {
    let number = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number
        .and_then(|number| number.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no version in {version:?}"))
}

/// What `postgres --version` says.
pub(crate) fn version(binaries: &PgBinaries) -> String {
    let output = Command::new(binaries.program("postgres"))
        .arg("--version")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a wish of who runs the tests, not a setting of ours"
)]
fn chosen() -> Option<String> {
    std::env::var(VARIABLE)
        .ok()
        .filter(|major| !major.is_empty())
}

fn folder_from_script(arguments: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(root.join(SCRIPT))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{SCRIPT}: {error}"));
    assert!(
        output.status.success(),
        "{SCRIPT} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
