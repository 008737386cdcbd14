//! The session's share of its grant's budget: slices given by the control plane, used before anything is let through.
//!
//! More is asked for ahead of need. A request that gets no answer is repeated; an answer to a request that was given
//! up still counts, because the control plane has given it.

use std::time::{Duration, Instant};

use pglens_rpc::v1;

/// A request without an answer after this long is made again: the stream broke under it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a spent quota is asked about again: other sessions give back what they did not use.
const SPENT_RETRY: Duration = Duration::from_secs(1);

/// What one look at the quota says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// Not in this slice; more was asked for.
    NotYet,
    /// Nothing is left for anyone.
    Spent,
}

/// What the session has used, for its accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) queries: u64,
    pub(crate) bytes: u64,
}

/// One of the two budgets.
#[derive(Debug, Default)]
struct Budget {
    /// `None`: not limited.
    left: Option<u64>,
    /// Size of the last slice; asking begins when half of it is used.
    slice: u64,
    used: u64,
    spent_since: Option<Instant>,
}

impl Budget {
    fn new(slice: Option<u64>, spent: bool, now: Instant) -> Self {
        Self {
            left: slice,
            slice: slice.unwrap_or(0),
            used: 0,
            spent_since: spent.then_some(now),
        }
    }

    fn take(&mut self, amount: u64, now: Instant) -> Taken {
        match &mut self.left {
            None => {}
            Some(left) if *left >= amount => *left -= amount,
            Some(_) => {
                let is_spent = self
                    .spent_since
                    .is_some_and(|since| now.saturating_duration_since(since) < SPENT_RETRY);
                return if is_spent {
                    Taken::Spent
                } else {
                    Taken::NotYet
                };
            }
        }
        self.used += amount;
        Taken::Yes
    }

    fn give_back(&mut self, amount: u64) {
        self.used = self.used.saturating_sub(amount);
        if let Some(left) = &mut self.left {
            *left += amount;
        }
    }

    fn add(&mut self, slice: Option<u64>, spent: bool, now: Instant) {
        let (Some(left), Some(slice)) = (&mut self.left, slice) else {
            return;
        };
        *left += slice;
        if slice > 0 {
            self.slice = slice;
        }
        self.spent_since = spent.then_some(now);
    }

    /// How much to ask for, if it is time.
    fn wanted(&self, needed: u64, now: Instant) -> u64 {
        let Some(left) = self.left else { return 0 };
        let missing = needed.saturating_sub(left);
        let is_low = left < self.slice / 2 + 1;
        let asked_lately = self
            .spent_since
            .is_some_and(|since| now.saturating_duration_since(since) < SPENT_RETRY);
        // Once spent, it is only asked about again when something is missing.
        if asked_lately || !(missing > 0 || is_low && self.spent_since.is_none()) {
            return 0;
        }
        missing.max(1)
    }
}

/// Both budgets of a session.
#[derive(Debug)]
pub(crate) struct Quota {
    session_id: Vec<u8>,
    queries: Budget,
    bytes: Budget,
    needed_queries: u64,
    needed_bytes: u64,
    next_request: u64,
    outstanding: Option<(u64, Instant)>,
}

impl Quota {
    pub(crate) fn new(session_id: Vec<u8>, first: &v1::QuotaSlice, now: Instant) -> Self {
        Self {
            session_id,
            queries: Budget::new(first.queries, first.queries_spent, now),
            bytes: Budget::new(first.bytes, first.bytes_spent, now),
            needed_queries: 0,
            needed_bytes: 0,
            next_request: 1,
            outstanding: None,
        }
    }

    pub(crate) fn take_queries(&mut self, count: u64, now: Instant) -> Taken {
        let taken = self.queries.take(count, now);
        self.needed_queries = if taken == Taken::NotYet { count } else { 0 };
        taken
    }

    /// Statements that were paid for and did not run.
    pub(crate) fn give_back_queries(&mut self, count: u64) {
        self.queries.give_back(count);
    }

    pub(crate) fn take_bytes(&mut self, count: u64, now: Instant) -> Taken {
        let taken = self.bytes.take(count, now);
        if self.bytes.left.is_some() {
            self.needed_bytes = if taken == Taken::NotYet { count } else { 0 };
        }
        taken
    }

    pub(crate) fn used(&self) -> Used {
        Used {
            queries: self.queries.used,
            bytes: self.bytes.used,
        }
    }

    /// The request to send now, if any.
    pub(crate) fn request(&mut self, now: Instant) -> Option<v1::QuotaRequest> {
        if let Some((_, since)) = self.outstanding
            && now.saturating_duration_since(since) < REQUEST_TIMEOUT
        {
            return None;
        }
        let queries = self.queries.wanted(self.needed_queries, now);
        let bytes = self.bytes.wanted(self.needed_bytes, now);
        if queries == 0 && bytes == 0 {
            self.outstanding = None;
            return None;
        }
        let request_id = self.next_request;
        self.next_request += 1;
        self.outstanding = Some((request_id, now));
        Some(v1::QuotaRequest {
            request_id,
            session_id: self.session_id.clone(),
            queries,
            bytes,
        })
    }

    /// When [`Quota::request`] must be asked again even if nothing else happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.outstanding.map(|(_, since)| since + REQUEST_TIMEOUT)
    }

    pub(crate) fn add(&mut self, slice: &v1::QuotaSlice, now: Instant) {
        self.queries.add(slice.queries, slice.queries_spent, now);
        self.bytes.add(slice.bytes, slice.bytes_spent, now);
        if self
            .outstanding
            .is_some_and(|(request_id, _)| request_id == slice.request_id)
        {
            self.outstanding = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(queries: Option<u64>, bytes: Option<u64>, now: Instant) -> Quota {
        let first = v1::QuotaSlice {
            queries,
            bytes,
            ..Default::default()
        };
        Quota::new(vec![7; 16], &first, now)
    }

    fn slice(request_id: u64, queries: u64, spent: bool) -> v1::QuotaSlice {
        v1::QuotaSlice {
            request_id,
            queries: Some(queries),
            queries_spent: spent,
            ..Default::default()
        }
    }

    #[test]
    fn without_a_quota_everything_is_taken_and_counted() {
        let now = Instant::now();
        let mut quota = quota(None, None, now);
        assert_eq!(quota.take_queries(1_000_000, now), Taken::Yes);
        assert_eq!(quota.take_bytes(5, now), Taken::Yes);
        assert_eq!(quota.request(now), None);
        let used = Used {
            queries: 1_000_000,
            bytes: 5,
        };
        assert_eq!(quota.used(), used);
    }

    #[test]
    fn more_is_asked_for_ahead_of_need_and_once() {
        let now = Instant::now();
        let mut quota = quota(Some(10), None, now);
        assert_eq!(quota.request(now), None);
        assert_eq!(quota.take_queries(5, now), Taken::Yes);
        let request = quota.request(now).unwrap();
        assert_eq!((request.queries, request.bytes), (1, 0));
        assert_eq!(quota.request(now), None, "one request at a time");
        let again = quota.request(now + REQUEST_TIMEOUT).unwrap();
        assert_eq!(again.request_id, request.request_id + 1);
        quota.add(&slice(again.request_id, 10, false), now);
        assert_eq!(quota.take_queries(15, now), Taken::Yes);
    }

    #[test]
    fn a_spent_quota_is_asked_about_again_after_a_while() {
        let now = Instant::now();
        let mut quota = quota(Some(1), None, now);
        assert_eq!(quota.take_queries(1, now), Taken::Yes);
        assert_eq!(quota.take_queries(1, now), Taken::NotYet);
        let request = quota.request(now).unwrap();
        quota.add(&slice(request.request_id, 0, true), now);
        assert_eq!(quota.take_queries(1, now), Taken::Spent);
        assert_eq!(quota.request(now), None);
        let later = now + SPENT_RETRY;
        assert_eq!(quota.take_queries(1, later), Taken::NotYet);
        let request = quota.request(later).unwrap();
        quota.add(&slice(request.request_id, 3, true), later);
        assert_eq!(quota.take_queries(1, later), Taken::Yes);
    }

    #[test]
    fn what_did_not_run_is_given_back() {
        let now = Instant::now();
        let mut quota = quota(Some(3), None, now);
        assert_eq!(quota.take_queries(3, now), Taken::Yes);
        quota.give_back_queries(2);
        assert_eq!(quota.used().queries, 1);
        assert_eq!(quota.take_queries(2, now), Taken::Yes);
    }

    #[test]
    fn a_row_larger_than_the_slice_asks_for_what_it_needs() {
        let now = Instant::now();
        let mut quota = quota(None, Some(100), now);
        assert_eq!(quota.take_bytes(5000, now), Taken::NotYet);
        assert_eq!(quota.request(now).unwrap().bytes, 4900);
    }
}
