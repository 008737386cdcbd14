//! Files that hold secrets, and errors about files that say which.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pglens_runtime::listen::io_reason;

/// A file that cannot be used. `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    reason: String,
}

impl FileError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |error| Self {
            path: path.to_owned(),
            reason: io_reason(&error),
        }
    }
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Everyone,
    Owner,
}

impl Audience {
    fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o644,
            Self::Owner => 0o600,
        }
    }
}

/// Writes a file that must not exist.
pub(crate) fn write_new(path: &Path, text: &str, audience: Audience) -> Result<(), FileError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(audience.mode())
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(FileError::at(path))
}

/// Puts a file in place whole: a reader sees the old one or the new one.
pub(crate) fn replace(path: &Path, text: &str, audience: Audience) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    remove_if_there(&unfinished)?;
    write_new(&unfinished, text, audience)?;
    std::fs::rename(&unfinished, path).map_err(FileError::at(path))
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::at(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_are_for_their_owner_and_new_means_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_new(&path, "one", Audience::Owner).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write_new(&path, "two", Audience::Owner).is_err());
        replace(&path, "three", Audience::Owner).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three");
        remove_if_there(&path).unwrap();
        remove_if_there(&path).unwrap();
    }
}
