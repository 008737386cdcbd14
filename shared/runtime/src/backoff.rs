//! How long to wait before trying again.

use std::time::Duration;

/// Delays that double from a first to a largest one, each cut by a random part of up to a half, so that processes
/// which failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `initial` to `max`.
    #[must_use]
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            next: initial.min(max),
        }
    }

    /// The delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.next;
        self.next = ceiling.saturating_mul(2).min(self.max);
        ceiling.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Starts from the first delay again, after something succeeded.
    pub fn reset(&mut self) {
        self.next = self.initial.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_largest_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let check = |backoff: &mut Backoff, ceiling_ms: u64| {
            let ceiling = Duration::from_millis(ceiling_ms);
            let delay = backoff.next_delay();
            assert!(
                delay <= ceiling && delay >= ceiling / 2,
                "{delay:?} for {ceiling:?}"
            );
        };
        for ceiling_ms in [100, 200, 350, 350] {
            check(&mut backoff, ceiling_ms);
        }
        backoff.reset();
        check(&mut backoff, 100);
    }
}
