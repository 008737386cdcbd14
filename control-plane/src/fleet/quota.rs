//! How much of a grant's quota a session is given at a time. Pure.

use pglens_rpc::v1::QuotaSlice;

use crate::storage::quota::{QuotaAmount, QuotaState};

/// A session gets no more than this part of what is left, so that several sessions can spend a small quota to its end.
const SHARE: u64 = 8;
/// Statements beyond which a larger slice saves no round trip worth saving.
const MAX_SLICE_QUERIES: u64 = 1_000;
/// Bytes beyond which a larger slice saves no round trip worth saving.
const MAX_SLICE_BYTES: u64 = 64 * 1024 * 1024;
/// What a new session is given at least, where there is as much: a statement and a small result.
pub const FIRST_NEED: QuotaAmount = QuotaAmount {
    queries: 1,
    bytes: 64 * 1024,
};

/// The slice for a session that needs `need`: more than that while much is left, and never more than is left. A quota
/// that the grant does not have, and one that was not asked for, gives nothing.
#[must_use]
pub fn decide(need: QuotaAmount, state: &QuotaState) -> QuotaAmount {
    QuotaAmount {
        queries: slice(need.queries, state.queries_left(), MAX_SLICE_QUERIES),
        bytes: slice(need.bytes, state.bytes_left(), MAX_SLICE_BYTES),
    }
}

fn slice(need: u64, left: Option<u64>, max: u64) -> u64 {
    match left {
        None => 0,
        Some(_) if need == 0 => 0,
        Some(left) => need.max((left / SHARE).min(max)).min(left),
    }
}

/// The message that hands `amount` over. `state` is how the grant stood before.
#[must_use]
pub fn message(
    request_id: u64,
    session_id: Vec<u8>,
    state: &QuotaState,
    amount: QuotaAmount,
) -> QuotaSlice {
    QuotaSlice {
        request_id,
        session_id,
        queries: state.max_queries.map(|_| amount.queries),
        bytes: state.max_bytes.map(|_| amount.bytes),
        queries_spent: state.queries_left() == Some(amount.queries),
        bytes_spent: state.bytes_left() == Some(amount.bytes),
    }
}

/// The message for a session that does not run: it gets nothing, ever.
#[must_use]
pub fn nothing(request_id: u64, session_id: Vec<u8>) -> QuotaSlice {
    QuotaSlice {
        request_id,
        session_id,
        queries: Some(0),
        bytes: Some(0),
        queries_spent: true,
        bytes_spent: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_shrink_with_what_is_left() {
        let check = |need, left, expected| {
            assert_eq!(slice(need, left, 1000), expected, "need {need} of {left:?}");
        };
        check(1, None, 0);
        check(0, Some(100), 0);
        check(1, Some(1_000_000), 1000);
        check(1, Some(800), 100);
        check(300, Some(800), 300);
        check(1, Some(7), 1);
        check(5, Some(3), 3);
        check(1, Some(0), 0);
        check(5000, Some(1_000_000), 5000);
    }

    #[test]
    fn a_quota_is_spent_to_its_end_and_not_beyond() {
        let mut state = QuotaState {
            max_queries: Some(1234),
            max_bytes: None,
            queries_reserved: 0,
            bytes_reserved: 0,
        };
        let need = QuotaAmount {
            queries: 1,
            bytes: 1,
        };
        let mut given = 0;
        loop {
            let amount = decide(need, &state);
            let slice = message(1, vec![], &state, amount);
            given += amount.queries;
            state.queries_reserved += amount.queries;
            assert_eq!((slice.bytes, slice.bytes_spent), (None, false));
            if slice.queries_spent {
                break;
            }
        }
        assert_eq!(given, 1234);
        assert_eq!(decide(need, &state), QuotaAmount::default());
    }
}
