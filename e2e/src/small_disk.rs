//! A file system of a few megabytes, so that a disk can really be full. Only root can have one.

use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pglens_pgserver::Account;
use tempfile::TempDir;

use crate::target::open_folder;

/// Unmounts $1 when the pipe closes, which the system does however the test process ends.
const WATCHDOG: &str = r#"while read -r line; do :; done; umount -l "$1""#;

const FILL_BLOCK_BYTES: usize = 8192;

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    watchdog: Child,
    folder: PathBuf,
    // Removed last.
    _parent: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many megabytes, with a folder for PostgreSQL.
    ///
    /// # Errors
    /// Why this machine, or this user, cannot have one.
    pub fn mount(megabytes: u32) -> Result<Self, String> {
        let parent = open_folder();
        let folder = parent.path().join("disk");
        std::fs::create_dir(&folder).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(&folder)
            .output()
            .map_err(|error| format!("no program mount: {error}"))?;
        if !mounted.status.success() {
            return Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned());
        }
        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "e2e-watchdog"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the watchdog starts");
        let disk = Self {
            watchdog,
            folder,
            _parent: parent,
        };
        std::fs::create_dir(disk.database()).expect("a folder");
        let account = Account::unprivileged().expect("a user for PostgreSQL");
        std::os::unix::fs::chown(disk.database(), Some(account.uid()), None).expect("chown");
        Ok(disk)
    }

    /// A folder on it that belongs to the user who runs PostgreSQL.
    pub fn database(&self) -> PathBuf {
        self.folder.join("database")
    }

    /// Takes all that is left of it.
    pub fn fill(&self) {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("a file");
        loop {
            match file.write_all(&[0; FILL_BLOCK_BYTES]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            }
        }
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _status = self.watchdog.wait();
    }
}

#[test]
fn a_small_disk_is_full_and_has_room_again() {
    let disk = match SmallDisk::mount(1) {
        Ok(disk) => disk,
        Err(reason) => {
            eprintln!("skipped: no small disk: {reason}");
            return;
        }
    };
    disk.fill();
    let file = disk.path().join("more");
    let full = std::fs::write(&file, [1; 2 * FILL_BLOCK_BYTES]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    disk.make_room();
    std::fs::write(&file, [1; 2 * FILL_BLOCK_BYTES]).unwrap();
    let mount_point = disk.path().to_owned();
    drop(disk);
    assert!(!mount_point.exists());
}
