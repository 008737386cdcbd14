//! What was recorded against what the target says it executed.

use pglens_e2e::{Person, Place, Recorded};

/// Every statement the target executed for `person` has exactly one record, in the same order, and every record of
/// one that succeeded was executed. An empty text executes nothing.
#[track_caller]
pub(crate) fn record_equals_target_log(place: &Place, person: &Person, recorded: &[Recorded]) {
    let executed = place.target.executed(person);
    let records: Vec<_> = recorded
        .iter()
        .filter(|record| record.refusal.is_empty() && !trimmed(&record.sql).is_empty())
        .map(|record| (record.sql.as_str(), record.sqlstate.as_str()))
        .collect();
    if let Some(difference) = difference(&executed, &records) {
        panic!("{difference}");
    }
}

/// Where texts as the target logs them and records, as (text, SQLSTATE), part.
///
/// The target does not log what fails before it runs: syntax errors, and of the extended protocol whatever fails in
/// Parse or Bind. Several statements of one message are logged as one text and recorded one by one, up to the first
/// that fails.
fn difference(executed: &[String], records: &[(&str, &str)]) -> Option<String> {
    let mut records = records.iter();
    for text in executed {
        let mut rest = trimmed(text);
        while !rest.is_empty() {
            let Some((sql, sqlstate)) = records.next() else {
                return Some(format!("executed and not recorded: {rest:?}, of {text:?}"));
            };
            match without_statement(rest, sql) {
                Some(_) if !sqlstate.is_empty() => break,
                Some(others) => rest = others,
                None if !sqlstate.is_empty() => {}
                None => return Some(format!("recorded {sql:?} where {rest:?} was executed")),
            }
        }
    }
    let (sql, _) = records.find(|(_, sqlstate)| sqlstate.is_empty())?;
    Some(format!("recorded and not executed: {sql:?}"))
}

/// What is left of `text` behind its first statement, if that is `sql`.
fn without_statement<'a>(text: &'a str, sql: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(trimmed(sql))?.trim_start();
    (rest.is_empty() || rest.starts_with(';')).then(|| trimmed(rest))
}

#[test]
fn a_missing_an_additional_and_an_altered_record_are_differences() {
    let executed = ["select 1", "begin; select 1/0; select 2", "select 3;"].map(str::to_owned);
    let whole = [
        ("select 1", ""),
        ("selec", "42601"),
        ("begin", ""),
        ("select 1/0", "22012"),
        ("select 3", ""),
    ];
    assert_eq!(difference(&executed, &whole), None);
    for missing in [0, 2, 4] {
        let mut records = whole.to_vec();
        records.remove(missing);
        assert!(
            difference(&executed, &records).is_some(),
            "without {missing}"
        );
    }
    let twice = [&whole[..1], &whole[..]].concat();
    assert!(difference(&executed, &twice).is_some());
    let altered = [&whole[..4], &[("select 4", "")]].concat();
    assert!(difference(&executed, &altered).is_some());
}

/// A statement's text without what separates it from its neighbours.
pub(crate) fn trimmed(sql: &str) -> &str {
    sql.trim_matches(|c: char| c.is_whitespace() || c == ';')
}

/// `recorded` holds these (text, command tag, rows, SQLSTATE) one after the other, others between them.
#[track_caller]
pub(crate) fn contains_in_order(recorded: &[Recorded], expected: &[(&str, &str, i64, &str)]) {
    let mut rest = recorded.iter();
    for (sql, tag, rows, sqlstate) in expected {
        let found = rest
            .find(|record| trimmed(&record.sql) == *sql)
            .unwrap_or_else(|| {
                panic!(
                    "no record of {sql:?} in its place among {}",
                    texts(recorded)
                )
            });
        let (_, found_tag, found_rows, found_sqlstate) = found.summary();
        assert_eq!(
            (found_tag, found_rows, found_sqlstate),
            (*tag, *rows, *sqlstate),
            "{sql}"
        );
    }
}

/// The record of the statement with this text, which must be there once.
#[track_caller]
pub(crate) fn only<'a>(recorded: &'a [Recorded], sql: &str) -> &'a Recorded {
    let mut found = recorded.iter().filter(|record| trimmed(&record.sql) == sql);
    let record = found
        .next()
        .unwrap_or_else(|| panic!("no record of {sql:?} among {}", texts(recorded)));
    assert!(found.next().is_none(), "{sql:?} is recorded more than once");
    record
}

fn texts(recorded: &[Recorded]) -> String {
    let lines: Vec<String> = recorded
        .iter()
        .map(|one| format!("{:?}", one.summary()))
        .collect();
    lines.join("\n")
}
