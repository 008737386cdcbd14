//! Tests of the registry.

use super::*;
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

#[test]
fn only_the_right_key_of_a_busy_session_cancels() {
    let (registry, now) = (Arc::new(registry()), Instant::now());
    let (mut registration, _messages) = registry.register(id(1), None, now).unwrap();
    registration.accept_cancels(Box::new([1, 2, 3, 4]), Arc::new(CancelKey::for_tests(77)));
    let activity = registration.activity();
    assert!(registry.begin_cancel(77, &[1, 2, 3, 4]).is_none(), "idle");
    assert!(!activity.is_being_cancelled());
    activity.set_busy(true);
    assert!(registry.begin_cancel(77, &[1, 2, 3, 5]).is_none());
    assert!(registry.begin_cancel(77, &[1, 2, 3]).is_none());
    assert!(registry.begin_cancel(78, &[1, 2, 3, 4]).is_none());
    let cancel = registry.begin_cancel(77, &[1, 2, 3, 4]).unwrap();
    assert!(activity.is_being_cancelled());
    drop(cancel);
    assert!(!activity.is_being_cancelled());
    drop(registration);
    assert!(registry.begin_cancel(77, &[1, 2, 3, 4]).is_none());
    assert_eq!(registry.session_count(), 0);
}
