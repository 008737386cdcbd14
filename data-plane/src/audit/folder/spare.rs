//! The file of a segment that is no longer needed becomes the next one.
//!
//! What it held stays behind what is written over it, and opens as nothing: frames are bound to the number of their
//! segment.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A file that waits to become a segment again.
const SPARE: &str = "spare";
/// For so long its pages are most likely in memory. Those that are not would be read before they are written over.
const SPARE_FOR: Duration = Duration::from_secs(10);
/// Of the block count of a file (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// One file to spare at most.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    /// Locked while files get other names: one that came in while another goes out would go in its place.
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    since: Instant,
    /// Of the disk that it takes, with what is set aside for it.
    bytes: u64,
}

impl Spare {
    pub(super) fn below(folder: &Path) -> Self {
        Self {
            path: folder.join(SPARE),
            kept: Mutex::default(),
        }
    }

    /// The file under the name `to`, unless it is old or much larger than `bytes`; then it goes. If the disk is at fault,
    /// that shows again when a new file is made.
    pub(super) fn take(&self, to: &Path, bytes: u64) -> Option<File> {
        let mut slot = self.kept.lock();
        let kept = slot.take()?;
        if kept.bytes >= bytes.saturating_mul(2) || kept.since.elapsed() > SPARE_FOR {
            _ = fs::remove_file(&self.path);
            return None;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .ok()?;
        fs::rename(&self.path, to).ok()?;
        Some(file)
    }

    /// Keeps the file of a segment that is given up, unless another is kept; then it goes.
    pub(super) fn keep(&self, segment: &Path) -> io::Result<()> {
        let mut slot = self.kept.lock();
        if slot.is_some() {
            drop(slot);
            return fs::remove_file(segment);
        }
        let bytes = fs::metadata(segment)?.blocks() * BLOCK_BYTES;
        fs::rename(segment, &self.path)?;
        *slot = Some(Kept {
            since: Instant::now(),
            bytes,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pglens_core::RunId;
    use uuid::Uuid;

    use super::super::{BOOT, LOCK, RunFolder};
    use super::*;

    const SEGMENT: u64 = 64 * 1024;

    /// A folder that was given up a segment, and the inode of its file.
    fn with_spare(parent: &Path) -> (RunFolder, u64) {
        let folder = RunFolder::create(parent, RunId(Uuid::from_u128(1))).unwrap();
        let segment = folder.create_segment(1, SEGMENT).unwrap();
        let inode = segment.file.metadata().unwrap().ino();
        folder.remove_segment(1).unwrap();
        (folder, inode)
    }

    fn files(folder: &RunFolder) -> usize {
        let beside = [LOCK, BOOT].len();
        fs::read_dir(&folder.path).unwrap().count() - beside
    }

    #[test]
    fn the_file_of_a_segment_becomes_the_next_one_and_there_is_never_more_than_one_to_spare() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, inode) = with_spare(parent.path());
        for number in 2..10 {
            let segment = folder.create_segment(number, SEGMENT).unwrap();
            assert_eq!(segment.file.metadata().unwrap().ino(), inode);
            assert_eq!(folder.segments().unwrap(), [number]);
            folder.remove_segment(number).unwrap();
            assert_eq!(files(&folder), 1);
        }
        for number in 10..13 {
            folder.create_segment(number, SEGMENT).unwrap();
        }
        assert_eq!(files(&folder), 3, "the spare one is among them");
        for number in 10..13 {
            folder.remove_segment(number).unwrap();
        }
        assert_eq!(files(&folder), 1);
    }

    /// It would be written, and nobody would find it.
    #[test]
    fn a_segment_has_its_file_whatever_is_given_up_meanwhile() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, _inode) = with_spare(parent.path());
        let (given_up, to_give_up) = std::sync::mpsc::channel();
        let inode = |file: File| file.metadata().unwrap().ino();
        std::thread::scope(|scope| {
            let folder = &folder;
            scope.spawn(move || {
                for number in to_give_up {
                    folder.remove_segment(number).unwrap();
                }
            });
            for number in 2..2000 {
                let written = folder.create_segment(number, SEGMENT).unwrap();
                let read = folder.open_segment(number).unwrap();
                assert_eq!(inode(read.file), inode(written.file), "{number}");
                given_up.send(number).unwrap();
            }
            drop(given_up);
        });
    }

    #[test]
    fn without_the_file_that_was_to_spare_a_new_one_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, _inode) = with_spare(parent.path());
        fs::remove_file(folder.path.join(SPARE)).unwrap();
        folder.create_segment(2, SEGMENT).unwrap();
        assert_eq!(folder.segments().unwrap(), [2]);
    }

    #[test]
    fn a_spare_file_that_is_old_or_too_large_goes_and_one_that_is_too_small_grows() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, _inode) = with_spare(parent.path());
        let old = Instant::now().checked_sub(SPARE_FOR * 2).unwrap();
        folder.spare.kept.lock().as_mut().unwrap().since = old;
        folder.create_segment(2, SEGMENT).unwrap();
        assert_eq!(files(&folder), 1);
        for (number, bytes) in [(3, SEGMENT * 4), (4, SEGMENT)] {
            folder.remove_segment(number - 1).unwrap();
            assert_eq!(files(&folder), 1);
            let segment = folder.create_segment(number, bytes).unwrap();
            let blocks = segment.file.metadata().unwrap().blocks();
            assert!((bytes..bytes * 2).contains(&(blocks * BLOCK_BYTES)));
            assert_eq!(files(&folder), 1);
        }
    }
}
