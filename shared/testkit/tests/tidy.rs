//! House rules that neither the compiler nor clippy checks: direction of imports, purity of the sans-I/O crates, SQL in
//! one folder, file length, module documentation.
#![expect(
    clippy::unwrap_used,
    reason = "a test: a file that cannot be read is its failure"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on, besides libraries; ARCHITECTURE.md draws the same picture.
const DIRECTION: &[(&str, &[&str])] = &[
    ("shared/core", &[]),
    ("shared/wire", &["pglens-core"]),
    ("shared/policy", &["pglens-core"]),
    ("shared/rpc", &["pglens-core"]),
    ("shared/runtime", &["pglens-core"]),
    ("shared/pgserver", &["pglens-core"]),
    (
        "shared/testkit",
        &[
            "pglens-core",
            "pglens-wire",
            "pglens-rpc",
            "pglens-runtime",
            "pglens-pgserver",
        ],
    ),
    (
        "control-plane",
        &[
            "pglens-core",
            "pglens-wire",
            "pglens-policy",
            "pglens-rpc",
            "pglens-runtime",
        ],
    ),
    (
        "data-plane",
        &[
            "pglens-core",
            "pglens-wire",
            "pglens-policy",
            "pglens-rpc",
            "pglens-runtime",
        ],
    ),
    (
        "cli",
        &[
            "pglens-core",
            "pglens-runtime",
            "pglens-pgserver",
            "pglens-control-plane",
            "pglens-data-plane",
        ],
    ),
    (
        "e2e",
        &[
            "pglens-core",
            "pglens-wire",
            "pglens-rpc",
            "pglens-runtime",
            "pglens-pgserver",
            "pglens-testkit",
        ],
    ),
    (
        "bench/ingest",
        &[
            "pglens-core",
            "pglens-wire",
            "pglens-rpc",
            "pglens-runtime",
            "pglens-pgserver",
        ],
    ),
];

/// Crates that decide and decode, and leave sockets, clocks and the environment to others.
const PURE: &[&str] = &["shared/core", "shared/wire", "shared/policy"];

/// Longest source file; beyond it a file holds more than one concept.
const MAX_LINES: usize = 400;

/// Our own tables: SQL that names one belongs under `control-plane/src/storage`.
const TABLES: &[&str] = &[
    "users",
    "databases",
    "grants",
    "tokens",
    "audit_events",
    "proxy_runs",
    "connections",
    "data_keys",
    "queries",
    "query_rows",
    "stats_deltas",
    "stats_minutes",
    "stats_fingerprints",
    "feed_state",
    "feed_queue",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Every Rust file of the workspace by its path from the root; generated code is left out.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != "generated" && !name.starts_with('.') {
                    walk(&path, root, files);
                }
            } else if name.ends_with(".rs") {
                let key = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                files.insert(key, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (root, mut files) = (root(), BTreeMap::new());
    for (folder, _) in DIRECTION {
        walk(&root.join(folder), &root, &mut files);
    }
    files
}

/// The part of a file that ships: without comments and without what follows `#[cfg(test)]`.
fn shipped_lines(content: &str) -> impl Iterator<Item = (usize, &str)> {
    content
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.starts_with("e2e/")
        || path.contains("/testkit/")
}

fn fail_if_any(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

#[test]
fn imports_point_in_one_direction() {
    let mut offences = Vec::new();
    for (folder, allowed) in DIRECTION {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for name in dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
        {
            if name.starts_with("pglens") && !allowed.contains(&name) {
                offences.push(format!("{folder} depends on {name}"));
            }
        }
    }
    fail_if_any(
        "a crate imports against the direction of ARCHITECTURE.md:",
        &offences,
    );
}

#[test]
fn every_workspace_member_has_a_direction() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest
        .split("members = [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    let members: Vec<&str> = members
        .split(',')
        .map(|member| member.trim().trim_matches('"'))
        .collect();
    let missing: Vec<String> = members
        .iter()
        .filter(|member| {
            !member.is_empty() && !DIRECTION.iter().any(|(folder, _)| folder == *member)
        })
        .map(ToString::to_string)
        .collect();
    fail_if_any(
        "a workspace member is not in the table of this test:",
        &missing,
    );
}

#[test]
fn pure_crates_name_no_runtime_clock_or_environment() {
    const FORBIDDEN: &[&str] = &[
        "tokio",
        "std::env",
        "SystemTime",
        "Instant",
        "Utc::now",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "std::fs",
    ];
    let mut offences = Vec::new();
    for (path, content) in sources() {
        if PURE
            .iter()
            .any(|folder| path.starts_with(&format!("{folder}/src/")))
            && !is_test(&path)
        {
            for (number, line) in shipped_lines(&content) {
                if let Some(word) = FORBIDDEN.iter().find(|word| line.contains(**word)) {
                    offences.push(format!("{path}:{number} names {word}"));
                }
            }
        }
    }
    fail_if_any(
        "core, wire and policy do no I/O and read no clock:",
        &offences,
    );
}

#[test]
fn sql_on_our_tables_is_in_the_storage_folder() {
    let mut offences = Vec::new();
    for (path, content) in sources() {
        if path.starts_with("control-plane/src/storage/") || !path.contains("plane/src/") {
            continue;
        }
        for (number, line) in shipped_lines(&content) {
            let words: Vec<String> = line
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .map(str::to_ascii_lowercase)
                .collect();
            let statement = ["select", "insert", "update", "delete"]
                .iter()
                .any(|verb| words.iter().any(|w| w == verb));
            let on_table = words.windows(2).any(|pair| match pair {
                [verb, table] => {
                    ["from", "into", "update", "join"].contains(&verb.as_str())
                        && TABLES.contains(&table.as_str())
                }
                _ => false,
            });
            if statement && on_table {
                offences.push(format!("{path}:{number}"));
            }
        }
    }
    fail_if_any(
        "SQL on our own tables belongs under control-plane/src/storage:",
        &offences,
    );
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let (mut long, mut silent) = (Vec::new(), Vec::new());
    for (path, content) in sources() {
        let lines = content.lines().count();
        if lines > MAX_LINES {
            long.push(format!("{path}: {lines} lines"));
        }
        if !content.starts_with("//!") {
            silent.push(path);
        }
    }
    fail_if_any("files over 400 lines:", &long);
    fail_if_any("modules without a //! line saying what they own:", &silent);
}

#[test]
fn log_messages_are_constant_and_lower_case() {
    const MACROS: &[&str] = &["error!(", "warn!(", "info!(", "debug!("];
    let mut offences = Vec::new();
    for (path, content) in sources() {
        if !path.contains("plane/src/") || is_test(&path) {
            continue;
        }
        for (number, line) in shipped_lines(&content) {
            let Some(call) = MACROS
                .iter()
                .find_map(|name| line.split_once(name))
                .map(|(_, rest)| rest)
            else {
                continue;
            };
            let Some(message) = call.rsplit('"').nth(1) else {
                continue;
            };
            if message.contains('{')
                || message.ends_with('.')
                || message.starts_with(|c: char| c.is_ascii_uppercase())
            {
                offences.push(format!("{path}:{number} \"{message}\""));
            }
        }
    }
    fail_if_any(
        "log messages are constant, lower-case, without a full stop; facts go into fields:",
        &offences,
    );
}
