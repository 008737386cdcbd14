//! Texts that differ only in whole numbers: what is known of one is known of all.
//!
//! Clients of the simple protocol write values into the text, so that hardly a text comes twice; to parse each costs
//! more than to run it. Here a text is lexed only if it is made of nothing but names, keywords, small whole numbers and
//! a few operators, and is one statement that begins with SELECT, UPDATE or DELETE. Its *shape* has every number
//! replaced by 1.
//!
//! Why text and shape have the same analysis: outside of quotes, comments and dollars (none of which is let in, nor any
//! byte beyond ASCII), PostgreSQL's lexer makes one ICONST token of one to nine digits that no letter, digit, underscore
//! or point touches, whatever their value. So both texts give the same tokens, and the grammar, which does not look at
//! values here (it does for lengths and precisions of types, which stand in parentheses, and for settings and
//! options of other statements), gives the same tree but for the values of constants and for places. Kind, fingerprint
//! and everything the guard judges are the same: without parentheses there is no function call, no cast to a type with
//! a length, and no argument. `tests` holds text and shape against each other.

/// Longest text that is looked at; longer ones rarely have a shape.
const MAX_BYTES: usize = 4096;
/// More digits can be more than a 32 bit integer holds, and are another token then.
const MAX_DIGITS: usize = 9;

/// What a byte can be in a text that has a shape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Digit,
    /// Operators and blanks that mean what they are, wherever they stand.
    Plain,
    Minus,
    Semicolon,
    Other,
}

#[inline]
fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => Class::Word,
        b'0'..=b'9' => Class::Digit,
        b'=' | b'<' | b'>' | b'+' | b'*' | b',' | b'.' | b' ' | b'\n' | b'\t' => Class::Plain,
        b'-' => Class::Minus,
        b';' => Class::Semicolon,
        _ => Class::Other,
    }
}

/// The shape of `sql`, if it has one.
pub(crate) fn shape_of(sql: &str) -> Option<String> {
    let bytes = sql.as_bytes();
    if bytes.len() > MAX_BYTES || !begins_with_known_word(bytes) {
        return None;
    }
    // Most texts without a shape are seen to have none at once: they have parameters or texts in quotes.
    if memchr::memchr3(b'$', b'\'', b'"', bytes).is_some() {
        return None;
    }
    let mut shape = String::with_capacity(bytes.len());
    // What is the same in text and shape is copied up to the next number.
    let (mut copied, mut at) = (0, 0);
    let mut before = b' ';
    while let Some(&byte) = bytes.get(at) {
        match class(byte) {
            Class::Word => at += run_of(bytes, at, is_word),
            Class::Digit => {
                let digits = run_of(bytes, at, |byte| byte.is_ascii_digit());
                let behind = bytes.get(at + digits).copied().unwrap_or(b' ');
                if digits > MAX_DIGITS || before == b'.' || behind == b'.' || is_word(behind) {
                    return None;
                }
                shape.push_str(sql.get(copied..at)?);
                shape.push('1');
                at += digits;
                copied = at;
            }
            Class::Minus if before == b'-' => return None,
            Class::Plain | Class::Minus => at += 1,
            Class::Semicolon if is_blank(bytes.get(at + 1..)?) => at = bytes.len(),
            Class::Semicolon | Class::Other => return None,
        }
        before = *bytes.get(at - 1)?;
    }
    let has_numbers = copied > 0;
    shape.push_str(sql.get(copied..)?);
    has_numbers.then_some(shape)
}

fn begins_with_known_word(bytes: &[u8]) -> bool {
    let word = bytes.get(..6).unwrap_or_default();
    let behind = bytes.get(6).copied().unwrap_or(b'x');
    let known = ["select", "update", "delete"];
    !is_word(behind)
        && known
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

fn is_word(byte: u8) -> bool {
    matches!(class(byte), Class::Word | Class::Digit)
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b' ' | b'\n' | b'\t'))
}

fn run_of(bytes: &[u8], at: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|byte| !belongs(*byte));
    end.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Analysis, analyze};
    use proptest::prelude::*;

    /// What is known of `sql` by its shape.
    fn by_shape(sql: &str) -> Option<Analysis> {
        let shape = shape_of(sql)?;
        let mut known = analyze(&shape);
        match (&known.parse, known.statements.as_mut_slice()) {
            (Ok(()), [only]) => only.range.end += sql.len() - shape.len(),
            _ => return None,
        }
        Some(known)
    }

    #[test]
    fn numbers_fold_and_nothing_else_does() {
        assert_eq!(
            shape_of("SELECT a1 FROM t WHERE aid = 42;").unwrap(),
            "SELECT a1 FROM t WHERE aid = 1;"
        );
        assert_eq!(shape_of("select -0,77").unwrap(), "select -1,1");
        for other in [
            "select a from t",
            "select f(1)",
            "select '1', 2",
            "select \"a\" = 2",
            "select $1 + 2",
            "select 1.5",
            "select .5",
            "select 1 . 5 --",
            "select 1e5",
            "select 0x1f",
            "select 1_000",
            "select 12345678901",
            "select 1 --2",
            "select 1 /* 2 */",
            "select 1; select 2",
            "select 1; ;",
            "select a[1]",
            "select 1::int",
            "select\u{a0}1",
            "selects 1",
            "set x = 1",
            "explain select 1",
            " select 1",
        ] {
            assert_eq!(shape_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_text_that_is_no_sql_is_not_known_by_its_shape() {
        assert_eq!(
            shape_of("select 1 from where").unwrap(),
            "select 1 from where"
        );
        assert_eq!(by_shape("select 2 from where"), None);
    }

    proptest! {
        #[test]
        fn text_and_shape_have_the_same_analysis(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b1", "t.c", "from", "where", "and", "or", "order by", "limit", "offset", "into", "set", "=",
                    "<", ">=", "+", "-", "*", ",", "as", "union all select", "group by", "between", "is", "null",
                    "not", "interval", "fetch first", "rows only", "for update", "pg_settings", "-", ".",
                ]),
                0..14,
            ),
            numbers in prop::collection::vec((0usize..16, 0u32..1_100_000_000), 0..6),
            verb in prop::sample::select(vec!["SELECT", "select", "update", "delete from"]),
            end in prop::sample::select(vec!["", ";", " ; ", "\n"]),
            gap in prop::sample::select(vec![" ", "\n", ""]),
        ) {
            let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            for (at, number) in numbers {
                words.insert(at.min(words.len()), number.to_string());
            }
            let sql = format!("{verb} {}{end}", words.join(gap));
            if let Some(known) = by_shape(&sql) {
                prop_assert_eq!(known, analyze(&sql), "{}", sql);
            }
        }

        #[test]
        fn usual_statements_are_known_by_their_shape(a in 0u32..999_999_999, b in 0u32..999_999_999) {
            for sql in [
                format!("SELECT abalance FROM pgbench_accounts WHERE aid = {a};"),
                format!("UPDATE pgbench_accounts SET abalance = abalance + {a} WHERE aid = {b};"),
                format!("delete from t where a > -{a} and b between {a} and {b}"),
                format!("select * from s.t order by {a} limit {b} offset 5"),
            ] {
                prop_assert_eq!(by_shape(&sql), Some(analyze(&sql)), "{}", sql);
            }
        }
    }
}
