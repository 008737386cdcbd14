//! Tests of the registry.

use super::*;
use crate::clock::{Now, process_us};
use uuid::Uuid;

fn id(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(number))
}

fn registry() -> Registry {
    Registry::new(mpsc::channel(1).0)
}

fn revoked() -> Termination {
    Termination {
        reason: v1::TerminateReason::GrantRevoked,
        message: "revoked".to_owned(),
        detail: String::new(),
        hint: String::new(),
    }
}

fn at(instant: Instant) -> Now {
    Now {
        instant,
        process_us: process_us(instant),
        unix_us: 0,
    }
}

#[test]
fn a_termination_reaches_its_session() {
    let (registry, now) = (Arc::new(registry()), Instant::now());
    let (_registration, messages) = registry.register(id(1), None, now).unwrap();
    registry.terminate([id(1)], &revoked(), now);
    assert_eq!(*messages.termination.borrow(), Some(revoked()));
}

#[test]
fn a_termination_that_overtakes_the_allow_is_remembered_for_a_while() {
    let (registry, now) = (Arc::new(registry()), Instant::now());
    registry.terminate([id(1)], &revoked(), now);
    assert_eq!(registry.register(id(1), None, now).unwrap_err(), revoked());
    let later = now + TOMBSTONE_LIFETIME + Duration::from_secs(1);
    assert!(registry.register(id(1), None, later).is_ok());
}

#[test]
fn tombstones_are_bounded() {
    let (registry, now) = (Arc::new(registry()), Instant::now());
    let many = u128::try_from(MAX_TOMBSTONES).unwrap() + 10;
    registry.terminate((0..many).map(id), &revoked(), now);
    registry.terminate([], &revoked(), now);
    assert_eq!(registry.state.lock().tombstones.len(), MAX_TOMBSTONES);
}

fn session(registry: &Arc<Registry>) -> (Registration, SessionMessages) {
    let (mut registration, messages) = registry.register(id(1), None, Instant::now()).unwrap();
    let target = Arc::new(CancelKey::for_tests(77));
    registration.accept_cancels(Box::new([1, 2, 3, 4]), target);
    (registration, messages)
}

#[test]
fn only_the_right_key_of_a_busy_session_cancels() {
    let registry = Arc::new(registry());
    let (registration, _messages) = session(&registry);
    let activity = registration.activity();
    let began = Instant::now() + Duration::from_secs(60);
    let asked_at = began + Duration::from_millis(1);
    let cancel = |process_id, secret: &[u8]| registry.begin_cancel(process_id, secret, asked_at);
    assert!(matches!(cancel(77, &[1, 2, 3, 4]), CancelTarget::Idle));
    assert!(!activity.is_being_cancelled());
    activity.begin(at(began));
    for (process_id, secret) in [
        (77, &[1, 2, 3, 5][..]),
        (77, &[1, 2, 3]),
        (78, &[1, 2, 3, 4]),
    ] {
        assert!(matches!(
            cancel(process_id, secret),
            CancelTarget::UnknownKey
        ));
    }
    let running = cancel(77, &[1, 2, 3, 4]);
    assert!(matches!(running, CancelTarget::Running(_)) && activity.is_being_cancelled());
    drop(running);
    assert!(!activity.is_being_cancelled());
    drop(registration);
    assert!(matches!(
        cancel(77, &[1, 2, 3, 4]),
        CancelTarget::UnknownKey
    ));
    assert_eq!(registry.session_count(), 0);
}

#[test]
fn a_session_has_so_many_cancels_under_way_and_gets_more_when_one_has_ended() {
    let registry = Arc::new(registry());
    let (registration, _messages) = session(&registry);
    let began = Instant::now();
    registration.activity().begin(at(began));
    let asked_at = began + Duration::from_secs(1);
    let cancel = || registry.begin_cancel(77, &[1, 2, 3, 4], asked_at);
    let mut under_way: Vec<_> = (0..4).map(|_| cancel()).collect();
    let are_running = |target| matches!(target, &CancelTarget::Running(_));
    assert!(under_way.iter().all(are_running));
    for _ in 0..2 {
        assert!(matches!(cancel(), CancelTarget::TooMany));
    }
    under_way.pop();
    assert!(matches!(cancel(), CancelTarget::Running(_)));
}

#[test]
fn what_began_after_the_cancel_was_asked_for_is_not_meant() {
    let registry = Arc::new(registry());
    let (registration, _messages) = session(&registry);
    let activity = registration.activity();
    let asked_at = Instant::now() + Duration::from_secs(60);
    let cancel = || registry.begin_cancel(77, &[1, 2, 3, 4], asked_at);
    let second = Duration::from_secs(1);
    activity.begin(at(asked_at - second));
    assert!(matches!(cancel(), CancelTarget::Running(_)));
    // One that was sent behind it does not begin yet; then the target turns to it.
    activity.begin(at(asked_at + second));
    assert!(matches!(cancel(), CancelTarget::Running(_)));
    activity.turn(at(asked_at + second));
    assert!(matches!(cancel(), CancelTarget::TooLate));
    activity.rest();
    activity.begin(at(asked_at + second));
    assert!(matches!(cancel(), CancelTarget::TooLate));
    assert!(!activity.is_being_cancelled());
}

#[test]
fn a_cancel_from_another_proxy_is_judged_by_the_common_clock() {
    let registry = Arc::new(registry());
    let (registration, _messages) = session(&registry);
    let began = Instant::now() + Duration::from_secs(60);
    registration.activity().begin(at(began));
    let clock = StorageClock::default();
    let cancel = |key: &[u8], asked_at_unix_us| {
        let cancel = v1::Cancel {
            process_id: 77,
            key_digest: key_digest(key).to_vec(),
            asked_at_unix_us,
        };
        registry.begin_handed_cancel(&cancel, &clock)
    };
    let is_late = |target| matches!(target, CancelTarget::TooLate);
    assert!(
        is_late(cancel(&[1, 2, 3, 4], i64::MAX)),
        "no clock, no cancel"
    );
    // Storage's clock showed ten seconds when the statement began, give or take a millisecond.
    clock.observe(began, began + Duration::from_millis(1), 10_000_000);
    assert!(is_late(cancel(&[1, 2, 3, 4], 9_999_000)));
    assert!(is_late(cancel(&[1, 2, 3, 4], 9_999_900)), "it may be");
    let running = cancel(&[1, 2, 3, 4], 10_001_000);
    assert!(matches!(running, CancelTarget::Running(_)));
    assert!(matches!(
        cancel(&[1, 2, 3, 5], 10_001_000),
        CancelTarget::UnknownKey
    ));
}
