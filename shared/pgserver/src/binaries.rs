//! Where PostgreSQL's server binaries are.

use std::path::{Path, PathBuf};

/// What a folder must hold to be taken.
const NEEDED: [&str; 2] = ["initdb", "postgres"];

/// Where packages put the binaries when they are not on PATH. `*` is a version; the newest is taken first.
const USUAL_FOLDERS: [&str; 7] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/opt/homebrew/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
];

/// The server binaries are not there. `Display` is one line that says where they were looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// They are not in the folder that was named.
    #[error("{} holds no PostgreSQL server binaries (initdb and postgres)", .0.display())]
    In(PathBuf),
    /// They are in none of the usual places.
    #[error(
        "no PostgreSQL server binaries (initdb and postgres) on PATH or in {}; \
         install a PostgreSQL server, or name the folder that holds them",
        USUAL_FOLDERS.join(", ")
    )]
    Anywhere,
}

/// A folder that holds `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBinaries {
    folder: PathBuf,
}

impl PgBinaries {
    /// Takes the `explicit` folder, or looks on PATH and then where packages install PostgreSQL, newest first.
    ///
    /// # Errors
    /// When there are none.
    pub fn find(explicit: Option<&Path>) -> Result<Self, NotFound> {
        match explicit {
            Some(folder) if holds_binaries(folder) => Ok(Self {
                folder: real_folder(folder),
            }),
            Some(folder) => Err(NotFound::In(folder.to_owned())),
            None => path_folders()
                .into_iter()
                .chain(
                    USUAL_FOLDERS
                        .iter()
                        .flat_map(|pattern| expand(Path::new(pattern))),
                )
                .find(|folder| holds_binaries(folder))
                .map(|folder| Self {
                    folder: real_folder(&folder),
                })
                .ok_or(NotFound::Anywhere),
        }
    }

    /// The path of one program, which clients such as `psql` need not be there for.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "PATH is the system's, not a setting of ours"
)]
fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| {
            std::env::split_paths(&path)
                .filter(|folder| folder.is_absolute())
                .collect()
        })
        .unwrap_or_default()
}

fn holds_binaries(folder: &Path) -> bool {
    NEEDED.iter().all(|name| folder.join(name).is_file())
}

/// Where the programs are that `folder` only links to: the whole installation, `psql` and `pgbench` among it.
fn real_folder(folder: &Path) -> PathBuf {
    std::fs::canonicalize(folder.join("postgres"))
        .ok()
        .and_then(|program| program.parent().map(Path::to_owned))
        .filter(|real| holds_binaries(real))
        .unwrap_or_else(|| folder.to_owned())
}

/// The folders that `pattern` names, where one component may hold a `*` for a version; newest version first.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let text = pattern.to_string_lossy();
    let Some((before, after)) = text.split_once('*') else {
        return vec![pattern.to_owned()];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let (suffix, rest) = after.split_once('/').unwrap_or((after, ""));
    let mut found: Vec<(Vec<u32>, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
            Some((numbers.ok()?, entry.path().join(rest)))
        })
        .collect();
    found.sort_by(|one, other| other.0.cmp(&one.0));
    found.into_iter().map(|(_version, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_tried_newest_first_and_other_folders_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pg-9.6", "pg-10", "pg-15", "pg-common", "other-17"] {
            std::fs::create_dir_all(root.path().join(name).join("bin")).unwrap();
        }
        let found = expand(&root.path().join("pg-*/bin"));
        let expected = ["pg-15", "pg-10", "pg-9.6"].map(|name| root.path().join(name).join("bin"));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_named_folder_is_taken_or_refused_but_nothing_else_is_tried() {
        let root = tempfile::tempdir().unwrap();
        let error = PgBinaries::find(Some(root.path())).unwrap_err();
        assert_eq!(error, NotFound::In(root.path().to_owned()));
        for name in NEEDED {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let found = PgBinaries::find(Some(root.path())).unwrap();
        assert_eq!(found.program("initdb"), root.path().join("initdb"));

        let links = tempfile::tempdir().unwrap();
        for name in NEEDED {
            let program = root.path().join(name);
            std::os::unix::fs::symlink(program, links.path().join(name)).unwrap();
        }
        let found = PgBinaries::find(Some(links.path())).unwrap();
        assert_eq!(found.folder(), root.path());
    }

    #[test]
    fn the_errors_are_one_line() {
        for error in [NotFound::Anywhere, NotFound::In(PathBuf::from("/x"))] {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
