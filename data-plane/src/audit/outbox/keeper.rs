//! Keeps the spool in order: removes what is committed, tries again what could not be written, and reads back what has
//! left memory.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use pglens_runtime::Chain;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Outbox;
use super::state::SegmentUse;
use crate::audit::frame::FrameKey;
use crate::audit::notes::Notes;
use crate::audit::reader::{Found, Position};
use crate::audit::window::{Batch, BatchLimit, Kept};

/// Records that no session waits for, rows and ends of statements, are written after this long at most.
const LAST_WRITE: Duration = Duration::from_millis(5);
/// How often a spool that cannot be written is tried again.
const RETRY: Duration = Duration::from_millis(200);

impl Outbox {
    /// Works until `shutdown` is cancelled. The disk is used on threads that may wait for it.
    pub(crate) async fn keep(self: Arc<Self>, shutdown: CancellationToken) {
        let mut writing_late = std::pin::pin!(Arc::clone(&self).write_late());
        loop {
            let has_fault = !self.is_sound();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = &mut writing_late => return,
                () = self.untidy.notified() => {}
                () = tokio::time::sleep(RETRY), if has_fault => {}
            }
            let outbox = Arc::clone(&self);
            let tidied = tokio::task::spawn_blocking(move || outbox.tidy()).await;
            if let Err(error) = tidied.map_err(io::Error::other).flatten() {
                tracing::warn!(error = %Chain(&error), "committed records not removed from the spool");
            }
        }
    }

    /// Writes what no session waits for, while there is any. Runs until it is dropped.
    async fn write_late(self: Arc<Self>) {
        loop {
            self.unwritten.notified().await;
            loop {
                tokio::time::sleep(LAST_WRITE).await;
                let is_done = {
                    let mut state = self.state.lock();
                    // A fault is the keeper's.
                    let is_done = state.pending.is_empty() || !self.is_sound();
                    state.is_looked_after = !is_done;
                    is_done
                };
                if is_done {
                    break;
                }
                self.flush();
            }
        }
    }

    pub(crate) fn tidy(&self) -> io::Result<()> {
        if !self.is_sound() {
            self.flush();
        }
        loop {
            let Some(segment) = self.state.lock().dropped.pop() else {
                return Ok(());
            };
            if let Err(error) = self.remove_segment(&segment) {
                self.state.lock().dropped.push(segment);
                return Err(error);
            }
        }
    }

    /// Removes a segment; what it says of statements that still may run is said again first.
    fn remove_segment(&self, segment: &SegmentUse) -> io::Result<()> {
        let announced: HashMap<Uuid, usize> = {
            let state = self.state.lock();
            let announced = state.announced.iter();
            // In this one or one before it, which is dropped as well.
            let here = announced.filter(|(_, announced)| announced.frame <= segment.last_frame);
            here.map(|(key, announced)| (announced.query_id, key))
                .collect()
        };
        if !announced.is_empty() && !self.announce_again(segment.number, &announced)? {
            return Err(ErrorKind::StorageFull.into());
        }
        self.folder.remove_segment(segment.number)
    }

    fn announce_again(&self, number: u32, announced: &HashMap<Uuid, usize>) -> io::Result<bool> {
        let key = self.key()?;
        let mut position = Position::default();
        position.enter(&self.folder, number)?;
        while let Found::Frame(frame) = position.next_behind(&key, 0)? {
            for started in Notes::read(&frame.notes)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?
                .announced
            {
                let Ok(query_id) = Uuid::from_slice(&started.query_id) else {
                    continue;
                };
                let Some(key) = announced.get(&query_id) else {
                    continue;
                };
                let mut state = self.state.lock();
                let frame = state.next_frame();
                // Unless it was settled meanwhile, and another one has its place.
                if let Some(still) = state.announced.get_mut(*key)
                    && still.query_id == query_id
                {
                    still.frame = frame;
                    state.pending.notes.announce_again(started);
                }
            }
        }
        Ok(self.flush())
    }

    fn key(&self) -> io::Result<Arc<FrameKey>> {
        let key = self.writer.lock().key.clone();
        key.ok_or_else(|| ErrorKind::PermissionDenied.into())
    }

    /// The records behind `sequence`, of which some are on the disk only. Those are read from `position` on, unless it is
    /// known where they are.
    pub(crate) fn read_behind(
        &self,
        position: &mut Position,
        sequence: u64,
        limit: BatchLimit,
    ) -> io::Result<Batch> {
        let key = self.key()?;
        let mut batch = Batch::default();
        let mut behind = sequence;
        loop {
            let kept = self.state.lock().window.frame_behind(behind);
            match kept {
                Some(Kept::InMemory(sequences, sent)) => {
                    if !batch.add(sequences, &sent, limit) {
                        return Ok(batch);
                    }
                    (_, behind) = sequences;
                    continue;
                }
                Some(Kept::OnDisk(place)) => position.go_to(&self.folder, place)?,
                None => {
                    let Some(segment) = self.segment_behind(behind) else {
                        return Ok(batch);
                    };
                    if position.segment() != Some(segment) {
                        position.enter(&self.folder, segment)?;
                    }
                }
            }
            match position.next_behind(&key, behind)? {
                Found::Frame(frame) if frame.header.record_count == 0 => {}
                Found::Frame(frame) => {
                    let last = frame.header.last_sequence();
                    if !batch.add((frame.header.first_sequence, last), &frame.sent, limit) {
                        position.step_back();
                        return Ok(batch);
                    }
                    behind = last;
                }
                Found::End | Found::Damaged => return Err(ErrorKind::InvalidData.into()),
            }
        }
    }

    /// The segment with the record behind `sequence`.
    fn segment_behind(&self, sequence: u64) -> Option<u32> {
        let state = self.state.lock();
        let mut segments = state.segments.iter();
        let segment = segments.find(|segment| segment.last_sequence > sequence)?;
        Some(segment.number)
    }

    /// Returns when everything is committed. Cancel safe.
    pub(crate) async fn drained(&self) {
        let mut room = self.watch_room();
        loop {
            self.flush();
            if self.is_all_committed() || room.changed().await.is_err() {
                return;
            }
        }
    }

    /// `false` makes the publisher hurry.
    fn is_all_committed(&self) -> bool {
        let (newest, committed) = {
            let mut state = self.state.lock();
            state.room_wanted = true;
            (state.newest, state.committed)
        };
        self.is_durable(newest) && committed == newest
    }

    /// Removes the folder if nothing in it is still needed; otherwise the next process finds it.
    pub(crate) fn close(&self) -> io::Result<()> {
        let is_done = {
            let state = self.state.lock();
            state.newest == state.committed && state.announced.is_empty()
        };
        match is_done {
            true => self.folder.remove(),
            false => Ok(()),
        }
    }
}
