//! The bytes that were read from a socket and not yet used, and the memory they are read into.
//!
//! A connection holds memory only while it holds bytes: a buffer is taken when a read has something to put into it and
//! given back when that was used up, so idle sessions own none. Buffers are kept for the next read by each thread.

use std::cell::RefCell;

/// What one read asks for: more than most messages have.
const READ_BYTES: usize = 16 * 1024;
/// What a read asks for after one that filled its buffer: fewer system calls in bulk results.
const BULK_BYTES: usize = 64 * 1024;
/// Buffers of a size that a thread keeps; sessions of a thread are served one after the other, and few hold theirs.
const MAX_KEPT: usize = 16;

#[derive(Default)]
struct Pool {
    small: Vec<Vec<u8>>,
    bulk: Vec<Vec<u8>>,
}

impl Pool {
    fn shelf(&mut self, bytes: usize) -> Option<&mut Vec<Vec<u8>>> {
        match bytes {
            READ_BYTES => Some(&mut self.small),
            BULK_BYTES => Some(&mut self.bulk),
            _ => None,
        }
    }
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

fn take(bytes: usize) -> Vec<u8> {
    let kept = POOL.with_borrow_mut(|pool| pool.shelf(bytes).and_then(Vec::pop));
    kept.unwrap_or_else(|| vec![0; bytes])
}

fn give_back(buffer: Vec<u8>) {
    POOL.with_borrow_mut(|pool| {
        if let Some(shelf) = pool.shelf(buffer.len())
            && shelf.len() < MAX_KEPT
        {
            shelf.push(buffer);
        }
    });
}

/// A buffer that is filled at its end and used up from its start.
///
/// It grows only when somebody asks for room for a whole message.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read filled the buffer.
    is_bulk: bool,
}

impl ReadBuffer {
    /// What is there to be used.
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn wanted(&self, total: usize) -> usize {
        let one_read = if self.is_bulk { BULK_BYTES } else { READ_BYTES };
        total.max(one_read)
    }

    /// Marks `count` bytes at the start as used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        self.release();
    }

    /// Gives the memory back if there is nothing in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            if !self.bytes.is_empty() {
                give_back(std::mem::take(&mut self.bytes));
            }
        }
    }

    /// Whether a message of `total` bytes, or at least something, can still be read.
    pub(crate) fn has_room(&self, total: usize) -> bool {
        self.end - self.start < self.wanted(total)
    }

    /// Room behind the data, enough for a message of `total` bytes at the start of the data, or for one read.
    pub(crate) fn room(&mut self, total: usize) -> &mut [u8] {
        let wanted = self.wanted(total);
        if self.bytes.len() < wanted {
            let mut larger = take(wanted);
            let data = self.data();
            let count = data.len();
            if let Some(to) = larger.get_mut(..count) {
                to.copy_from_slice(data);
            }
            give_back(std::mem::replace(&mut self.bytes, larger));
            self.start = 0;
            self.end = count;
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Counts `count` bytes that were written into the room as data.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
        self.is_bulk = self.end == self.bytes.len() || (self.is_bulk && count >= READ_BYTES);
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut ReadBuffer, total: usize, bytes: &[u8]) {
        buffer.room(total)[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn data_is_used_from_the_start_and_survives_growth() {
        let mut buffer = ReadBuffer::default();
        fill(&mut buffer, 0, b"abcdef");
        buffer.consume(2);
        assert_eq!(buffer.data(), b"cdef");
        fill(&mut buffer, 3 * READ_BYTES, b"gh");
        assert_eq!(buffer.data(), b"cdefgh");
        assert_eq!(buffer.bytes.len(), 3 * READ_BYTES);
        buffer.consume(6);
        assert!(
            buffer.is_empty() && buffer.bytes.is_empty(),
            "memory is given back"
        );
    }

    #[test]
    fn a_full_buffer_has_no_room_until_it_may_be_larger() {
        let mut buffer = ReadBuffer::default();
        fill(&mut buffer, 0, &[1; READ_BYTES - 1]);
        assert!(buffer.has_room(0));
        fill(&mut buffer, 0, &[1; 1]);
        assert!(buffer.has_room(0), "after a full read, the next is larger");
        assert_eq!(buffer.room(0).len(), BULK_BYTES - READ_BYTES);
        fill(&mut buffer, 0, &[1; BULK_BYTES - READ_BYTES]);
        assert!(!buffer.has_room(0));
        assert!(buffer.has_room(BULK_BYTES + 1));
    }

    #[test]
    fn what_is_given_back_is_used_again_and_not_kept_without_end() {
        let mut buffers: Vec<ReadBuffer> = Vec::new();
        buffers.resize_with(2 * MAX_KEPT, ReadBuffer::default);
        for buffer in &mut buffers {
            fill(buffer, 0, b"x");
        }
        for buffer in &mut buffers {
            buffer.consume(1);
            assert!(buffer.bytes.is_empty());
        }
        POOL.with_borrow(|pool| assert_eq!(pool.small.len(), MAX_KEPT));
        fill(&mut buffers[0], 0, b"y");
        POOL.with_borrow(|pool| assert_eq!(pool.small.len(), MAX_KEPT - 1));
    }
}
