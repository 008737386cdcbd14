//! Which reply belongs to which statement.

use super::*;

#[test]
fn each_statement_has_its_fingerprint_once() {
    let mut script = Setup::default().script();
    let run = |script: &mut Script, sql: &str| {
        script.client(&query(sql));
        script.target(&[complete("SELECT 0"), ready(TransactionStatus::Idle)].concat());
    };
    let long = format!("select {} from u", ["a"; 400].join(", "));
    for sql in [
        "select a from t",
        "select a from t",
        "select b from t",
        &long,
    ] {
        run(&mut script, sql);
    }
    // Its fingerprint is made while the target works, and the next of its kind comes before it ends.
    script.client(&query("select c from t"));
    script.engine.catch_up();
    script.target(&[complete("SELECT 0"), ready(TransactionStatus::Idle)].concat());
    run(&mut script, "select c from t");
    let said: Vec<_> = script.fingerprints();
    let of = |index: usize| said[index].clone();
    let kinds = ["a", "a", "b", "long", "c", "c"];
    for (index, (start, end)) in said.iter().enumerate() {
        let made = kinds[..index].contains(&kinds[index]) || kinds[index] == "long";
        let lengths = if made { (16, 0) } else { (0, 16) };
        assert_eq!((start.len(), end.len()), lengths, "statement {index}");
    }
    assert_eq!((of(0).1, of(4).1), (of(1).0, of(5).0));
    assert_ne!(of(0).1, of(2).1);
}
use crate::session::relay::engine::Wait;

#[test]
fn what_is_not_refused_passes_as_it_came_however_it_is_cut() {
    let mut sent = query("select 1");
    sent.extend(parse_bind_execute("select 2"));
    sent.extend(sync());
    let mut answer = row(b"1");
    answer.extend(complete("SELECT 1"));
    answer.extend(ready(TransactionStatus::Idle));
    answer.extend(empty(tag::PARSE_COMPLETE));
    answer.extend(empty(tag::BIND_COMPLETE));
    answer.extend(row(&[7; 20_000]));
    answer.extend(complete("SELECT 1"));
    answer.extend(ready(TransactionStatus::Idle));
    for size in [1, 2, 3, 7, 100, 100_000] {
        let mut script = Setup::default().script();
        let pass = |script: &mut Script, stream: &[u8], to_target: bool| {
            let (mut buffer, mut out) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                buffer.extend_from_slice(piece);
                let got = script.look(to_target, &buffer, &mut out).unwrap();
                buffer.drain(..got.consumed);
            }
            assert!(buffer.is_empty());
            out
        };
        assert_eq!(pass(&mut script, &sent, true), sent, "{size}");
        assert_eq!(pass(&mut script, &answer, false), answer, "{size}");
        assert_eq!(
            script.record(),
            [
                entry("select 1", "SELECT 1 1", "I"),
                entry("select 2", "SELECT 1 1", "I")
            ]
        );
        assert!(script.engine.is_idle());
    }
}

#[test]
fn after_an_error_in_a_pipeline_nothing_up_to_sync_has_run() {
    let mut script = Setup::default().script();
    let mut sent = parse_bind_execute("select 1");
    sent.extend(parse_bind_execute("select 2"));
    sent.extend(sync());
    sent.extend(parse_bind_execute("select 3"));
    sent.extend(sync());
    script.client(&sent);
    let mut answer = empty(tag::PARSE_COMPLETE);
    answer.extend(empty(tag::BIND_COMPLETE));
    answer.extend(error("22012"));
    answer.extend(ready(TransactionStatus::Idle));
    answer.extend(empty(tag::PARSE_COMPLETE));
    answer.extend(empty(tag::BIND_COMPLETE));
    answer.extend(complete("SELECT 0"));
    answer.extend(ready(TransactionStatus::Idle));
    script.target(&answer);
    assert_eq!(
        script.record(),
        [
            entry("select 1", "22012", "I"),
            entry("select 3", "SELECT 0 0", "I")
        ]
    );
    assert_eq!(script.engine.quota().used().queries, 2);
}

#[test]
fn messages_after_an_error_are_dropped_until_sync() {
    let mut script = Setup::default().script();
    script.client(&parse_bind_execute("select 1"));
    script.target(&error("42601"));
    assert_eq!(script.client(&query("delete from t")), b"");
    assert_eq!(tags(&script.client(&sync())), "S");
    script.target(&ready(TransactionStatus::Idle));
    assert_eq!(script.record(), [entry("select 1", "42601", "I")]);
    assert!(script.engine.is_idle());
}

#[test]
fn a_failed_parse_gives_the_name_back_to_what_it_was() {
    let mut script = Setup::default().script();
    let parse = |text: &str| made(|out| frontend::put_parse(out, b"s", text));
    let run = made(|out| {
        frontend::put_bind(out, b"", b"s");
        frontend::put_execute(out, b"");
        frontend::put_sync(out);
    });
    script.client(&[parse("select 1"), sync()].concat());
    script.target(&[empty(tag::PARSE_COMPLETE), ready(TransactionStatus::Idle)].concat());
    script.client(&[parse("select 2"), run.clone()].concat());
    script.target(&[error("42P05"), ready(TransactionStatus::Idle)].concat());
    script.client(&run);
    let answer = [
        empty(tag::BIND_COMPLETE),
        complete("SELECT 0"),
        ready(TransactionStatus::Idle),
    ];
    script.target(&answer.concat());
    assert_eq!(
        script.record(),
        [
            entry("select 2", "42P05", "I"),
            entry("select 1", "SELECT 0 0", "I")
        ]
    );
}

#[test]
fn copy_data_waits_until_it_is_known_what_it_is_for() {
    let mut script = Setup::default().script();
    let data = made(|out| backend::put_raw(out, frontend::tag::COPY_DATA, b"1\n"));
    let copy = query("copy t from stdin");
    let got = script.client_progress(&[copy.clone(), data.clone()].concat());
    assert_eq!((got.consumed, got.wait), (copy.len(), Some(Wait::Replies)));
    assert_eq!(
        tags(&got.out),
        "QH",
        "the target is asked for what it has to say"
    );
    script.target(&[error("42501"), ready(TransactionStatus::Idle)].concat());
    assert_eq!(script.client(&data), b"", "the target would ignore it");
}

#[test]
fn a_client_that_sends_ahead_without_end_waits_for_replies() {
    let mut script = Setup::default().script();
    let one = made(|out| frontend::put_parse(out, b"", "select 1"));
    let got = script.client_progress(&one.repeat(2000));
    assert_eq!(got.wait, Some(Wait::Replies));
    assert_eq!(got.consumed, 1024 * one.len());
    assert!(tags(&got.out).ends_with('H'));
    script.target(&empty(tag::PARSE_COMPLETE));
    assert_eq!(script.client_progress(&one.repeat(2)).consumed, one.len());
}

#[test]
fn what_was_forwarded_and_not_answered_is_recorded_as_unknown() {
    let mut script = Setup::default().script();
    let mut sent = parse_bind_execute("select 1");
    sent.extend(parse_bind_execute("select 2"));
    sent.extend(query("select 3; select 4"));
    script.client(&sent);
    let answer = [empty(tag::PARSE_COMPLETE), empty(tag::BIND_COMPLETE)].concat();
    script.target(&answer);
    let ending = Ending::client_gone();
    script.engine.finish(&ending, script.now);
    let unknown = |text| entry(text, "unknown", "");
    let texts = ["select 1", "select 2", "select 3", "select 4"];
    assert_eq!(script.record(), texts.map(unknown));
    assert!(matches!(
        script.events().last(),
        Some(Event::SessionEnded(_))
    ));
}

#[test]
fn a_suspended_portal_has_a_record_for_each_execute() {
    let mut script = Setup::default().script();
    script.client(&parse_bind_execute("select g"));
    let answer = [
        empty(tag::PARSE_COMPLETE),
        empty(tag::BIND_COMPLETE),
        row(b"1"),
        empty(tag::PORTAL_SUSPENDED),
    ];
    script.target(&answer.concat());
    assert_eq!(
        script.record(),
        [entry("select g", " 1", "")],
        "no Sync is due"
    );
    script.client(&[made(|out| frontend::put_execute(out, b"")), sync()].concat());
    script.target(
        &[
            row(b"2"),
            complete("SELECT 1"),
            ready(TransactionStatus::Idle),
        ]
        .concat(),
    );
    assert_eq!(script.record()[1], entry("select g", "SELECT 1 1", "I"));
}

#[test]
fn garbage_of_the_client_ends_the_session() {
    let check = |bytes: &[u8]| {
        let mut script = Setup::default().script();
        assert_eq!(script.client_ends(bytes).reason, "client_protocol");
    };
    check(b"p\0\0\0\x04");
    check(b"Q\0\0\0\0");
    check(b"Q\x7f\0\0\0");
}

#[test]
fn a_malformed_message_fails_at_the_target_and_the_session_goes_on() {
    let check = |bytes: &[u8], substitute: &str, answer: &[u8]| {
        let mut script = Setup::default().script();
        assert_eq!(tags(&script.client(bytes)), substitute);
        let told = script.target(&[error("42601"), answer.to_vec()].concat());
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.contains("C08P01") && !told.contains("42601"), "{told}");
        assert_eq!(script.record(), []);
        script.client(&query("select 1"));
    };
    let idle = ready(TransactionStatus::Idle);
    check(b"Q\0\0\0\x05x", "Q", &idle);
    check(b"F\0\0\0\x05x", "F", &idle);
    for kind in [b'P', b'B', b'E', b'D', b'C'] {
        let malformed = [&[kind], &b"\0\0\0\x05x"[..]].concat();
        check(&[malformed, sync()].concat(), "ES", &idle);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_either_side_make_the_engine_panic(
        client in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        target in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let mut script = Setup::default().script();
        let now = script.now;
        script.client(&query("select 1"));
        let _ = script.look(true, &client, &mut Vec::new());
        let _ = script.look(false, &target, &mut Vec::new());
        script.engine.finish(&Ending::client_gone(), now);
    }
}
