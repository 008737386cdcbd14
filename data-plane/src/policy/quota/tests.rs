//! Tests of a session's quotas.

use super::*;

fn quota(queries: Option<u64>, bytes: Option<u64>, now: Instant) -> (Quota, Arc<SharedQuota>) {
    let first = v1::QuotaSlice {
        queries,
        bytes,
        ..Default::default()
    };
    let max = (queries.map(|_| 1000), bytes.map(|_| 100_000));
    let shared = Quota::shared(vec![7; 16], GrantId(3), max, &first, now).unwrap();
    (Quota::new(Some(Arc::clone(&shared))), shared)
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
    let none = v1::QuotaSlice::default();
    assert!(Quota::shared(vec![7; 16], GrantId(3), (None, None), &none, now).is_none());
    let mut quota = Quota::new(None);
    assert_eq!(quota.take_queries(1_000_000, now), Taken::Yes);
    assert_eq!(quota.take_bytes(5, now), Taken::Yes);
    assert_eq!(quota.request(now), None);
    let used = Used {
        queries: 1_000_000,
        bytes: 5,
    };
    assert_eq!((quota.used(), quota.left()), (used, Left::default()));
}

#[test]
fn more_is_asked_for_ahead_of_need_and_once() {
    let now = Instant::now();
    let (mut quota, shared) = quota(Some(10), None, now);
    assert_eq!(quota.request(now), None);
    assert_eq!(quota.take_queries(5, now), Taken::Yes);
    let request = quota.request(now).unwrap();
    assert_eq!((request.queries, request.queries_wanted), (0, 32));
    assert_eq!((request.queries_used, request.queries_held), (5, 5));
    assert_eq!(quota.request(now), None, "one request at a time");
    let again = quota.request(now + REQUEST_TIMEOUT).unwrap();
    assert_eq!(again.request_id, request.request_id + 1);
    shared.add(&slice(request.request_id, 10, false), now);
    assert_eq!(
        quota.take_queries(6, now),
        Taken::NotYet,
        "the answer is void"
    );
    shared.add(&slice(again.request_id, 10, false), now);
    assert_eq!(quota.take_queries(15, now), Taken::Yes);
    let faster = quota.request(now).unwrap();
    assert_eq!(faster.queries_wanted, 128, "slices grow with the speed");
}

#[test]
fn who_waits_for_more_gives_back_the_little_it_has() {
    let now = Instant::now();
    let (mut quota, shared) = quota(None, Some(100), now);
    assert_eq!(quota.take_bytes(5000, now), Taken::NotYet);
    let request = quota.request(now).unwrap();
    assert_eq!((request.bytes, request.bytes_held), (5000, 0));
    assert_eq!(shared.recall(), None, "it holds nothing and waits");
    let answer = v1::QuotaSlice {
        request_id: request.request_id,
        bytes: Some(5000),
        ..Default::default()
    };
    shared.add(&answer, now);
    assert_eq!(shared.recall(), None, "what it waited for is its own");
    assert_eq!(quota.take_bytes(5000, now), Taken::Yes);
}

#[test]
fn what_is_not_used_is_called_back_and_counted_once() {
    let now = Instant::now();
    let (mut quota, shared) = quota(Some(10), None, now);
    assert_eq!(quota.take_queries(3, now), Taken::Yes);
    let report = shared.recall().unwrap();
    assert_eq!((report.queries_used, report.queries_held), (3, 0));
    assert_eq!(quota.request(now), None, "nothing is needed");
    assert_eq!(quota.take_queries(1, now), Taken::NotYet);
    let request = quota.request(now).unwrap();
    assert_eq!((request.request_id, request.queries), (2, 1));
    assert_eq!(quota.used().queries, 3);
}

#[test]
fn a_spent_quota_is_asked_about_again_after_a_while() {
    let now = Instant::now();
    let (mut quota, shared) = quota(Some(1), None, now);
    assert_eq!(quota.take_queries(1, now), Taken::Yes);
    assert_eq!(quota.take_queries(3, now), Taken::NotYet);
    let request = quota.request(now).unwrap();
    shared.add(&slice(request.request_id, 0, true), now);
    assert_eq!(quota.take_queries(3, now), Taken::Spent);
    assert_eq!(quota.request(now), None);
    assert_eq!(
        quota.take_queries(1, now),
        Taken::NotYet,
        "less may be left"
    );
    quota.forget_need();
    let later = now + Duration::from_secs(1);
    assert_eq!(quota.take_queries(3, later), Taken::NotYet);
    let request = quota.request(later).unwrap();
    shared.add(&slice(request.request_id, 3, false), later);
    assert_eq!(quota.take_queries(3, later), Taken::Yes);
}

#[test]
fn what_did_not_run_is_given_back() {
    let now = Instant::now();
    let (mut quota, _shared) = quota(Some(3), None, now);
    assert_eq!(quota.take_queries(3, now), Taken::Yes);
    quota.give_back_queries(2);
    assert_eq!(quota.used().queries, 1);
    assert_eq!(quota.take_queries(2, now), Taken::Yes);
}

#[test]
fn the_notice_counts_what_others_spent_and_comes_once() {
    let now = Instant::now();
    let (mut quota, shared) = quota(Some(1000), None, now);
    assert_eq!(quota.take_queries(700, now), Taken::Yes);
    assert_eq!(quota.nearly_spent(), None);
    let request = quota.request(now).unwrap();
    let elsewhere = v1::QuotaSlice {
        queries_spent_elsewhere: 99,
        ..slice(request.request_id, 1, false)
    };
    shared.add(&elsewhere, now);
    assert_eq!(quota.nearly_spent(), None);
    assert_eq!(quota.take_queries(1, now), Taken::Yes);
    let told = NearlySpent {
        what: "statements",
        left: 200,
        max: 1000,
    };
    assert_eq!(quota.nearly_spent(), Some(told));
    assert_eq!(quota.nearly_spent(), None);
}

#[test]
fn a_session_that_does_nothing_hears_of_it_too() {
    let now = Instant::now();
    let (mut quota, shared) = quota(Some(10), None, now);
    let spent = v1::GrantSpent {
        grant_id: 3,
        queries_spent: 800,
        bytes_spent: 0,
    };
    shared.hear_total(&spent);
    assert_eq!(quota.nearly_spent().map(|told| told.left), Some(200));
    assert_eq!(quota.left().queries, Some(200));
}
