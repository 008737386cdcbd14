//! Texts made to hurt: nothing crashes, and nothing hostile is let through.

use std::thread;

use pglens_policy::{
    AllowedFunctions, Analysis, Catalog, INLINE_MAX_BYTES, MAX_ANALYSED_BYTES, MAX_ANALYSED_TOKENS,
    ParseFailure, Refusal, analyze,
};

fn check(analysis: &Analysis) -> Result<(), Refusal> {
    Catalog::unavailable(AllowedFunctions::default()).check(analysis)
}
use proptest::prelude::*;

/// What tokio gives its workers.
const WORKER_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Texts that nest `depth` times.
fn nested(depth: usize) -> Vec<String> {
    let around = |open: &str, inner: &str, close: &str| {
        format!(
            "SELECT {}{inner}{}",
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    vec![
        around("(", "1", ")"),
        around("", "1", "+1"),
        around("", "a", "||b"),
        around("- ", "a", ""),
        around("NOT ", "a", ""),
        around("(SELECT ", "1", ")"),
        around("f(", "1", ")"),
        around("a[", "1", "]"),
        around("ARRAY[", "1", "]"),
        around("", "a", "::b"),
        around("((", "a", ").b).c"),
        around("CASE WHEN a THEN b ELSE ", "1", " END"),
        around("", "1", " UNION SELECT 1"),
        around("", "1 FROM a", " JOIN b ON c"),
        around("(WITH x AS (SELECT ", "1", ") SELECT 1)"),
        around("xmlelement(name a, ", "1", ")"),
        around("json_array(", "1", ")"),
    ]
}

#[expect(clippy::expect_used, reason = "a test without them has no meaning")]
fn analyze_on_a_worker(sql: String) -> Analysis {
    let worker = thread::Builder::new().stack_size(WORKER_STACK_BYTES);
    let worker = worker.spawn(move || analyze(&sql)).expect("a thread");
    worker.join().expect("no panic")
}

#[test]
fn nesting_does_not_end_the_process() {
    for depth in [10, 60, 100, 200, 500, 1000, 3000, 10_000, 100_000] {
        for sql in nested(depth) {
            let start = sql.get(..40.min(sql.len())).unwrap_or_default().to_owned();
            let analysis = analyze_on_a_worker(sql);
            assert_eq!(analysis.statements.len(), 1, "{start} nested {depth} times");
        }
    }
}

/// The longest texts parsed on the caller's own stack, of every shape, nested as deep as their length allows.
#[test]
fn what_is_parsed_inline_fits_a_worker() {
    for shape in 0..nested(1).len() {
        let fits = |depth: &usize| nested(*depth)[shape].len() <= INLINE_MAX_BYTES;
        let depth = (1..INLINE_MAX_BYTES).take_while(fits).last().unwrap();
        let _ = analyze_on_a_worker(nested(depth)[shape].clone());
    }
}

#[test]
fn honest_depth_is_understood() {
    for sql in nested(200) {
        let verdict = &analyze(&sql).statements[0].read_verdict;
        assert_eq!(verdict, &Ok(()), "{}", &sql[..60]);
    }
}

#[test]
fn what_is_deep_inside_is_found() {
    let sql = format!(
        "SELECT {}nextval('s'){}",
        "(SELECT ".repeat(100),
        ")".repeat(100)
    );
    assert_eq!(
        check(&analyze(&sql)).unwrap_err().rule,
        "read_grant.function"
    );
}

#[test]
fn long_texts_are_refused_unseen() {
    let many_bytes = format!("SELECT '{}'", "x".repeat(MAX_ANALYSED_BYTES));
    let many_tokens = format!("SELECT 1{}", ",1".repeat(MAX_ANALYSED_TOKENS / 2));
    for sql in [many_bytes, many_tokens] {
        let analysis = analyze(&sql);
        assert_eq!(analysis.parse, Err(ParseFailure::TooLong));
        let refusal = check(&analysis).unwrap_err();
        assert_eq!(
            (refusal.rule, refusal.code.sqlstate()),
            ("read_grant.not_understood", "25006")
        );
    }
    let list = (0..20_000)
        .map(|id| id.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    assert_eq!(
        check(&analyze(&format!("SELECT * FROM t WHERE id IN ({list})"))),
        Ok(())
    );
}

#[test]
fn many_callers_share_the_parser_threads() {
    let sql = format!("SELECT {}", vec!["a"; INLINE_MAX_BYTES].join(", "));
    let callers: Vec<_> = (0..16)
        .map(|_| {
            thread::spawn({
                let sql = sql.clone();
                move || analyze(&sql)
            })
        })
        .collect();
    let first = analyze(&sql);
    assert_eq!(first.parse, Ok(()));
    for caller in callers {
        assert_eq!(caller.join().unwrap(), first);
    }
}

#[test]
fn a_null_byte_is_not_the_end_of_the_text() {
    let analysis = analyze("SELECT 1\0; DROP TABLE t");
    assert!(check(&analysis).is_err());
}

/// Words that make statements, in any order.
fn word_salad() -> impl Strategy<Value = String> {
    let words = [
        "SELECT",
        "FROM",
        "t",
        "WHERE",
        "(",
        ")",
        ",",
        "1",
        "'a'",
        ";",
        "DELETE",
        "INTO",
        "WITH",
        "AS",
        "x",
        "UPDATE",
        "SET",
        "=",
        "FOR",
        "DROP",
        "TABLE",
        "TRIGGER",
        "RULE",
        "ON",
        "FUNCTION",
        "AGGREGATE",
        "OPERATOR",
        "*",
        "::",
        "[",
        "]",
        "$1",
        "COPY",
        "TO",
        "STDOUT",
        "BEGIN",
        "--",
        "/*",
        "*/",
        "E'\\'",
        "\"",
        "$$",
        "CREATE",
        "ALTER",
        "ROLE",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..14)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_text_has_an_answer(text in ".{0,80}", salad in word_salad()) {
        for sql in [text, salad] {
            let analysis = analyze(&sql);
            for statement in &analysis.statements {
                prop_assert!(sql.get(statement.range.clone()).is_some());
            }
            // A text that does not parse never passes.
            prop_assert!(analysis.parse.is_ok() || check(&analysis).is_err());
        }
    }
}
