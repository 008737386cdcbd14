//! How much memory a process takes, seen from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// The most memory that processes were seen to take, each on its own, until it is dropped.
#[derive(Debug)]
pub struct MemoryWatch {
    most: Vec<(u32, Arc<AtomicU64>)>,
    watching: JoinHandle<()>,
}

impl MemoryWatch {
    /// Watches these processes.
    pub fn start(ids: &[u32]) -> Self {
        let most: Vec<_> = ids.iter().map(|id| (*id, Arc::default())).collect();
        let watching = tokio::spawn(watch(most.clone()));
        Self { most, watching }
    }

    /// In bytes, in the order of the processes.
    pub fn most(&self) -> Vec<u64> {
        let most = self.most.iter();
        most.map(|(_, most)| most.load(Ordering::Relaxed)).collect()
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch(most: Vec<(u32, Arc<AtomicU64>)>) {
    loop {
        for (id, most) in &most {
            most.fetch_max(resident(*id).unwrap_or_default(), Ordering::Relaxed);
        }
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
}

/// Bytes of memory that the process `id` takes now; `None` when it is gone.
pub fn resident(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[tokio::test]
async fn what_a_process_takes_is_seen() {
    let id = std::process::id();
    let watch = MemoryWatch::start(&[id]);
    let before = resident(id).expect("this process is there");
    let taken = vec![1_u8; 64 * 1024 * 1024];
    crate::wait::eventually("more memory is seen", || async {
        match watch.most()[0] > before + 32 * 1024 * 1024 {
            true => Ok(()),
            false => Err(format!("{:?} after {before}", watch.most())),
        }
    })
    .await;
    drop(taken);
}
