//! The ordered, bounded store of records that are not yet acknowledged: on disk, with the newest in memory as well.
//!
//! Each record gets the next sequence number of this run, from 1, and is kept until the control plane says that it is
//! committed. A statement is forwarded only when its record has a place here and is written. Records gather in memory
//! until a session needs them written ([`Outbox::flush`]), or for a few milliseconds: what all sessions have made until
//! then goes to the disk in one write. It survives the end of the process, not that of the machine.

mod append;
mod keeper;
mod publishing;
mod room;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use pglens_core::{RunId, Secret};
use tokio::sync::{Notify, watch};

use super::folder::RunFolder;
use super::frame::{FrameError, FrameKey};
use super::window::Batch;
use super::writer::{Pending, WriteError, Writer, Written};
pub(crate) use append::{Appending, Pushed};
pub(crate) use room::{OutboxHold, Reservation};
use state::State;
pub(crate) use state::{Acknowledged, CursorMismatch};

/// What a record costs besides its own bytes: its share of a frame, and its entry.
const RECORD_OVERHEAD_BYTES: usize = 128;
/// Records that no session wants written yet are written when they have this size.
const MAX_PENDING_BYTES: usize = 128 * 1024;
/// The spool is this many segments, so that freed disk comes back in small parts.
const SEGMENTS: u64 = 16;
const MIN_SEGMENT_BYTES: u64 = 256 * 1024;
const MAX_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// How much the spool may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpoolLimits {
    pub(crate) disk_bytes: u64,
    pub(crate) memory_bytes: usize,
}

/// Records of this run in order, with the place that is promised to statements on their way.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Taken before `state`, and held while a frame is written: frames are in the order of their records.
    writer: Mutex<Writer>,
    folder: Arc<RunFolder>,
    capacity_bytes: usize,
    /// The newest frame that is written.
    written_frame: AtomicU64,
    /// The spool cannot be written.
    has_fault: AtomicBool,
    /// Counts the times that room came back, or a record that was waited for is durable; whoever waits watches it.
    room: watch::Sender<u64>,
    /// Wakes the publisher when what it waits for is written.
    written: Notify,
    /// Wakes the keeper.
    untidy: Notify,
    /// Wakes the writer of what no session waits for.
    unwritten: Notify,
}

/// What the publisher sleeps for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WakeAt {
    pub(crate) sequence: u64,
    pub(crate) total_bytes: u64,
}

/// How much waits to be acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// What can be sent next.
#[derive(Debug)]
pub(crate) enum Next {
    Nothing,
    Batch(Batch),
    /// Large records are in it, which are to be read from the disk.
    HasLarge,
    /// It has left memory and is to be read from the disk.
    OnDisk,
}

/// What waits behind a sequence number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) records: u64,
    pub(crate) bytes: usize,
    /// Sessions that wait for one of them to be durable, about.
    pub(crate) awaiting: u64,
    /// Bytes of all records up to the sequence number.
    pub(crate) total_before: u64,
}

impl Outbox {
    /// Makes the folder of this run below `parent`.
    pub(crate) fn create(
        parent: &Path,
        run_id: RunId,
        limits: SpoolLimits,
    ) -> std::io::Result<Arc<Self>> {
        let segment_bytes =
            (limits.disk_bytes / SEGMENTS).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let folder = Arc::new(RunFolder::create(parent, run_id)?);
        let mut writer = Writer::new(Arc::clone(&folder), segment_bytes);
        writer.open_first()?;
        // Disk is set aside by whole segments.
        let capacity = limits.disk_bytes.saturating_sub(segment_bytes);
        Ok(Arc::new(Self {
            state: Mutex::new(State::new(limits.memory_bytes)),
            writer: Mutex::new(writer),
            folder,
            capacity_bytes: usize::try_from(capacity).unwrap_or(usize::MAX),
            written_frame: AtomicU64::new(0),
            has_fault: AtomicBool::new(false),
            room: watch::Sender::new(0),
            written: Notify::new(),
            untidy: Notify::new(),
            unwritten: Notify::new(),
        }))
    }

    /// Takes the key of the run, which it needs before it takes statements. The same again changes nothing.
    pub(crate) fn unlock(&self, run_id: RunId, key: &Secret<Vec<u8>>) -> Result<(), FrameError> {
        let mut writer = self.writer.lock();
        if writer.key.is_none() {
            writer.key = Some(Arc::new(FrameKey::new(run_id, key)?));
            self.state.lock().is_unlocked = true;
            drop(writer);
            self.flush();
            self.tell_room();
        }
        Ok(())
    }

    /// Writes what was pushed until now. `false`: that is not possible now, and what was pushed must not take effect.
    pub(crate) fn flush(&self) -> bool {
        let mut writer = self.writer.lock();
        if let Some(stuck) = writer.stuck.take()
            && !self.write(&mut writer, stuck)
        {
            return false;
        }
        let pending = self.state.lock().take_pending();
        pending.is_none_or(|pending| self.write(&mut writer, pending))
    }

    /// The same for what went into `frame` and those before it: another session may have seen to it.
    pub(crate) fn flush_through(&self, frame: u64) -> bool {
        self.written_frame.load(Ordering::Acquire) >= frame || self.flush()
    }

    fn write(&self, writer: &mut Writer, pending: Pending) -> bool {
        let written = match writer.may_try() {
            true => writer.write(&pending),
            false => {
                writer.stuck = Some(pending);
                return false;
            }
        };
        match written {
            Ok(written) => {
                self.wrote(pending, written);
                true
            }
            Err(error) => {
                writer.stuck = Some(pending);
                self.failed(&error);
                false
            }
        }
    }

    fn wrote(&self, pending: Pending, written: Written) {
        let mut state = self.state.lock();
        state.add(pending, written);
        self.written_frame
            .store(state.written_frame(), Ordering::Release);
        let wakes = state.wakes();
        drop(state);
        let had_fault = !self.is_sound() && self.has_fault.swap(false, Ordering::SeqCst);
        if wakes {
            self.written.notify_one();
        }
        if had_fault {
            tracing::info!("spool can be written again");
            self.tell_room();
        }
    }

    fn failed(&self, error: &WriteError) {
        if matches!(error, WriteError::NoKey) {
            return;
        }
        if !self.has_fault.swap(true, Ordering::SeqCst) {
            tracing::error!(error = %pglens_runtime::Chain(error), "spool cannot be written, statements are refused");
            self.untidy.notify_one();
        }
    }

    /// Fires whenever room came back.
    pub(crate) fn watch_room(&self) -> watch::Receiver<u64> {
        self.room.subscribe()
    }

    pub(crate) fn depth(&self) -> Depth {
        let state = self.state.lock();
        Depth {
            records: state.newest - state.committed,
            bytes: state.used() as u64,
        }
    }

    /// Whether a control plane has made the record with that number durable; `false` makes the publisher hurry, and the
    /// caller is told through [`Outbox::watch_room`].
    pub(crate) fn is_durable(&self, sequence: u64) -> bool {
        let mut state = self.state.lock();
        if state.durable >= sequence {
            return true;
        }
        state.room_wanted = true;
        // What was asked for before is on its way, or about to be.
        let is_news = state.awaited < sequence;
        state.awaited = state.awaited.max(sequence);
        state.awaiting += u64::from(is_news);
        drop(state);
        if is_news {
            self.written.notify_one();
        }
        false
    }

    /// All up to this one is stored.
    pub(crate) fn committed(&self) -> u64 {
        self.state.lock().committed
    }

    /// Drops everything that is stored.
    ///
    /// # Errors
    /// When those are not sequence numbers that this run can have got acknowledged.
    pub(crate) fn acknowledge(&self, acknowledged: Acknowledged) -> Result<(), CursorMismatch> {
        let mut state = self.state.lock();
        state.acknowledge(acknowledged)?;
        let is_untidy = !state.dropped.is_empty();
        let room_wanted = std::mem::take(&mut state.room_wanted);
        drop(state);
        if is_untidy {
            self.untidy.notify_one();
        }
        if room_wanted {
            self.tell_room();
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
