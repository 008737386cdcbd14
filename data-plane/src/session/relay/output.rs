//! The bytes that wait to be written to a socket.

use pglens_wire::frame::Header;

/// Above this much waiting, the side the bytes come from is not read.
const HIGH_WATER_BYTES: usize = 64 * 1024;

/// Whole and partial messages in order. It knows where messages begin, so that the session can be ended between two.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    written: usize,
    /// Bytes at the start of `bytes` that belong to a message whose beginning was written before.
    begun_before: usize,
}

impl Output {
    pub(crate) fn pending(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() - self.written < HIGH_WATER_BYTES
    }

    /// Counts `count` bytes as written. Once all are, `rest` bytes of the last message are still to come.
    pub(crate) fn wrote(&mut self, count: usize, rest: usize) {
        self.written = self.bytes.len().min(self.written + count);
        if self.is_empty() {
            self.written = 0;
            self.begun_before = rest;
            self.bytes.clear();
            if self.bytes.capacity() > HIGH_WATER_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// Drops the messages that were not begun; `false` when one was begun that is not here to its end.
    pub(crate) fn cut_to_boundary(&mut self) -> bool {
        let mut boundary = self.begun_before;
        while boundary < self.written {
            let rest = self.bytes.get(boundary..).unwrap_or_default();
            match Header::peek(rest) {
                Ok(Some(header)) => boundary += header.total_bytes(),
                _ => return false,
            }
        }
        let is_whole = boundary <= self.bytes.len();
        self.bytes.truncate(boundary.max(self.written));
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_wire::backend::put_data_row;

    fn rows(count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            put_data_row(&mut bytes, &[Some(b"12345")]);
        }
        bytes
    }

    #[test]
    fn a_message_that_was_begun_is_finished_and_the_rest_dropped() {
        let one = rows(1).len();
        let mut output = Output {
            bytes: rows(5),
            ..Output::default()
        };
        output.wrote(one + 2, 0);
        assert!(output.cut_to_boundary());
        assert_eq!(output.pending().len(), one - 2);
    }

    #[test]
    fn nothing_begun_means_nothing_left() {
        let mut output = Output {
            bytes: rows(2),
            ..Output::default()
        };
        assert!(output.cut_to_boundary());
        assert!(output.is_empty());
    }

    #[test]
    fn a_message_that_is_not_here_to_its_end_cannot_be_finished() {
        let all = rows(1);
        let mut output = Output {
            bytes: all[..8].to_vec(),
            ..Output::default()
        };
        output.wrote(8, all.len() - 8);
        assert!(!output.cut_to_boundary());
        output.bytes.extend_from_slice(&all[8..]);
        output.bytes.extend(rows(1));
        assert!(output.cut_to_boundary());
        assert_eq!(output.pending(), &all[8..]);
    }
}
