//! Long texts are judged elsewhere; their message waits, and so does what stands behind it.

use super::*;

/// A text that is not judged where it came in; a read grant refuses it if `bad`.
fn long(bad: bool) -> String {
    let what = if bad {
        "delete from t where a in"
    } else {
        "select a from t where a in"
    };
    format!("{what} ({}0)", "1, ".repeat(300))
}

/// One look at `bytes` that answers nothing.
fn look(script: &mut Script, bytes: &[u8]) -> (Progress, usize, Vec<u8>) {
    let mut output = Output::default();
    let mut passage = Passage::new(bytes, &mut output);
    let progress = script
        .engine
        .client_bytes(script.now, &mut passage)
        .unwrap();
    let consumed = passage.consumed();
    passage.into_output();
    (progress, consumed, output.pending().to_vec())
}

#[test]
fn nothing_passes_before_the_answer() {
    let mut script = Setup::default().script();
    let text = long(false);
    let bytes = [query(&text), query("select 2")].concat();
    for _ in 0..2 {
        let (progress, consumed, out) = look(&mut script, &bytes);
        assert_eq!(progress, Progress::waiting(Wait::Verdict));
        assert_eq!((consumed, out), (0, Vec::new()));
    }
    let question = script.engine.question().unwrap();
    assert!(script.engine.question().is_none(), "it is asked once");
    script.engine.answered(question.answer());
    let (progress, consumed, out) = look(&mut script, &bytes);
    assert_eq!(progress.wait, None);
    assert_eq!((consumed, out), (bytes.len(), bytes.clone()));
    let answer = [
        row(b"1"),
        complete("SELECT 1"),
        ready(TransactionStatus::Idle),
    ]
    .concat();
    script.target(&[answer.clone(), answer].concat());
    let expected = [
        entry(&text, "SELECT 1 1", "I"),
        entry("select 2", "SELECT 1 1", "I"),
    ];
    assert_eq!(script.record(), expected);
    script.client(&query(&text));
}

#[test]
fn what_is_refused_then_is_refused_as_ever() {
    let setup = Setup {
        level: AccessLevel::Read,
        ..Setup::default()
    };
    let mut script = setup.script();
    let text = long(true);
    let replaced = script.client(&[parse_bind_execute(&text), sync()].concat());
    assert!(
        !String::from_utf8_lossy(&replaced).contains("delete"),
        "{replaced:?}"
    );
    script.target(&[error("42601"), ready(TransactionStatus::Idle)].concat());
    let record = script.record();
    let [(recorded, outcome, _)] = record.as_slice() else {
        panic!("{record:?}")
    };
    assert_eq!((recorded, outcome.as_str()), (&text, "refused 25006"));
}
