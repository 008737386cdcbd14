//! Connections that are not logged in yet: so many at once, and a newcomer takes the place of the oldest.
//!
//! Whoever opens connections and says nothing only pushes himself out. An honest login takes milliseconds and is
//! long through before its turn comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// All connections that are not logged in.
#[derive(Debug)]
pub(crate) struct StartingSet {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_number: u64,
    /// By the order in which they came.
    waiting: BTreeMap<u64, CancellationToken>,
}

/// Whether somebody had to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    MadeByOldest,
}

impl StartingSet {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            inner: Mutex::default(),
        })
    }

    /// Takes a connection in, at the cost of the oldest when there are too many.
    pub(crate) fn enter(self: &Arc<Self>) -> (Starting, Room) {
        let evicted = CancellationToken::new();
        let mut inner = self.inner.lock();
        let mut room = Room::Free;
        if inner.waiting.len() >= self.limit
            && let Some((_number, oldest)) = inner.waiting.pop_first()
        {
            oldest.cancel();
            room = Room::MadeByOldest;
        }
        inner.last_number += 1;
        let number = inner.last_number;
        inner.waiting.insert(number, evicted.clone());
        drop(inner);
        let starting = Starting {
            set: Arc::clone(self),
            number,
            evicted,
        };
        (starting, room)
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.lock().waiting.len()
    }
}

/// A connection's place in the set, until it is dropped.
#[derive(Debug)]
pub(crate) struct Starting {
    set: Arc<StartingSet>,
    number: u64,
    evicted: CancellationToken,
}

impl Starting {
    /// Resolves when the place was given to another connection. Cancel safe.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.set.inner.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let set = StartingSet::new(2);
        let (first, _) = set.enter();
        let (second, room) = set.enter();
        assert_eq!(room, Room::Free);
        let (third, room) = set.enter();
        assert_eq!(room, Room::MadeByOldest);
        let evicted = [&first, &second, &third].map(|one| one.evicted.is_cancelled());
        assert_eq!(evicted, [true, false, false]);
        drop(first);
        assert_eq!(set.len(), 2, "its place is another's by now");
        drop(third);
        let (_fourth, room) = set.enter();
        assert_eq!((room, set.len()), (Room::Free, 2));
    }
}
