//! Reads what a run has left: its records, and the statements that may have run though their record had not begun.
//!
//! Frames follow one another by their sequence numbers. Bytes behind the last of them are the torn end of a process
//! that died while it wrote: what they were to say was not in effect yet. A number that is missing is damage.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use pglens_rpc::v1;
use pglens_rpc::v1::record::Event;
use prost::{DecodeError, Message as _};

use super::folder::RunFolder;
use super::frame::FrameKey;
use super::notes::Notes;
use super::reader::{Found, Frame, Position};
use super::window::{Batch, BatchLimit};

/// The record of a run whose process is gone.
#[derive(Debug)]
pub(crate) struct Replay {
    folder: Arc<RunFolder>,
    key: FrameKey,
    segments: Vec<u32>,
    /// Where reading goes on: an index into `segments`, and a place in that one.
    at: usize,
    position: Position,
    /// Of the first frame there is, and of the last that follows without a gap.
    first_sequence: Option<u64>,
    last_sequence: u64,
    /// Statements that may have run, in the order in which they were announced, numbered behind the last record.
    unsettled: Vec<v1::StatementStarted>,
    is_damaged: bool,
}

impl Replay {
    pub(crate) fn new(folder: Arc<RunFolder>, key: FrameKey) -> Self {
        Self {
            folder,
            key,
            segments: Vec::new(),
            at: 0,
            position: Position::default(),
            first_sequence: None,
            last_sequence: 0,
            unsettled: Vec::new(),
            is_damaged: false,
        }
    }

    /// Whether records are missing between those that are there.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Reads everything once, to know where it ends and which statements are open.
    pub(crate) fn survey(&mut self) -> io::Result<()> {
        self.segments = self.folder.segments()?;
        let mut open: HashMap<Vec<u8>, (usize, v1::StatementStarted)> = HashMap::new();
        let mut announced = 0;
        while let Some(frame) = self.next_frame(0)? {
            let first = frame.header.first_sequence;
            if self.first_sequence.is_some() && first != self.last_sequence + 1 {
                self.is_damaged = true;
                break;
            }
            self.first_sequence.get_or_insert(first);
            self.last_sequence = frame.header.last_sequence();
            let (Ok(notes), Ok(begun)) = (Notes::read(&frame.notes), started_in(&frame)) else {
                // What cannot be read may hold statements that ran.
                self.is_damaged = true;
                break;
            };
            for started in notes.announced {
                announced += 1;
                open.insert(started.query_id.clone(), (announced, started));
            }
            if !open.is_empty() {
                for query_id in begun.into_iter().chain(notes.settled) {
                    open.remove(&query_id);
                }
            }
        }
        let mut unsettled: Vec<_> = open.into_values().collect();
        unsettled.sort_by_key(|(number, _)| *number);
        self.unsettled = unsettled.into_iter().map(|(_, started)| started).collect();
        (self.at, self.position) = (0, Position::default());
        Ok(())
    }

    /// What to send behind `committed`; `None` when there is no more.
    pub(crate) fn next_behind(
        &mut self,
        committed: u64,
        limit: BatchLimit,
    ) -> io::Result<Option<Batch>> {
        if self
            .first_sequence
            .is_some_and(|first| first > committed + 1)
        {
            self.is_damaged = true;
            return Ok(None);
        }
        let batch = match committed < self.last_sequence {
            true => self.read_behind(committed, limit)?,
            false => self.unsettled_behind(committed, limit),
        };
        Ok((!batch.records.is_empty()).then_some(batch))
    }

    fn read_behind(&mut self, committed: u64, limit: BatchLimit) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let mut behind = committed;
        while behind < self.last_sequence {
            let Some(frame) = self.next_frame(behind)? else {
                break;
            };
            if frame.header.record_count == 0 {
                continue;
            }
            let last = frame.header.last_sequence();
            if !batch.add((frame.header.first_sequence, last), &frame.sent, limit) {
                self.position.step_back();
                break;
            }
            behind = last;
        }
        Ok(batch)
    }

    fn unsettled_behind(&self, committed: u64, limit: BatchLimit) -> Batch {
        let mut batch = Batch::default();
        for (sequence, started) in (self.last_sequence + 1..).zip(&self.unsettled) {
            if sequence <= committed {
                continue;
            }
            let record = v1::Record {
                event: Some(Event::StatementStarted(started.clone())),
            };
            let records = v1::RecordBatch {
                records: vec![record.encode_to_vec().into()],
                ..Default::default()
            };
            if !batch.add((sequence, sequence), &records.encode_to_vec().into(), limit) {
                break;
            }
        }
        batch
    }

    /// The next frame behind `sequence`, in this segment or a later one.
    fn next_frame(&mut self, sequence: u64) -> io::Result<Option<Frame>> {
        loop {
            let Some(number) = self.segments.get(self.at).copied() else {
                return Ok(None);
            };
            if self.position.segment() != Some(number) {
                self.position.enter(&self.folder, number)?;
            }
            match self.position.next_behind(&self.key, sequence)? {
                Found::Frame(frame) => return Ok(Some(frame)),
                // What is missing, if anything is, shows in the number of the next frame.
                Found::End | Found::Damaged => self.at += 1,
            }
        }
    }
}

fn started_in(frame: &Frame) -> Result<Vec<Vec<u8>>, DecodeError> {
    let batch = v1::RecordBatch::decode(frame.sent.clone())?;
    let events = batch
        .decoded()?
        .into_iter()
        .filter_map(|record| record.event);
    Ok(events
        .filter_map(|event| match event {
            Event::StatementStarted(started) | Event::BriefStatementStarted(started) => {
                Some(started.query_id)
            }
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests;
