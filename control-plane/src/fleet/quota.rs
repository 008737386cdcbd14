//! How much of a grant's quota a session is given at a time, and what it is told. Pure.

use pglens_rpc::v1::QuotaSlice;

use crate::storage::quota::{QuotaAmount, QuotaState};
use crate::storage::quota_claim::{Holders, QuotaClaim};

/// A session gets no more than this part of what would be its share, so that those that come later find some.
const SHARE: u64 = 2;
/// What a new session asks for: a screen of statements and a small result. Faster ones ask for more.
pub const FIRST_WANTED: QuotaAmount = QuotaAmount {
    queries: 32,
    bytes: 256 * 1024,
};

/// What is given for a claim, seen by how the grant stands: what is needed or nothing of it, more while much is left, and
/// never more than is left.
#[must_use]
pub fn decide(claim: &QuotaClaim, state: &QuotaState, others: &Holders) -> QuotaAmount {
    let sessions = others.sessions;
    let amount = QuotaAmount {
        queries: slice(
            claim.need.queries,
            claim.wanted.queries,
            state.queries_left(),
            sessions,
        ),
        bytes: slice(
            claim.need.bytes,
            claim.wanted.bytes,
            state.bytes_left(),
            sessions,
        ),
    };
    // While one of both is missing, the other would only be held.
    match claim.need.less(amount) == QuotaAmount::default() {
        true => amount,
        false => QuotaAmount::default(),
    }
}

/// The first slice of a session that is the `sessions`th of its grant.
#[must_use]
pub fn first(state: &QuotaState, sessions: u64) -> QuotaAmount {
    QuotaAmount {
        queries: slice(0, FIRST_WANTED.queries, state.queries_left(), sessions),
        bytes: slice(0, FIRST_WANTED.bytes, state.bytes_left(), sessions),
    }
}

fn slice(need: u64, wanted: u64, left: Option<u64>, sessions: u64) -> u64 {
    match left {
        Some(left) if need <= left => {
            let share = left / sessions.max(1).saturating_mul(SHARE);
            need.max(wanted.min(share))
        }
        _ => 0,
    }
}

/// Why a session did not get what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Running sessions hold some of it: it can be called back.
    Held,
    /// Only sessions of lost proxies hold some of it.
    Withheld,
    /// It is spent.
    Spent,
}

/// Why `need` is not to be had; `None` when it is.
#[must_use]
pub fn shortage(need: u64, given: u64, held: u64, withheld: u64) -> Option<Shortage> {
    if need == 0 || given >= need {
        None
    } else if held > 0 {
        Some(Shortage::Held)
    } else if withheld > 0 {
        Some(Shortage::Withheld)
    } else {
        Some(Shortage::Spent)
    }
}

/// The shortages of a settled claim: statements, bytes.
#[must_use]
pub fn shortages(
    claim: &QuotaClaim,
    amount: QuotaAmount,
    others: &Holders,
) -> [Option<Shortage>; 2] {
    let (need, held, withheld) = (claim.need, others.held, others.withheld);
    [
        shortage(need.queries, amount.queries, held.queries, withheld.queries),
        shortage(need.bytes, amount.bytes, held.bytes, withheld.bytes),
    ]
}

/// The message that hands `amount` over.
#[must_use]
pub fn message(
    claim: &QuotaClaim,
    amount: QuotaAmount,
    state: &QuotaState,
    others: &Holders,
) -> QuotaSlice {
    let [queries, bytes] = shortages(claim, amount, others);
    let spent = |why: Option<Shortage>| why == Some(Shortage::Spent);
    let withheld = |why: Option<Shortage>| matches!(why, Some(Shortage::Held | Shortage::Withheld));
    QuotaSlice {
        request_id: claim.request_id,
        session_id: claim.session_id.to_wire(),
        queries: state.max_queries.map(|_| amount.queries),
        bytes: state.max_bytes.map(|_| amount.bytes),
        queries_spent: spent(queries),
        bytes_spent: spent(bytes),
        queries_withheld: withheld(queries),
        bytes_withheld: withheld(bytes),
        queries_spent_elsewhere: elsewhere(
            state.queries_reserved,
            claim.used.queries + claim.held.queries,
            others.held.queries + others.withheld.queries,
        ),
        bytes_spent_elsewhere: elsewhere(
            state.bytes_reserved,
            claim.used.bytes + claim.held.bytes,
            others.held.bytes + others.withheld.bytes,
        ),
    }
}

/// What others have spent: all that is taken, less what the session has, less what others hold.
fn elsewhere(reserved: u64, own: u64, held: u64) -> u64 {
    reserved.saturating_sub(own).saturating_sub(held)
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
        ..QuotaSlice::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_shrink_with_what_is_left_and_with_the_number_of_sessions() {
        let check = |need, wanted, left, sessions, expected| {
            let given = slice(need, wanted, left, sessions);
            assert_eq!(given, expected, "need {need} of {left:?} for {sessions}");
        };
        check(1, 50, None, 1, 0);
        check(0, 0, Some(100), 1, 0);
        check(0, 50, Some(1_000_000), 1, 50);
        check(0, 50, Some(80), 1, 40);
        check(0, 50, Some(800), 100, 4);
        check(1, 50, Some(10), 100, 1);
        check(300, 50, Some(800), 1, 300);
        check(5, 50, Some(3), 1, 0);
        check(1, 50, Some(0), 1, 0);
        check(0, 50, Some(1), 1, 0);
    }

    #[test]
    fn nothing_counts_as_spent_while_somebody_holds_it() {
        assert_eq!(shortage(0, 0, 9, 9), None);
        assert_eq!(shortage(2, 2, 0, 0), None);
        assert_eq!(shortage(2, 0, 1, 1), Some(Shortage::Held));
        assert_eq!(shortage(2, 0, 0, 1), Some(Shortage::Withheld));
        assert_eq!(shortage(2, 0, 0, 0), Some(Shortage::Spent));
    }
}
