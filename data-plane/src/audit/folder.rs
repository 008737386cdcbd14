//! The files of the spool: a folder for each run of a proxy, segments in it, and the lock that says who uses them.
//!
//! A folder belongs to the process that holds the lock on its file `lock`; the kernel gives the lock back when the
//! process is gone, however it went. Folders without a living process are what a replay finds.

mod spare;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use pglens_core::RunId;
use uuid::Uuid;

use spare::Spare;

const LOCK: &str = "lock";
/// The boot of the machine that wrote the folder: after another one, what the kernel had not written is lost.
const BOOT: &str = "boot";
const SEGMENT_SUFFIX: &str = ".segment";
/// Folders that are being made, and such that were given up; neither has the name of a run.
const NEW_PREFIX: &str = ".new-";
const DAMAGED_PREFIX: &str = "damaged-";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Nobody but the proxy's user reads it.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The folder of one run, held by this process.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    pub(crate) run_id: RunId,
    /// Holds the lock while it is open.
    _lock: File,
    spare: Spare,
}

/// Where a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// A segment that is being written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) file: File,
}

impl RunFolder {
    /// Makes the folder of a new run in `parent`, which is made as well if it is missing.
    pub(crate) fn create(parent: &Path, run_id: RunId) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(parent)?;
        // It gets its name when it is locked: a folder with the name of a run and no lock has lost its process.
        let new = parent.join(format!("{NEW_PREFIX}{run_id}"));
        fs::DirBuilder::new().mode(FOLDER_MODE).create(&new)?;
        let made = || {
            let lock = create_file(&new.join(LOCK))?;
            lock.try_lock().map_err(lock_error)?;
            fs::write(new.join(BOOT), boot_id())?;
            let path = parent.join(run_id.to_string());
            fs::rename(&new, &path)?;
            Ok(Self {
                spare: Spare::below(&path),
                path,
                run_id,
                _lock: lock,
            })
        };
        made().inspect_err(|_| _ = fs::remove_dir_all(&new))
    }

    /// Takes over the folders that dead processes have left in `parent`.
    pub(crate) fn abandoned(parent: &Path) -> io::Result<Vec<Self>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(parent)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(run_id) = name.and_then(|name| Uuid::try_parse(name).ok()) else {
                continue;
            };
            if let Some(folder) = Self::take_over(path, RunId(run_id))? {
                folders.push(folder);
            }
        }
        folders.sort_by_key(|folder| folder.run_id.0);
        Ok(folders)
    }

    /// `None`: its process lives, another one has it, or it is gone.
    fn take_over(path: PathBuf, run_id: RunId) -> io::Result<Option<Self>> {
        let lock_path = path.join(LOCK);
        let lock = match OpenOptions::new().read(true).write(true).open(&lock_path) {
            Ok(lock) => lock,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The one who had the lock before may have removed the folder.
        let is_there = match fs::metadata(&lock_path) {
            Ok(there) => there.ino() == lock.metadata()?.ino(),
            Err(_gone) => false,
        };
        Ok(is_there.then(|| Self {
            spare: Spare::below(&path),
            path,
            run_id,
            _lock: lock,
        }))
    }

    /// Whether the machine was started anew since the folder was made, or it is another one.
    pub(crate) fn is_from_another_boot(&self) -> bool {
        fs::read_to_string(self.path.join(BOOT)).map_or(true, |boot| boot != boot_id())
    }

    /// Makes a segment, with `bytes` of the disk set aside for it where the file system can do that.
    pub(crate) fn create_segment(&self, number: u32, bytes: u64) -> io::Result<Segment> {
        let path = self.segment_path(number);
        let file = match self.spare.take(&path, bytes) {
            Some(file) => file,
            None => create_file(&path)?,
        };
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        match fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(Segment { number, file }),
            Err(errno) => {
                _ = fs::remove_file(&path);
                Err(errno.into())
            }
        }
    }

    pub(crate) fn open_segment(&self, number: u32) -> io::Result<Segment> {
        let file = File::open(self.segment_path(number))?;
        Ok(Segment { number, file })
    }

    /// Gives up a segment. Its file is kept for a next one, unless another is.
    pub(crate) fn remove_segment(&self, number: u32) -> io::Result<()> {
        self.spare.keep(&self.segment_path(number))
    }

    /// The numbers of the segments that are there, in order.
    pub(crate) fn segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(SEGMENT_SUFFIX));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Whether anything was ever written that is still here.
    pub(crate) fn has_records(&self) -> io::Result<bool> {
        for number in self.segments()? {
            if fs::metadata(self.segment_path(number))?.len() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the folder with all that is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }

    /// Keeps the folder for a person to look at, under a name that no replay takes for a run.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        let to = self
            .path
            .with_file_name(format!("{DAMAGED_PREFIX}{}", self.run_id));
        fs::rename(&self.path, &to)?;
        Ok(to)
    }

    fn segment_path(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number:010}{SEGMENT_SUFFIX}"))
    }
}

impl Segment {
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Fills `bytes` from `offset`; `false` when the file ends before.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
        match self.file.read_exact_at(bytes, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

fn lock_error(error: TryLockError) -> io::Error {
    match error {
        TryLockError::Error(error) => error,
        TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
    }
}

/// Where there is none, every boot counts as the same one.
fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_over_only_once_its_process_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let run_id = RunId(Uuid::from_u128(1));
        let folder = RunFolder::create(parent.path(), run_id).unwrap();
        assert!(RunFolder::abandoned(parent.path()).unwrap().is_empty());
        drop(folder);
        let mut taken = RunFolder::abandoned(parent.path()).unwrap();
        assert_eq!(taken[0].run_id, run_id);
        assert!(!taken[0].is_from_another_boot());
        assert!(
            RunFolder::abandoned(parent.path()).unwrap().is_empty(),
            "two processes must not replay one folder"
        );
        taken.remove(0).remove().unwrap();
        assert!(RunFolder::abandoned(parent.path()).unwrap().is_empty());
    }

    #[test]
    fn segments_are_listed_in_order_and_other_files_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(parent.path(), RunId(Uuid::from_u128(1))).unwrap();
        for number in [10, 2] {
            let segment = folder.create_segment(number, 4096).unwrap();
            segment.write_at(b"x", 0).unwrap();
        }
        assert_eq!(folder.segments().unwrap(), [2, 10]);
        let segment = folder.open_segment(2).unwrap();
        assert!(
            !segment.read_at(&mut [0; 2], 0).unwrap(),
            "set aside is not written"
        );
        folder.remove_segment(2).unwrap();
        assert_eq!(folder.segments().unwrap(), [10]);
        folder.remove_segment(10).unwrap();
        let aside = folder.set_aside().unwrap();
        assert!(aside.exists());
        assert!(RunFolder::abandoned(parent.path()).unwrap().is_empty());
    }
}
