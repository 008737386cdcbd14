//! The memory of queues of messages without a reply: a session has some only while there are any.
//!
//! Each thread keeps what its sessions gave back for the next one that asks. A pipeline then finds a queue that has grown
//! for another, and an idle session owns none.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::exchange::Expected;

/// Room in a new queue: what a statement takes with the extended protocol.
const FIRST: usize = 8;
/// A queue that has grown beyond this, some ten kilobytes, is given up.
const MAX_KEPT: usize = 64;
/// Queues that a thread keeps; its sessions are served one after the other, and few wait at once.
const MAX_QUEUES: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<VecDeque<Expected>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn take() -> VecDeque<Expected> {
    let kept = POOL.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| VecDeque::with_capacity(FIRST))
}

/// Takes the memory of a queue that is empty.
pub(super) fn give_back(queue: VecDeque<Expected>) {
    debug_assert!(queue.is_empty(), "a message waits for its reply");
    POOL.with_borrow_mut(|pool| {
        if (1..=MAX_KEPT).contains(&queue.capacity()) && pool.len() < MAX_QUEUES {
            pool.push(queue);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_has_grown_serves_the_next_session() {
        let mut queue = take();
        assert_eq!(queue.capacity(), FIRST);
        queue.extend((0..MAX_KEPT).map(|_| Expected::Sync));
        queue.clear();
        give_back(queue);
        let mut queue = take();
        assert_eq!(queue.capacity(), MAX_KEPT);
        queue.extend((0..=MAX_KEPT).map(|_| Expected::Sync));
        queue.clear();
        give_back(queue);
        assert_eq!(take().capacity(), FIRST, "a large one is given up");
    }
}
