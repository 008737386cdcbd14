//! Waiting for something to become true.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longer than anything takes that works, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Time between two looks: short against what tests wait for, long against the cost of a look.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` is true.
///
/// Panics, naming the caller's line, when it is not within `deadline`.
#[track_caller]
pub fn eventually<Checked>(
    deadline: Duration,
    mut condition: impl FnMut() -> Checked,
) -> impl Future<Output = ()>
where
    Checked: Future<Output = bool>,
{
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + deadline;
        while !condition().await {
            assert!(
                Instant::now() < end,
                "{caller}: not true within {deadline:?}"
            );
            sleep(POLL_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_until_the_condition_holds() {
        let looks = std::cell::Cell::new(0);
        eventually(DEADLINE, || async {
            looks.set(looks.get() + 1);
            looks.get() == 3
        })
        .await;
        assert_eq!(looks.get(), 3);
    }

    #[tokio::test]
    #[should_panic(expected = "not true within 50ms")]
    async fn it_gives_up_at_the_deadline() {
        eventually(Duration::from_millis(50), || async { false }).await;
    }
}
