//! Notices that files which were read at the start have changed: told by SIGHUP, or by looking at them.
//!
//! Looking is enough for what Kubernetes does, which swaps a symbolic link, and for tools that replace files by renaming.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the files are looked at. Certificates are renewed days before they expire.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Certificate and key are two files: they are read once neither has changed for this long.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);

/// Watches files for change.
#[derive(Debug)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    hangup: Option<Signal>,
}

/// What another file of the same name differs in. Links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl FileWatch {
    /// Begins with the files as they are now. From the first call on, SIGHUP does not end the process.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let hangup = signal(SignalKind::hangup()).inspect_err(|error| {
            tracing::warn!(%error, "signal handler not installed, files are looked at only");
        });
        let mut watch = Self {
            paths: paths.into_iter().collect(),
            seen: Vec::new(),
            hangup: hangup.ok(),
        };
        watch.seen = watch.stamps();
        watch
    }

    /// Waits for SIGHUP, or until a file has changed and then stayed the same for a moment.
    ///
    /// Cancel safe: a change that was not reported is found by the next call.
    pub async fn changed(&mut self) {
        loop {
            let told = async {
                match &mut self.hangup {
                    Some(hangup) => _ = hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = told => {
                    self.seen = self.stamps();
                    return;
                }
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            let mut stamps = self.stamps();
            if stamps == self.seen {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLE_INTERVAL).await;
                let later = self.stamps();
                if later == stamps {
                    break;
                }
                stamps = later;
            }
            self.seen = stamps;
            return;
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.paths.iter().map(|path| Stamp::of(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn replaced_written_and_swapped_files_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("one"), "1").unwrap();
        std::fs::write(path("two"), "1").unwrap();
        symlink(path("two"), path("link")).unwrap();
        let mut watch = FileWatch::new([path("one"), path("link")]);

        let idle = timeout(LOOK_INTERVAL * 2, watch.changed()).await;
        assert!(idle.is_err(), "nothing has changed");

        std::fs::write(path("one"), "12").unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();

        std::fs::write(path("new"), "12").unwrap();
        std::fs::rename(path("new"), path("one")).unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();

        // As Kubernetes does it: another target of the same link.
        std::fs::write(path("three"), "1").unwrap();
        symlink(path("three"), path("next")).unwrap();
        std::fs::rename(path("next"), path("link")).unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();

        std::fs::remove_file(path("one")).unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap();
    }
}
