//! Reads the frames of a run back, in order, from its segments.

use std::io;

use bytes::Bytes;

use super::folder::{Place, RunFolder, Segment};
use super::frame::{FrameKey, HEADER_BYTES, Header};

/// A frame as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    /// Records as they are sent.
    pub(crate) sent: Bytes,
    /// What only this proxy reads.
    pub(crate) notes: Bytes,
}

/// Where in the spool reading goes on.
#[derive(Debug, Default)]
pub(crate) struct Position {
    segment: Option<Segment>,
    offset: u64,
    /// Where the frame that was read last begins.
    before: u64,
}

/// What stands at a position.
#[derive(Debug)]
pub(crate) enum Found {
    Frame(Frame),
    /// Nothing more is whole in the segment.
    End,
    /// There are bytes, but no frame of this run.
    Damaged,
}

impl Position {
    /// The segment it is in.
    pub(crate) fn segment(&self) -> Option<u32> {
        self.segment.as_ref().map(|segment| segment.number)
    }

    /// Goes back before the frame that was read last.
    pub(crate) fn step_back(&mut self) {
        self.offset = self.before;
    }

    /// Goes to the beginning of a segment.
    pub(crate) fn enter(&mut self, folder: &RunFolder, number: u32) -> io::Result<()> {
        self.segment = Some(folder.open_segment(number)?);
        self.offset = 0;
        Ok(())
    }

    /// Goes to the beginning of a frame.
    pub(crate) fn go_to(&mut self, folder: &RunFolder, place: Place) -> io::Result<()> {
        if self.segment() != Some(place.segment) {
            self.enter(folder, place.segment)?;
        }
        self.offset = place.offset;
        Ok(())
    }

    /// The next frame of the segment whose last record is behind `sequence`; frames without records are `behind` too
    /// when `sequence` is 0 only. What is passed over is not opened.
    pub(crate) fn next_behind(&mut self, key: &FrameKey, sequence: u64) -> io::Result<Found> {
        let Some(segment) = &self.segment else {
            return Ok(Found::End);
        };
        loop {
            let mut header = [0; HEADER_BYTES];
            if !segment.read_at(&mut header, self.offset)? {
                return Ok(Found::End);
            }
            let Some(header) = Header::decode(&header) else {
                return Ok(Found::Damaged);
            };
            let end = self.offset + (HEADER_BYTES + header.sealed_bytes()) as u64;
            if sequence > 0 && header.last_sequence() <= sequence {
                self.offset = end;
                continue;
            }
            if segment.file.metadata()?.len() < end {
                return Ok(Found::End);
            }
            let mut content = vec![0; header.sealed_bytes()];
            if !segment.read_at(&mut content, self.offset + HEADER_BYTES as u64)? {
                return Ok(Found::End);
            }
            if key.open(segment.number, header, &mut content).is_err() {
                return Ok(Found::Damaged);
            }
            self.before = self.offset;
            self.offset = end;
            let mut sent = Bytes::from(content);
            let notes = sent.split_off(header.sent_bytes().min(sent.len()));
            return Ok(Found::Frame(Frame {
                header,
                sent,
                notes,
            }));
        }
    }
}
