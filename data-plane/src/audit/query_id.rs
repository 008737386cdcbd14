//! The ids of statements.

use rand::Rng;
use uuid::{Builder, Uuid};

use crate::clock::Now;

/// A UUIDv7 that sorts by the microsecond: the fraction of the millisecond stands where RFC 9562 lets it (section 6.2,
/// method 3), the rest is random. The generator is the thread's own, because the system's costs a system call each time.
pub(super) fn query_id(now: Now) -> Uuid {
    let micros = now.unix_us.max(0).unsigned_abs();
    let fraction = u16::try_from(micros % 1000 * 4096 / 1000).unwrap_or_default();
    let random = rand::rng().next_u64();
    let bytes = u128::from(fraction) << 64 | u128::from(random);
    let [_, _, _, _, _, _, bytes @ ..] = bytes.to_be_bytes();
    Builder::from_unix_timestamp_millis(micros / 1000, &bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_us: i64) -> Now {
        Now {
            unix_us,
            ..Now::read()
        }
    }

    #[test]
    fn ids_say_when_sort_by_it_and_differ() {
        let moment = 1_790_000_000_123_000;
        let ids: Vec<_> = (0..1000).map(|us| query_id(at(moment + us))).collect();
        assert!(ids.is_sorted());
        let id = ids[999];
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(
            id.get_timestamp().unwrap().to_unix(),
            (1_790_000_000, 123_000_000)
        );
        assert_ne!(query_id(at(moment)), query_id(at(moment)));
        assert_eq!(query_id(at(-5)).get_version_num(), 7);
    }
}
