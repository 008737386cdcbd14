//! Fuzzes the analysis of SQL: statements lie in the text, one behind the other.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let analysis = pglens_policy::analyze(text);
    let mut end = 0;
    for statement in &analysis.statements {
        assert!(statement.range.start >= end, "statements overlap");
        assert!(text.get(statement.range.clone()).is_some(), "a statement is no part of the text");
        end = statement.range.end;
    }
});
