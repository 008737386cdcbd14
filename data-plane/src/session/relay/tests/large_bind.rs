//! Values that are too large to be held: they pass, and the record has their beginning.

use super::*;

const LARGE: usize = 9 * 1024 * 1024;

/// Parse, Bind with `values`, Execute and Sync.
fn bound(count: u16, values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut payload = b"\0s\0\0\0".to_vec();
    payload.extend(count.to_be_bytes());
    for value in values {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
        payload.extend(length.to_be_bytes());
        payload.extend(value.unwrap_or_default());
    }
    payload.extend([0, 0]);
    made(|out| {
        frontend::put_parse(out, b"s", "select $1, $2, $3");
        backend::put_raw(out, frontend::tag::BIND, &payload);
        frontend::put_execute(out, b"");
        frontend::put_sync(out);
    })
}

/// The client sends `message` in pieces; returns what the target gets.
fn in_pieces(script: &mut Script, message: &[u8]) -> Vec<u8> {
    let (mut passed, mut buffer) = (Vec::new(), Vec::new());
    for piece in message.chunks(333_333) {
        buffer.extend_from_slice(piece);
        let got = script.client_progress(&buffer);
        assert_eq!(got.wait, None);
        buffer.drain(..got.consumed);
        passed.extend(got.out);
    }
    assert!(buffer.is_empty());
    passed
}

#[test]
fn large_values_pass_and_are_recorded_by_their_beginning_and_a_digest() {
    let large: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
    let message = bound(3, &[Some(b"small"), None, Some(&large)]);
    let mut script = Setup::default().script();
    assert!(
        in_pieces(&mut script, &message) == message,
        "it passes as it came"
    );
    let answer = [
        empty(tag::PARSE_COMPLETE),
        empty(tag::BIND_COMPLETE),
        complete("SELECT 1"),
        ready(TransactionStatus::Idle),
    ];
    assert_eq!(tags(&script.target(&answer.concat())), "12CZ");
    let started = script.events().into_iter().find_map(|event| match event {
        Event::StatementStarted(started) => Some(started),
        _ => None,
    });
    let [small, null, cut] = started.unwrap().parameters.try_into().unwrap();
    assert_eq!(small.value.as_deref(), Some(&b"small"[..]));
    assert_eq!((small.value_bytes, null.value), (None, None));
    let kept = cut.value.unwrap();
    assert!(kept.len() > 3 * 1024 * 1024 && large.starts_with(&kept));
    assert_eq!(cut.value_bytes, Some(LARGE as u64));
    assert_eq!(cut.value_digest, blake3::hash(&large).as_bytes());
    assert_eq!(
        script.record(),
        [entry("select $1, $2, $3", "SELECT 1 0", "I")]
    );
}

#[test]
fn what_is_wrong_with_a_large_bind_is_for_the_target_to_say() {
    let large = vec![b'x'; LARGE];
    let message = bound(3, &[Some(&large)]);
    let mut script = Setup::default().script();
    assert!(in_pieces(&mut script, &message) == message);
    let answer = [
        empty(tag::PARSE_COMPLETE),
        error("08P01"),
        ready(TransactionStatus::Idle),
    ];
    assert_eq!(tags(&script.target(&answer.concat())), "1EZ");
    assert_eq!(script.record(), [entry("select $1, $2, $3", "08P01", "I")]);
    script.client(&query("select 1"));
}
