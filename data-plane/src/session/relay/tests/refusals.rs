//! What is refused, replaced, or ends the session.

use super::*;
use crate::session::relay::engine::Wait;

#[test]
fn a_refused_query_is_replaced_and_so_is_its_error() {
    let setup = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let mut script = setup.script();
    let sent = [query("select 1"), query("delete from t"), query("select 2")].concat();
    let forwarded = script.client(&sent);
    assert_eq!(tags(&forwarded), "QQQ");
    assert!(!String::from_utf8_lossy(&forwarded).contains("delete"));
    let answer = [
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
        error("42601"),
        ready(TransactionStatus::Idle),
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
    ];
    let told = script.target(&answer.concat());
    assert_eq!(tags(&told), "CZEZCZ");
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("C25006") && !told.contains("42601"), "{told}");
    assert_eq!(
        script.record(),
        [
            entry("select 1", "SELECT 0 0", "I"),
            entry("delete from t", "refused 25006", "I"),
            entry("select 2", "SELECT 0 0", "I")
        ]
    );
}

#[test]
fn a_refused_parse_in_a_pipeline_keeps_the_order_of_replies() {
    let setup = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let mut script = setup.script();
    let mut sent = parse_bind_execute("select 1");
    sent.extend(parse_bind_execute("drop table t"));
    sent.extend(sync());
    let forwarded = script.client(&sent);
    assert_eq!(tags(&forwarded), "PBEPBES");
    assert!(!String::from_utf8_lossy(&forwarded).contains("drop"));
    let answer = [
        empty(tag::PARSE_COMPLETE),
        empty(tag::BIND_COMPLETE),
        complete("SELECT 0"),
        error("42601"),
        ready(TransactionStatus::Idle),
    ];
    assert_eq!(tags(&script.target(&answer.concat())), "12CEZ");
    assert_eq!(
        script.record(),
        [
            entry("select 1", "SELECT 0 0", ""),
            entry("drop table t", "refused 25006", "I")
        ]
    );
}

#[test]
fn a_target_that_accepts_a_substitute_ends_the_session() {
    let setup = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let mut script = setup.script();
    script.client(&query("delete from t"));
    let (ending, told) = script.target_ends(&complete("DELETE 1"));
    assert_eq!((ending.reason, told), ("target_protocol", Vec::new()));
}

#[test]
fn a_spent_quota_refuses_the_statement_and_keeps_the_session() {
    let setup = Setup {
        queries: Some(1),
        ..Setup::default()
    };
    let mut script = setup.script();
    let forwarded = script.client(&[query("select 1"), query("select 2")].concat());
    assert!(!String::from_utf8_lossy(&forwarded).contains("select 2"));
    let answer = [
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
        error("42601"),
        ready(TransactionStatus::Idle),
    ];
    script.target(&answer.concat());
    assert_eq!(
        script.record(),
        [
            entry("select 1", "SELECT 0 0", "I"),
            entry("select 2", "refused 53400", "I")
        ]
    );
}

#[test]
fn the_row_that_exceeds_the_byte_quota_is_not_delivered() {
    let one = row(b"12345");
    let setup = Setup {
        bytes: Some(2 * one.len() as u64 + 1),
        ..Setup::default()
    };
    let mut script = setup.script();
    script.client(&query("select 1"));
    let (ending, told) = script.target_ends(&one.repeat(4));
    assert_eq!(ending.reason, "quota_spent");
    assert_eq!(told, one.repeat(2));
    assert!(script.engine.must_cancel(&ending));
    script.engine.finish(&ending, script.now);
    assert_eq!(script.record(), [entry("select 1", "unknown", "")]);
}

#[test]
fn without_room_for_the_record_a_statement_waits_and_is_then_refused() {
    let setup = Setup {
        outbox_bytes: 100,
        ..Setup::default()
    };
    let mut script = setup.script();
    let got = script.client_progress(&query("select 1"));
    assert_eq!((got.consumed, got.wait), (0, Some(Wait::Room)));
    assert!(got.out.is_empty());
    let deadline = script.engine.next_deadline().unwrap();
    script.now.instant = deadline;
    script.client(&query("select 1"));
    let told = script.target(&[error("42601"), ready(TransactionStatus::Idle)].concat());
    assert!(String::from_utf8_lossy(&told).contains("C58030"));
    assert!(script.record().is_empty());
}

#[test]
fn the_tripwire_ends_a_read_session() {
    let status = made(|out| {
        backend::put_parameter_status(out, b"default_transaction_read_only", b"off");
    });
    let read = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let (ending, told) = read.script().target_ends(&status);
    assert_eq!((ending.reason, told), ("read_guard", Vec::new()));
    assert_eq!(Setup::default().script().target(&status), status);
}

#[test]
fn what_is_too_large_to_be_judged_is_refused_and_the_session_goes_on() {
    let large = 9 * 1024 * 1024;
    let mut script = Setup::default().script();
    let text = format!("select '{}'", "x".repeat(large));
    let sent = script.client(&query(&text));
    assert_eq!(tags(&sent), "Q");
    assert!(sent.len() < 100, "the target gets a substitute");
    let told = script.target(&[error("42601"), ready(TransactionStatus::Idle)].concat());
    assert!(String::from_utf8_lossy(&told).contains("54000"));

    script.client(&query("select 1"));
    script.target(&[complete("SELECT 1"), ready(TransactionStatus::Idle)].concat());
    let record = script.record();
    assert_eq!(record[0].1, "refused 54000");
    assert_eq!(record[1], entry("select 1", "SELECT 1 0", "I"));
}
