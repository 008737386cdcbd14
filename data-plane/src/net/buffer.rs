//! The bytes that were read from a socket and not yet used.

/// What one read asks for. Larger reads save system calls in bulk results; smaller buffers make idle sessions cheap.
const READ_BYTES: usize = 16 * 1024;

/// A buffer that is filled at its end and used up from its start.
///
/// It grows only when somebody asks for room for a whole message, and gives the memory back once that was used.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    /// What is there to be used.
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Marks `count` bytes at the start as used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() > READ_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// Whether a message of `total` bytes, or at least something, can still be read.
    pub(crate) fn has_room(&self, total: usize) -> bool {
        self.end - self.start < total.max(READ_BYTES)
    }

    /// Room behind the data, enough for a message of `total` bytes at the start of the data, or for one read.
    pub(crate) fn room(&mut self, total: usize) -> &mut [u8] {
        let wanted = total.max(READ_BYTES);
        if self.start > 0 && self.start + wanted > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Counts `count` bytes that were written into the room as data.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
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
    fn a_full_buffer_has_no_room() {
        let mut buffer = ReadBuffer::default();
        fill(&mut buffer, 0, &[1; READ_BYTES]);
        assert!(!buffer.has_room(0));
        assert!(buffer.has_room(READ_BYTES + 1));
    }
}
