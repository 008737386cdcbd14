//! Writes frames into segments, one behind the other.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::encode::Records;
use super::folder::{Place, RunFolder, Segment};
use super::frame::{FrameError, FrameKey, HEADER_BYTES, Header};
use super::notes::PendingNotes;

/// A spool that could not be written is tried again so soon.
const RETRY: Duration = Duration::from_millis(100);
/// A buffer that one large frame has grown beyond this is given back.
const MAX_SCRATCH_BYTES: usize = 1024 * 1024;

/// Records and notes that go to the disk together.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) sent: Records,
    pub(crate) notes: PendingNotes,
    pub(crate) records: u32,
    pub(crate) first_sequence: u64,
    /// A large record is among them.
    pub(crate) has_large: bool,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sent.len() + self.notes.as_slice().len()
    }

    /// A large record of at most so many bytes follows: room for it and no more.
    pub(crate) fn expect_large(&mut self, bytes: usize) {
        self.has_large = true;
        self.sent.reserve_exact(bytes);
    }

    /// Empties it for the next records; `None` when it would hold much memory for nothing.
    pub(crate) fn emptied(mut self) -> Option<Self> {
        if self.sent.capacity() > MAX_SCRATCH_BYTES || self.notes.capacity() > MAX_SCRATCH_BYTES {
            return None;
        }
        self.sent.clear();
        self.notes.clear();
        self.records = 0;
        self.first_sequence = 0;
        self.has_large = false;
        Some(self)
    }
}

/// Where a frame was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) place: Place,
    pub(crate) disk_bytes: u64,
}

/// Why a frame was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the key of this run is not known yet")]
    NoKey,
    #[error("the spool cannot be written")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The end of the spool.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: Arc<RunFolder>,
    pub(crate) key: Option<Arc<FrameKey>>,
    segment_bytes: u64,
    current: Option<Segment>,
    offset: u64,
    next_number: u32,
    /// Of the last nonce; counted on for every attempt.
    counter: u64,
    scratch: Vec<u8>,
    /// What could not be written; it goes before anything else.
    pub(crate) stuck: Option<Pending>,
    retry_at: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(folder: Arc<RunFolder>, segment_bytes: u64) -> Self {
        Self {
            folder,
            key: None,
            segment_bytes,
            current: None,
            offset: 0,
            next_number: 1,
            counter: 0,
            scratch: Vec::new(),
            stuck: None,
            retry_at: None,
        }
    }

    /// Makes the first segment, so that a disk without room is known at once.
    pub(crate) fn open_first(&mut self) -> io::Result<()> {
        self.next_segment(0)
    }

    fn next_segment(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = self.segment_bytes.max(bytes);
        let segment = self.folder.create_segment(self.next_number, bytes)?;
        self.next_number += 1;
        self.offset = 0;
        self.current = Some(segment);
        Ok(())
    }

    /// Whether another attempt makes sense now.
    pub(crate) fn may_try(&self) -> bool {
        self.retry_at.is_none_or(|at| Instant::now() >= at)
    }

    /// Writes a frame. What was written of one that failed is written over by the next.
    pub(crate) fn write(&mut self, pending: &Pending) -> Result<Written, WriteError> {
        let written = self.attempt(pending);
        self.retry_at = match &written {
            Err(WriteError::Io(_)) => Some(Instant::now() + RETRY),
            _ => None,
        };
        written
    }

    fn attempt(&mut self, pending: &Pending) -> Result<Written, WriteError> {
        let key = self.key.clone().ok_or(WriteError::NoKey)?;
        let size = (HEADER_BYTES + pending.bytes() + 64) as u64;
        if self.current.is_none() || (self.offset > 0 && self.offset + size > self.segment_bytes) {
            self.next_segment(size)?;
        }
        let Some(segment) = &self.current else {
            return Err(WriteError::NoKey);
        };
        self.counter += 1;
        let header = Header {
            sealed_bytes: 0,
            counter: self.counter,
            first_sequence: pending.first_sequence,
            record_count: pending.records,
            sent_bytes: 0,
        };
        let content = (pending.sent.as_slice(), pending.notes.as_slice());
        key.seal(segment.number, header, content, &mut self.scratch)?;
        segment.write_at(&self.scratch, self.offset)?;
        let written = Written {
            place: Place {
                segment: segment.number,
                offset: self.offset,
            },
            disk_bytes: self.scratch.len() as u64,
        };
        self.offset += written.disk_bytes;
        if self.scratch.capacity() > MAX_SCRATCH_BYTES {
            self.scratch = Vec::new();
        }
        Ok(written)
    }
}
