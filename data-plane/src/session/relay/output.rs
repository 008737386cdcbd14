//! What goes on to a socket: runs of the chunk that was read, as they stand there, or bytes that wait here.

use std::ops::Range;

use pglens_wire::frame::Header;

/// Memory that an output keeps while nothing waits: room for small messages, since idle sessions are many.
const KEPT_BYTES: usize = 512;

/// Bytes that could not be written at once, and messages of ours. It knows where messages begin, so that the session
/// can be ended between two.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
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

    /// Where a message of ours is put, behind everything that waits.
    pub(crate) fn put(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What waits, if none of it was written.
    pub(crate) fn unbegun(&mut self) -> Option<&mut Vec<u8>> {
        (self.written == 0).then_some(&mut self.bytes)
    }

    /// Counts `count` bytes as written. Once all are, `rest` bytes of the last message are still to come.
    pub(crate) fn wrote(&mut self, count: usize, rest: usize) {
        self.written = self.bytes.len().min(self.written + count);
        if self.is_empty() {
            self.wrote_all(rest);
        }
    }

    /// Everything is written, what waited and what did not have to.
    pub(crate) fn wrote_all(&mut self, rest: usize) {
        self.written = 0;
        self.begun_before = rest;
        if self.bytes.capacity() <= KEPT_BYTES {
            self.bytes.clear();
        } else {
            self.bytes = Vec::new();
        }
    }

    /// Keeps a run of which `count` bytes were written.
    pub(crate) fn keep(&mut self, run: &[u8], count: usize, rest: usize) {
        self.bytes.extend_from_slice(run);
        self.wrote(count, rest);
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

/// What one direction lets through of a chunk, in order.
///
/// As long as nothing is left out or put between, it is a run of the chunk itself, to be written from where it stands.
#[derive(Debug)]
pub(crate) struct Passage<'a> {
    chunk: &'a [u8],
    at: usize,
    run: Range<usize>,
    output: &'a mut Output,
}

impl<'a> Passage<'a> {
    pub(crate) fn new(chunk: &'a [u8], output: &'a mut Output) -> Self {
        Self {
            chunk,
            at: 0,
            run: 0..0,
            output,
        }
    }

    /// The part of the chunk that is still to be dealt with.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.chunk.get(self.at..).unwrap_or_default()
    }

    /// Bytes of the chunk that are done with.
    pub(crate) fn consumed(&self) -> usize {
        self.at
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.at += count;
    }

    /// Lets the next `count` bytes of the chunk through.
    pub(crate) fn pass(&mut self, count: usize) {
        if self.run.end != self.at {
            self.copy_run();
            self.run = self.at..self.at;
        }
        self.run.end = self.at + count;
    }

    /// Where a message of ours is put, behind what was let through.
    pub(crate) fn put(&mut self) -> &mut Vec<u8> {
        self.copy_run();
        self.output.put()
    }

    fn copy_run(&mut self) {
        let run = self.chunk.get(self.run.clone()).unwrap_or_default();
        self.output.bytes.extend_from_slice(run);
        self.run = self.at..self.at;
    }

    /// The run that may be written from the chunk; empty when everything waits in the output.
    pub(crate) fn into_run(mut self) -> Range<usize> {
        if !self.output.is_empty() {
            self.copy_run();
        }
        self.run
    }

    /// Everything waits in the output: the chunk will not be looked at again.
    pub(crate) fn into_output(mut self) {
        self.copy_run();
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
        let mut output = Output::default();
        output.keep(&rows(5), one + 2, 0);
        assert!(output.cut_to_boundary());
        assert_eq!(output.pending().len(), one - 2);
    }

    #[test]
    fn nothing_begun_means_nothing_left() {
        let mut output = Output::default();
        output.keep(&rows(2), 0, 0);
        assert!(output.cut_to_boundary());
        assert!(output.is_empty());
    }

    #[test]
    fn a_message_that_is_not_here_to_its_end_cannot_be_finished() {
        let all = rows(1);
        let mut output = Output::default();
        output.keep(&all[..8], 8, all.len() - 8);
        assert!(!output.cut_to_boundary());
        output.keep(&all[8..], 0, 0);
        output.keep(&rows(1), 0, 0);
        assert!(output.cut_to_boundary());
        assert_eq!(output.pending(), &all[8..]);
    }

    #[test]
    fn a_run_is_copied_only_when_something_comes_between() {
        let mut output = Output::default();
        let mut passage = Passage::new(b"abcdef", &mut output);
        passage.pass(2);
        passage.consume(2);
        passage.pass(1);
        passage.consume(1);
        assert_eq!(passage.into_run(), 0..3);
        assert!(output.is_empty());

        let mut passage = Passage::new(b"abcdef", &mut output);
        passage.pass(2);
        passage.consume(3);
        passage.pass(1);
        passage.consume(1);
        passage.put().extend_from_slice(b"-");
        passage.pass(2);
        passage.consume(2);
        assert!(passage.into_run().is_empty());
        assert_eq!(output.pending(), b"abd-ef");
    }
}
