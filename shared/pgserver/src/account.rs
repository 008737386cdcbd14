//! The user a server runs as: PostgreSQL refuses to run as root.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};

/// Users to become when we are root, in order of preference.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];

/// No user to run as, or a folder that user cannot use.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Started as root on a machine with neither user.
    #[error(
        "PostgreSQL does not run as root, and this machine has no user postgres or nobody to run it as"
    )]
    NoUser,
    /// The user may not enter the folder.
    #[error(
        "user {user}, who runs PostgreSQL because we are root, cannot reach {}: {} is closed to it; \
         choose a folder elsewhere",
        folder.display(),
        closed.display()
    )]
    Unreachable {
        /// Who runs PostgreSQL.
        user: String,
        /// The folder to be used.
        folder: PathBuf,
        /// The first folder on the way that is closed.
        closed: PathBuf,
    },
    /// The folder cannot be made or given away.
    #[error("cannot prepare {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Who runs the server.
#[derive(Debug, Clone)]
pub struct Account {
    /// Present when we are root and become somebody else.
    switch: Option<(Uid, Gid, String)>,
}

impl Account {
    /// Ourselves, or an unprivileged user when we are root.
    ///
    /// # Errors
    /// When we are root and the machine has no such user.
    pub fn unprivileged() -> Result<Self, AccountError> {
        if !Uid::effective().is_root() {
            return Ok(Self { switch: None });
        }
        UNPRIVILEGED_USERS
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .filter(|user| !user.uid.is_root())
            .map(|user| Self {
                switch: Some((user.uid, user.gid, user.name)),
            })
            .ok_or(AccountError::NoUser)
    }

    /// The numeric id of the user.
    #[must_use]
    pub fn uid(&self) -> u32 {
        match &self.switch {
            Some((uid, _, _)) => uid.as_raw(),
            None => Uid::effective().as_raw(),
        }
    }

    /// Makes `command` run as this user, in a process group of its own, so that a terminal's Ctrl-C reaches only us.
    pub(crate) fn apply(&self, command: &mut Command) {
        command.process_group(0);
        if let Some((uid, gid, _)) = &self.switch {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
    }

    /// Makes `folder` with its parents, private to this user, and checks that the user can work in it.
    ///
    /// # Errors
    /// When it cannot be made or reached.
    pub fn prepare_folder(&self, folder: &Path) -> Result<(), AccountError> {
        let failed = |source| AccountError::Folder {
            folder: folder.to_owned(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        self.own(folder).map_err(failed)?;
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, private).map_err(failed)?;
        self.check_reach(folder)
    }

    /// Gives `path` to this user.
    pub(crate) fn own(&self, path: &Path) -> io::Result<()> {
        match &self.switch {
            Some((uid, gid, _)) => chown(path, Some(uid.as_raw()), Some(gid.as_raw())),
            None => Ok(()),
        }
    }

    /// Asks the system itself, by entering the folder as that user.
    fn check_reach(&self, folder: &Path) -> Result<(), AccountError> {
        let Some((_, _, user)) = &self.switch else {
            return Ok(());
        };
        let unreachable = |closed: &Path| AccountError::Unreachable {
            user: user.clone(),
            folder: folder.to_owned(),
            closed: closed.to_owned(),
        };
        let mut way: Vec<&Path> = folder.ancestors().collect();
        way.reverse();
        if self.can_enter(folder) {
            return Ok(());
        }
        let closed = way.into_iter().find(|ancestor| !self.can_enter(ancestor));
        Err(unreachable(closed.unwrap_or(folder)))
    }

    fn can_enter(&self, folder: &Path) -> bool {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "cd \"$1\"", "sh"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.apply(&mut command);
        command.status().is_ok_and(|status| status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_behind_a_closed_one_is_reported_with_the_closed_one() {
        if !Uid::effective().is_root() {
            return; // everyone can reach their own folders
        }
        let root = tempfile::tempdir().unwrap();
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(root.path(), closed).unwrap();
        let folder = root.path().join("a/b");
        let error = Account::unprivileged()
            .unwrap()
            .prepare_folder(&folder)
            .unwrap_err();
        let message = error.to_string();
        let closed = format!("{} is closed to it", root.path().display());
        assert!(message.contains(&closed), "{message}");
    }
}
