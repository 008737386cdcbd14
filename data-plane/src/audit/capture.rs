//! The rows of one statement: counted and digested exactly, kept up to limits, handed on in chunks.

use pglens_core::limits::MAX_ROW_CHUNK_BYTES;

use super::digest::Digest;

/// A chunk is handed on when it has this size, so that rows of a long result can be read while it runs. It is held some
/// times over on its way to the disk.
const CHUNK_TARGET_BYTES: usize = 120 * 1024;

/// What is kept of a result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaptureLimits {
    pub(crate) max_rows: u64,
    pub(crate) max_bytes: u64,
}

/// Consecutive rows as they were on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    pub(crate) number: u32,
    pub(crate) first_row: u64,
    pub(crate) row_count: u32,
    pub(crate) data: &'a [u8],
}

/// Rows of a statement that no more follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastRows {
    pub(crate) chunk: u32,
    pub(crate) first_row: u64,
    pub(crate) row_count: u32,
    /// There are no others, and the digest is left to be made of these.
    pub(crate) is_all: bool,
}

/// Whether rows of the same record may follow a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    Maybe,
    No,
}

/// Whether a row can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkRoom {
    Ready,
    /// The bytes before it must be handed to the recorder first.
    HandOnFirst,
    OutboxFull,
}

/// So many rows, and bytes of them, are all treated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainRows {
    pub(crate) rows: u64,
    pub(crate) bytes: usize,
}

/// Takes the row messages of one statement.
#[derive(Debug)]
pub(crate) struct Capture {
    limits: CaptureLimits,
    digest: Digest,
    /// Bytes at the start of the chunk that are in the digest.
    digested: usize,
    rows: u64,
    /// Those of results that are complete.
    complete_rows: u64,
    bytes: u64,
    /// Messages that are kept, rows or pieces of COPY data.
    kept_rows: u64,
    /// What of them the limit counts: the lines of COPY data, of which a message has many.
    counted_rows: u64,
    kept_bytes: u64,
    truncated: bool,
    chunk: Vec<u8>,
    chunk_rows: u32,
    chunk_number: u32,
    /// The row in progress is being kept.
    keeps_current: bool,
}

impl Capture {
    /// Keeps rows in `buffer`, which is empty.
    pub(crate) fn new(limits: CaptureLimits, buffer: Vec<u8>) -> Self {
        Self {
            limits,
            digest: Digest::default(),
            digested: 0,
            rows: 0,
            complete_rows: 0,
            bytes: 0,
            kept_rows: 0,
            counted_rows: 0,
            kept_bytes: 0,
            truncated: false,
            chunk: buffer,
            chunk_rows: 0,
            chunk_number: 0,
            keeps_current: false,
        }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn kept_rows(&self) -> u64 {
        self.kept_rows
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Bytes that a chunk made now would have.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.chunk.len()
    }

    /// Whether a message of `total` bytes may only be taken after the chunk was handed on. `pending` bytes of rows that
    /// were begun have not come yet.
    pub(crate) fn must_hand_on_before(&self, pending: usize, total: usize) -> bool {
        let held = self.chunk.len() + pending;
        held > 0 && held + total > CHUNK_TARGET_BYTES && self.wants(total)
    }

    fn wants(&self, total: usize) -> bool {
        !self.truncated
            && total <= MAX_ROW_CHUNK_BYTES
            && self.counted_rows < self.limits.max_rows
            && self.kept_bytes + total as u64 <= self.limits.max_bytes
    }

    /// Whether a row of `total` bytes would be kept if the last one was, and not if it was not.
    pub(crate) fn is_like_last_row(&self, total: usize) -> bool {
        self.keeps_current == self.wants(total)
    }

    /// What can be begun by [`Capture::begin_all`]: rows that are all kept and fit into the chunk, or of which none is
    /// kept any more.
    pub(crate) fn plain_rows(&self) -> PlainRows {
        if self.truncated {
            return PlainRows {
                rows: u64::MAX,
                bytes: usize::MAX,
            };
        }
        let left = self.limits.max_bytes - self.kept_bytes.min(self.limits.max_bytes);
        let in_chunk = CHUNK_TARGET_BYTES.saturating_sub(self.chunk.len());
        PlainRows {
            rows: self.limits.max_rows.saturating_sub(self.counted_rows),
            bytes: usize::try_from(left).map_or(in_chunk, |left| left.min(in_chunk)),
        }
    }

    /// Begins `rows` rows of `bytes` bytes together, within what [`Capture::plain_rows`] says.
    pub(crate) fn begin_all(&mut self, rows: u64, bytes: usize) {
        self.rows += rows;
        self.begin_all_uncounted(rows, rows, bytes);
    }

    /// Begins `messages` messages of `bytes` bytes together, which the limit counts as `lines` rows, within what
    /// [`Capture::plain_rows`] says.
    pub(crate) fn begin_all_uncounted(&mut self, messages: u64, lines: u64, bytes: usize) {
        self.keeps_current = !self.truncated;
        if self.keeps_current {
            self.kept_rows += messages;
            self.counted_rows += lines;
            self.kept_bytes += bytes as u64;
            self.chunk_rows += u32::try_from(messages).unwrap_or(u32::MAX);
        }
    }

    /// Begins a row message of `total` bytes, header included. Its bytes follow through [`Capture::bytes`].
    pub(crate) fn begin(&mut self, total: usize) {
        self.rows += 1;
        self.begin_uncounted(total);
    }

    /// Begins a message that says nothing of how many rows there are.
    pub(crate) fn begin_uncounted(&mut self, total: usize) {
        self.keeps_current = self.wants(total);
        if self.keeps_current {
            self.kept_rows += 1;
            self.counted_rows += 1;
            self.kept_bytes += total as u64;
            self.chunk_rows += 1;
        } else {
            // Rows are kept from the first one on without a gap: what was left out must be the rest.
            self.truncated = true;
        }
    }

    /// A result is complete, and known to have had `rows` rows, or as many as were counted.
    pub(crate) fn result_complete(&mut self, rows: Option<u64>) {
        if let Some(rows) = rows {
            self.rows = self.complete_rows.saturating_add(rows);
        }
        self.complete_rows = self.rows;
    }

    /// Takes bytes of the row in progress, or of several whole rows that were begun and are all kept alike.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.keeps_current {
            self.chunk.extend_from_slice(bytes);
        } else {
            self.digest_chunk();
            self.digest.update(bytes);
        }
    }

    /// Adds what is kept to the digest before anything else.
    fn digest_chunk(&mut self) {
        let new = self.chunk.get(self.digested..).unwrap_or_default();
        if !new.is_empty() {
            self.digest.update(new);
            self.digested = self.chunk.len();
        }
    }

    /// The rows kept since the last chunk, to be handed on. Only between two rows.
    pub(crate) fn chunk(&mut self, follow: Follow) -> Option<Chunk<'_>> {
        if self.chunk.is_empty() {
            return None;
        }
        if follow == Follow::No && self.digested == 0 {
            self.digest.update_last(&self.chunk);
            self.digested = self.chunk.len();
        } else {
            self.digest_chunk();
        }
        Some(Chunk {
            number: self.chunk_number,
            first_row: self.kept_rows - u64::from(self.chunk_rows),
            row_count: self.chunk_rows,
            data: &self.chunk,
        })
    }

    /// The rows kept since the last chunk if there are some: those that stand in the memory that [`Capture::take_buffer`]
    /// hands out. No more may follow.
    pub(crate) fn last_rows(&mut self) -> Option<LastRows> {
        let is_all = self.digest.is_empty();
        if !is_all {
            self.digest_chunk();
        }
        (!self.chunk.is_empty()).then(|| LastRows {
            chunk: self.chunk_number,
            first_row: self.kept_rows - u64::from(self.chunk_rows),
            row_count: self.chunk_rows,
            is_all,
        })
    }

    /// The chunk was handed on, and its memory serves the next one.
    pub(crate) fn handed_on(&mut self) {
        self.chunk.clear();
        self.digested = 0;
        self.chunk_rows = 0;
        self.chunk_number += 1;
    }

    /// Gives up the rows that no chunk was made of, because the outbox will not take them.
    pub(crate) fn abandon_chunk(&mut self) {
        self.digest_chunk();
        self.kept_rows -= u64::from(std::mem::take(&mut self.chunk_rows));
        self.kept_bytes -= self.chunk.len() as u64;
        self.chunk.clear();
        self.digested = 0;
        self.keeps_current = false;
        self.truncated = true;
    }

    /// The digest over all row messages; `None` when there were none, or [`LastRows::is_all`].
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        self.digest.value()
    }

    /// The memory, with the last rows in it.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.chunk)
    }
}

#[cfg(test)]
mod tests;
