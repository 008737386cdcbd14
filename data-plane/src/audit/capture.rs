//! The rows of one statement: counted and digested exactly, kept up to limits, handed on in chunks.

use pglens_core::limits::MAX_ROW_CHUNK_BYTES;

/// A chunk is handed on when it has this size, so that rows of a long result can be read while it runs.
const CHUNK_TARGET_BYTES: usize = 256 * 1024;

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
    /// Made when the chunk is no longer all there was: small results are hashed in one go.
    hasher: Option<Box<blake3::Hasher>>,
    /// Of the only chunk there was.
    only_digest: Option<[u8; 32]>,
    rows: u64,
    /// Those of results that are complete.
    complete_rows: u64,
    bytes: u64,
    kept_rows: u64,
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
            hasher: None,
            only_digest: None,
            rows: 0,
            complete_rows: 0,
            bytes: 0,
            kept_rows: 0,
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
            && self.kept_rows < self.limits.max_rows
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
            rows: self.limits.max_rows.saturating_sub(self.kept_rows),
            bytes: usize::try_from(left).map_or(in_chunk, |left| left.min(in_chunk)),
        }
    }

    /// Begins `rows` rows of `bytes` bytes together, within what [`Capture::plain_rows`] says.
    pub(crate) fn begin_all(&mut self, rows: u64, bytes: usize) {
        self.rows += rows;
        self.keeps_current = !self.truncated;
        if self.keeps_current {
            self.kept_rows += rows;
            self.kept_bytes += bytes as u64;
            self.chunk_rows += u32::try_from(rows).unwrap_or(u32::MAX);
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
        if !self.keeps_current {
            self.hash_chunk();
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        if self.keeps_current {
            self.chunk.extend_from_slice(bytes);
        }
    }

    /// From now on the chunk is not all there was.
    fn hash_chunk(&mut self) {
        if self.hasher.is_none() {
            let hasher = self.hasher.insert(Box::default());
            hasher.update(&self.chunk);
        }
    }

    /// The rows kept since the last chunk, to be handed on. Only between two rows.
    pub(crate) fn chunk(&mut self, follow: Follow) -> Option<Chunk<'_>> {
        if self.chunk.is_empty() {
            return None;
        }
        if follow == Follow::No && self.hasher.is_none() {
            self.only_digest = Some(*blake3::hash(&self.chunk).as_bytes());
        } else {
            self.hash_chunk();
        }
        Some(Chunk {
            number: self.chunk_number,
            first_row: self.kept_rows - u64::from(self.chunk_rows),
            row_count: self.chunk_rows,
            data: &self.chunk,
        })
    }

    /// The chunk was handed on, and its memory serves the next one.
    pub(crate) fn handed_on(&mut self) {
        self.chunk.clear();
        self.chunk_rows = 0;
        self.chunk_number += 1;
    }

    /// Gives up the rows that no chunk was made of, because the outbox will not take them.
    pub(crate) fn abandon_chunk(&mut self) {
        self.hash_chunk();
        self.kept_rows -= u64::from(std::mem::take(&mut self.chunk_rows));
        self.kept_bytes -= self.chunk.len() as u64;
        self.chunk.clear();
        self.keeps_current = false;
        self.truncated = true;
    }

    /// The digest over all row messages; `None` when there were none.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        let hasher = self.hasher.as_ref();
        let of_several = hasher.map(|hasher| *hasher.finalize().as_bytes());
        of_several.or(self.only_digest)
    }

    /// The memory, for the rows of another statement.
    pub(crate) fn into_buffer(mut self) -> Vec<u8> {
        self.chunk.clear();
        self.chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CaptureLimits = CaptureLimits {
        max_rows: 3,
        max_bytes: 1_000_000_000,
    };

    fn capture() -> Capture {
        Capture::new(LIMITS, Vec::new())
    }

    /// First row, rows and bytes of the chunk that is handed on.
    fn hand_on(capture: &mut Capture, follow: Follow) -> Option<(u64, u32, Vec<u8>)> {
        let chunk = capture.chunk(follow)?;
        let handed = (chunk.first_row, chunk.row_count, chunk.data.to_vec());
        capture.handed_on();
        Some(handed)
    }

    fn row(capture: &mut Capture, bytes: &[u8]) {
        capture.begin(bytes.len());
        capture.bytes(bytes);
    }

    #[test]
    fn counts_and_digest_go_on_when_capture_stops() {
        let mut capture = capture();
        for text in [&b"a"[..], b"bb", b"c", b"d", b"e"] {
            row(&mut capture, text);
        }
        assert_eq!(
            (capture.rows(), capture.kept_rows(), capture.kept_bytes()),
            (5, 3, 4)
        );
        assert!(capture.is_truncated());
        assert_eq!(capture.digest(), Some(*blake3::hash(b"abbcde").as_bytes()));
        let handed = hand_on(&mut capture, Follow::No);
        assert_eq!(handed, Some((0, 3, b"abbc".to_vec())));
        assert_eq!(hand_on(&mut capture, Follow::No), None);
    }

    #[test]
    fn the_digest_is_that_of_all_chunks() {
        let mut capture = capture();
        row(&mut capture, b"a");
        row(&mut capture, b"bb");
        hand_on(&mut capture, Follow::Maybe).unwrap();
        assert_eq!(capture.digest(), Some(*blake3::hash(b"abb").as_bytes()));
        // A text that was not understood can have several results in one record.
        row(&mut capture, b"c");
        hand_on(&mut capture, Follow::No).unwrap();
        assert_eq!(capture.digest(), Some(*blake3::hash(b"abbc").as_bytes()));
    }

    #[test]
    fn the_digest_of_an_only_chunk_is_that_of_its_rows() {
        let mut capture = capture();
        row(&mut capture, b"a");
        hand_on(&mut capture, Follow::No).unwrap();
        assert_eq!(capture.digest(), Some(*blake3::hash(b"a").as_bytes()));
        assert!(capture.into_buffer().is_empty());
    }

    #[test]
    fn rows_begun_together_count_like_rows_begun_one_by_one() {
        let mut capture = capture();
        assert_eq!(capture.plain_rows().rows, 3);
        assert_eq!(capture.plain_rows().bytes, CHUNK_TARGET_BYTES);
        capture.begin_all(2, 5);
        capture.bytes(b"aabbb");
        assert_eq!(capture.plain_rows().rows, 1);
        row(&mut capture, b"c");
        assert_eq!(capture.plain_rows().rows, 0, "the next one is not kept");
        row(&mut capture, b"d");
        assert_eq!(capture.plain_rows().rows, u64::MAX);
        capture.begin_all(10, 30);
        capture.bytes(&[0; 30]);
        assert_eq!(
            (capture.rows(), capture.kept_rows(), capture.kept_bytes()),
            (14, 3, 6)
        );
        assert_eq!(hand_on(&mut capture, Follow::No).unwrap().1, 3);
    }

    #[test]
    fn chunks_are_numbered_and_follow_one_another() {
        let mut capture = capture();
        row(&mut capture, &vec![1; CHUNK_TARGET_BYTES]);
        assert!(capture.must_hand_on_before(0, 1));
        hand_on(&mut capture, Follow::Maybe).unwrap();
        assert!(!capture.must_hand_on_before(0, 1));
        row(&mut capture, b"x");
        let chunk = capture.chunk(Follow::No).unwrap();
        assert_eq!((chunk.number, chunk.first_row, chunk.row_count), (1, 1, 1));
    }

    #[test]
    fn a_row_too_large_for_a_chunk_ends_the_capture() {
        let mut capture = capture();
        row(&mut capture, b"a");
        row(&mut capture, &vec![0; MAX_ROW_CHUNK_BYTES + 1]);
        row(&mut capture, b"c");
        assert_eq!((capture.rows(), capture.kept_rows()), (3, 1));
        assert!(capture.is_truncated());
    }

    #[test]
    fn a_result_can_say_how_many_rows_it_had() {
        let mut capture = capture();
        row(&mut capture, b"a");
        capture.result_complete(None);
        capture.begin_uncounted(2);
        capture.bytes(b"bb");
        assert_eq!(capture.rows(), 1, "of one that broke off nothing is known");
        capture.result_complete(Some(5));
        row(&mut capture, b"c");
        capture.result_complete(Some(0));
        assert_eq!((capture.rows(), capture.kept_rows()), (6, 3));
    }

    #[test]
    fn no_rows_have_no_digest() {
        assert!(capture().digest().is_none());
    }

    #[test]
    fn abandoned_rows_are_not_counted_as_kept() {
        let mut capture = capture();
        row(&mut capture, b"a");
        capture.abandon_chunk();
        row(&mut capture, b"b");
        assert_eq!(
            (capture.rows(), capture.kept_rows(), capture.kept_bytes()),
            (2, 0, 0)
        );
        assert!(capture.is_truncated() && capture.chunk(Follow::No).is_none());
    }
}
