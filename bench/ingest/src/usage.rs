//! What processes cost: CPU time by `/proc`, memory at its highest.

use std::collections::HashMap;
use std::fs;

/// The unit of times in `/proc`, the same on every Linux that PgLens runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of one process in seconds.
pub(crate) fn of_process(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.own_ticks / TICKS_PER_SECOND)
}

/// The same of a server and every process below it, those included that have ended and were waited for.
pub(crate) fn of_tree(root: u32) -> f64 {
    let stats: HashMap<u32, Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let is_below = |mut pid: u32| {
        while let Some(stat) = stats.get(&pid) {
            if stat.parent == root {
                return true;
            }
            pid = stat.parent;
        }
        false
    };
    let below: f64 = stats
        .iter()
        .filter(|(pid, _)| is_below(**pid))
        .map(|(_, stat)| stat.own_ticks)
        .sum();
    let root = stats
        .get(&root)
        .map_or(0.0, |stat| stat.own_ticks + stat.reaped_ticks);
    (below + root) / TICKS_PER_SECOND
}

/// The most memory a process ever had, in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

struct Stat {
    parent: u32,
    own_ticks: f64,
    reaped_ticks: f64,
}

/// Reads `/proc/PID/stat` (proc(5)); the fields behind the name, which may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: ticks(11)? + ticks(12)?,
        reaped_ticks: ticks(13)? + ticks(14)?,
    })
}
