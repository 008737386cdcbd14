//! Looks into the text of a function's body for calls that a read grant must not make.
//!
//! Not a parser: it takes every word in front of a parenthesis for a call, also in comments and strings. A function may
//! be refused for what it only mentions; one that calls is not missed, short of code that is written to hide it.

use super::lists::REFUSED;

/// Longest body that is looked into; what is longer is refused.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// What is in a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// A reason to refuse it, in words that follow "It".
    Refused(&'static str),
    /// Names it calls, folded to lower case, without those that are not `of_interest`.
    Calls(Vec<String>),
}

pub(super) fn look_into(body: &str, language: &str, of_interest: impl Fn(&str) -> bool) -> Body {
    if body.len() > MAX_BODY_BYTES {
        return Body::Refused("is too long to be looked into");
    }
    let mut calls = Vec::new();
    let mut rest = body;
    while let Some(start) = rest.find(is_word) {
        let (_, from_word) = rest.split_at(start);
        let end = from_word.find(|c| !is_word(c)).unwrap_or(from_word.len());
        let (word, behind) = from_word.split_at(end);
        rest = behind;
        let word = word.to_lowercase();
        if language == "plpgsql" && word == "execute" {
            return Body::Refused("runs SQL that it puts together itself");
        }
        // Quotes end names too; what stands between a name and its parenthesis is white space.
        let next = behind.trim_start_matches('"').trim_start().chars().next();
        if next == Some('.') && REFUSED.holds_schema(&word) {
            return Body::Refused("calls a function that is not allowed by a read grant");
        }
        if next != Some('(') {
            continue;
        }
        if REFUSED.reason(None, &word).is_some() {
            return Body::Refused("calls a function that is not allowed by a read grant");
        }
        if of_interest(&word) && !calls.contains(&word) {
            calls.push(word);
        }
    }
    Body::Calls(calls)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_however_they_are_written() {
        let calls = |body: &str| match look_into(body, "plpgsql", |_| true) {
            Body::Calls(calls) => calls,
            Body::Refused(reason) => vec![format!("refused: {reason}")],
        };
        assert_eq!(calls("select f (1), \"G\"(2), s.h(3), i"), ["f", "g", "h"]);
        assert_eq!(calls("select ä(1)"), ["ä"]);
        for refused in [
            "perform pg_terminate_backend(1)",
            "perform pg_catalog . \"set_config\"('a', 'b', true)",
            "perform cron.schedule(1)",
            "return query Execute q",
        ] {
            assert!(calls(refused)[0].starts_with("refused"), "{refused}");
        }
        let of_sql = look_into("select execute from t", "sql", |_| true);
        assert_eq!(of_sql, Body::Calls(Vec::new()));
        let long = "x".repeat(MAX_BODY_BYTES + 1);
        assert!(matches!(
            look_into(&long, "sql", |_| true),
            Body::Refused(_)
        ));
    }
}
