//! What the publisher asks of the records, and tells.

use super::{Next, Outbox, Waiting, WakeAt};
use crate::audit::window::BatchLimit;

impl Outbox {
    /// Whether a control plane takes records now, as far as is known.
    pub(crate) fn is_publishing(&self) -> bool {
        let mut state = self.state.lock();
        state.room_wanted |= !state.is_publishing;
        state.is_publishing
    }

    pub(crate) fn set_publishing(&self, is_publishing: bool) {
        self.state.lock().is_publishing = is_publishing;
        self.tell_room();
    }

    pub(crate) fn waiting_behind(&self, sequence: u64) -> Waiting {
        let state = self.state.lock();
        let records = state.spooled.saturating_sub(sequence);
        let total_before = state.total_at(sequence);
        let bytes = state.spooled_total.saturating_sub(total_before);
        Waiting {
            records,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            awaiting: match records > 0 && state.awaited > sequence {
                true => state.awaiting.max(1),
                false => 0,
            },
            total_before,
        }
    }

    /// What was waited for until now is on its way.
    pub(crate) fn on_its_way(&self) {
        self.state.lock().awaiting = 0;
    }

    /// The records behind `sequence`, up to the limits but at least one frame.
    pub(crate) fn next_behind(&self, sequence: u64, limit: BatchLimit) -> Next {
        let state = self.state.lock();
        if state.spooled <= sequence {
            return Next::Nothing;
        }
        match state.window.batch_behind(sequence, limit) {
            Some(batch) => Next::Batch(batch),
            None if state.window.reaches(sequence) => Next::HasLarge,
            None => Next::OnDisk,
        }
    }

    /// Returns when as much is written as was asked for, or something is urgent. Cancel safe.
    pub(crate) async fn written(&self, wake: WakeAt) {
        {
            let mut state = self.state.lock();
            state.wake = Some(wake);
            if state.wakes() {
                return;
            }
        }
        self.written.notified().await;
    }
}
