//! Every line of `tests/corpus` gets the verdict of its section.

use pglens_policy::{Notation, ReadGuard, analyze};

const ATTACKS: &str = include_str!("../corpus/attacks.sql");
const HONEST: &str = include_str!("../corpus/honest.sql");

/// The cases of a corpus, each with its section.
fn cases(corpus: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut cases = Vec::new();
    for line in corpus
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line.strip_prefix("--- ") {
            Some(name) => section = name,
            None => cases.push((section, line)),
        }
    }
    cases
}

#[test]
fn every_attack_is_refused_by_its_rule() {
    let cases = cases(ATTACKS);
    assert!(cases.len() >= 80, "only {} attacks", cases.len());
    let mut wrong = Vec::new();
    for (rule, sql) in cases {
        match ReadGuard::check(&analyze(sql)) {
            Err(refusal) if refusal.rule == rule => {
                assert!(
                    matches!(refusal.code.sqlstate(), "25006" | "42601"),
                    "{sql}: {refusal:?}"
                );
            }
            other => wrong.push(format!("{rule}: {sql}\n    {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_honest_text_passes() {
    let cases = cases(HONEST);
    assert!(cases.len() >= 80, "only {} texts", cases.len());
    let mut wrong = Vec::new();
    for (section, sql) in cases {
        let analysis = analyze(sql);
        let has_fingerprints = analysis
            .statements
            .iter()
            .all(|statement| statement.fingerprint.is_some());
        match ReadGuard::check(&analysis) {
            Err(refusal) => wrong.push(format!("{section}: {sql}\n    {refusal:?}")),
            Ok(()) if !has_fingerprints => wrong.push(format!("{section}: {sql}: no fingerprint")),
            Ok(()) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An honest statement with an attack behind it, in front of it or inside it is an attack.
#[test]
fn company_does_not_help() {
    for (_, honest) in cases(HONEST)
        .into_iter()
        .filter(|(_, sql)| !sql.contains("--"))
    {
        for sql in [
            format!("{honest}; DELETE FROM t"),
            format!("DELETE FROM t; {honest}"),
        ] {
            assert!(ReadGuard::check(&analyze(&sql)).is_err(), "{sql}");
        }
    }
}

#[test]
fn functions_are_kept_for_a_judge_with_a_catalog() {
    let analysis = analyze(
        "SELECT f(a.b), s.g(1) FROM a, h(2) WHERE (a).i AND set_config('jit', 'off', true) = ''",
    );
    let functions = &analysis.statements[0].functions;
    let names: Vec<_> = functions
        .iter()
        .map(|function| (function.to_string(), function.notation))
        .collect();
    let expected = [
        ("f", Notation::Call),
        ("h", Notation::Call),
        ("s.g", Notation::Call),
        ("b", Notation::Attribute),
        ("i", Notation::Attribute),
    ];
    for (name, notation) in expected {
        assert!(
            names.contains(&(name.to_owned(), notation)),
            "{name} is missing in {names:?}"
        );
    }
    assert_eq!(names.len(), expected.len(), "{names:?}");
}
