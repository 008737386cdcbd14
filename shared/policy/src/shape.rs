//! Texts that differ only in their constants: what is known of one is known of all.
//!
//! Clients of the simple protocol write values into the text, so that hardly a text comes twice; to parse each costs
//! more than to run it. Here a text is lexed only if it is made of nothing but names, keywords, small whole numbers,
//! plain strings, parentheses and a few operators, and is one statement that begins with SELECT, UPDATE or DELETE. Its
//! *shape* has every number outside of parentheses replaced by 1 and every such string by the empty one.
//!
//! Why text and shape have the same analysis: outside of comments and dollars (none of which is let in, nor any byte
//! beyond ASCII), PostgreSQL's lexer makes one ICONST token of one to nine digits that no letter, digit, underscore or
//! point touches, whatever their value. It makes one SCONST token of what stands between two quotes, doubled ones
//! included, if no letter, digit or underscore touches the first (`E'…'` is lexed otherwise), no backslash is in it
//! (which may escape, as the server is set) and no other string is next to it (which may continue it). So both texts
//! give the same tokens, and the grammar, which does not look at values here (it does for lengths and precisions of
//! types, which stand in parentheses, and for settings and options of other statements), gives the same tree but for the
//! values of constants and for places. Kind, fingerprint and everything the guard judges are the same: arguments of
//! functions and lengths of types stand in parentheses, where nothing is replaced, and only for `set_config` does the guard
//! look at a constant elsewhere. `tests` holds text and shape against each other.

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
    Quote,
    Open,
    Close,
    Semicolon,
    Other,
}

/// The class of every byte: a look at a table costs less than comparing with the ends of ranges.
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < classes.len() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::indexing_slicing,
            reason = "below the length, which is 256"
        )]
        {
            classes[byte] = class_of(byte as u8);
        }
        byte += 1;
    }
    classes
};

#[inline]
fn class(byte: u8) -> Class {
    let class = CLASSES.get(usize::from(byte));
    class.copied().unwrap_or(Class::Other)
}

const fn class_of(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => Class::Word,
        b'0'..=b'9' => Class::Digit,
        b'=' | b'<' | b'>' | b'+' | b'*' | b',' | b'.' | b' ' | b'\n' | b'\t' => Class::Plain,
        b'-' => Class::Minus,
        b'\'' => Class::Quote,
        b'(' => Class::Open,
        b')' => Class::Close,
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
    // Most texts without a shape are seen to have none at once: they have parameters, casts or names in quotes.
    if memchr::memchr3(b'$', b':', b'"', bytes).is_some() {
        return None;
    }
    let mut lexer = Lexer {
        sql,
        shape: String::with_capacity(bytes.len()),
        copied: 0,
        at: 0,
        depth: 0,
        string_end: None,
    };
    while let Some(byte) = bytes.get(lexer.at) {
        lexer.token(class(*byte))?;
    }
    let has_constants = lexer.copied > 0;
    lexer.shape.push_str(sql.get(lexer.copied..)?);
    has_constants.then_some(lexer.shape)
}

/// Goes through a text token by token.
struct Lexer<'a> {
    sql: &'a str,
    shape: String,
    /// The shape has the text up to here.
    copied: usize,
    at: usize,
    /// Open parentheses: what stands inside stays as it is.
    depth: usize,
    /// Where the last string ended.
    string_end: Option<usize>,
}

impl Lexer<'_> {
    /// Takes what begins here; `None`: the text has no shape.
    fn token(&mut self, class: Class) -> Option<()> {
        let rest = self.sql.as_bytes().get(self.at..)?;
        match class {
            Class::Word => {
                let length = run_of(rest, is_word);
                // Its value may be judged by a constant far from it.
                if rest.get(..length)?.eq_ignore_ascii_case(b"set_config") {
                    return None;
                }
                self.at += length;
            }
            Class::Digit => self.number(rest)?,
            Class::Quote => self.string(rest)?,
            Class::Minus if self.before() == b'-' => return None,
            Class::Plain | Class::Minus => self.at += 1,
            Class::Open => {
                self.depth += 1;
                self.at += 1;
            }
            Class::Close => {
                self.depth = self.depth.checked_sub(1)?;
                self.at += 1;
            }
            Class::Semicolon if is_blank(rest.get(1..)?) => self.at += rest.len(),
            Class::Semicolon | Class::Other => return None,
        }
        Some(())
    }

    fn before(&self) -> u8 {
        let before = self.at.checked_sub(1);
        let byte = before.and_then(|at| self.sql.as_bytes().get(at));
        byte.copied().unwrap_or(b' ')
    }

    fn number(&mut self, rest: &[u8]) -> Option<()> {
        let digits = run_of(rest, |byte| byte.is_ascii_digit());
        let (before, behind) = (self.before(), rest.get(digits).copied().unwrap_or(b' '));
        if digits > MAX_DIGITS || before == b'.' || behind == b'.' || is_word(behind) {
            return None;
        }
        self.constant(digits, "1")
    }

    fn string(&mut self, rest: &[u8]) -> Option<()> {
        let between = self
            .string_end
            .map(|end| self.sql.as_bytes().get(end..self.at));
        if is_word(self.before()) || between.flatten().is_some_and(is_blank) {
            return None;
        }
        self.constant(string_of(rest)?, "''")?;
        self.string_end = Some(self.at);
        Some(())
    }

    /// Puts `stand_in` in the place of a constant of `length` bytes.
    fn constant(&mut self, length: usize, stand_in: &str) -> Option<()> {
        if self.depth == 0 {
            self.shape.push_str(self.sql.get(self.copied..self.at)?);
            self.shape.push_str(stand_in);
            self.copied = self.at + length;
        }
        self.at += length;
        Some(())
    }
}

/// Bytes of the string that `bytes` begin with, quotes included, if whatever reads it reads it alike.
fn string_of(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = bytes.get(at..)?;
        let content = rest.get(..memchr::memchr(b'\'', rest)?)?;
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
        if !content.iter().all(is_plain) {
            return None;
        }
        at += content.len() + 1;
        if bytes.get(at) != Some(&b'\'') {
            return Some(at);
        }
        at += 1; // two quotes stand for one inside
    }
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

fn run_of(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    let end = bytes.iter().position(|byte| !belongs(*byte));
    end.unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Analysis, analyze};
    use pglens_testkit::corpus::{Step, read};
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
    fn constants_fold_and_nothing_else_does() {
        assert_eq!(
            shape_of("SELECT a1 FROM t WHERE aid = 42;").unwrap(),
            "SELECT a1 FROM t WHERE aid = 1;"
        );
        assert_eq!(shape_of("select -0,77").unwrap(), "select -1,1");
        assert_eq!(
            shape_of("select a from t where b='x;--y' and c = 'it''s /*' or d = ''''").unwrap(),
            "select a from t where b='' and c = '' or d = ''"
        );
        assert_eq!(
            shape_of("select f(1, ')''('), 2 where a in (3, 4) and b = ('5') or c = 6").unwrap(),
            "select f(1, ')''('), 1 where a in (3, 4) and b = ('5') or c = 1"
        );
        assert_eq!(
            shape_of("select interval '7 days', 'a'").unwrap(),
            "select interval '', ''"
        );
        for other in [
            "select a from t",
            "select f(1)",
            "select 1)",
            "select set_config(name, 'x', false) from pg_settings where name = 'y'",
            "select \"Set_Config\"(name, 'x', false) from pg_settings where name = 'y'",
            "select ('a')",
            "select ('a'\n'b') = 1",
            "select (E'a') = 1",
            "select E'1'",
            "select e'\\', ';'",
            "select U&'1'",
            "select b'1'",
            "select interval'1'",
            "select '\\, 2'",
            "select '\n'",
            "select 'ä'",
            "select 'a",
            "select 'a''",
            "select 'a'\n'b'",
            "select 'a' 'b'",
            "select 'a'; select 'b'",
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

    #[test]
    fn no_attack_hides_behind_a_shape() {
        let corpora = [
            include_str!("../tests/corpus/read_attacks.sql"),
            include_str!("../tests/corpus/read_honest.sql"),
            include_str!("../tests/corpus/write_attacks.sql"),
            include_str!("../tests/corpus/write_honest.sql"),
        ];
        let mut shapes = 0;
        for step in corpora
            .into_iter()
            .flat_map(read)
            .flat_map(|case| case.steps)
        {
            let (Step::Query(sql) | Step::Extended(sql, _)) = step else {
                continue;
            };
            if let Some(known) = by_shape(&sql) {
                assert_eq!(known, analyze(&sql), "{sql}");
                shapes += 1;
            }
        }
        assert!(shapes > 40, "only {shapes} texts have one");
    }

    proptest! {
        #[test]
        fn text_and_shape_have_the_same_analysis(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b1", "t.c", "from", "where", "and", "or", "order by", "limit", "offset", "into", "set", "=",
                    "<", ">=", "+", "-", "*", ",", "as", "union all select", "group by", "between", "is", "null",
                    "not", "interval", "fetch first", "rows only", "for update", "pg_settings", "-", ".",
                    "(", ")", "count(*)", "coalesce(", "in (", "exists (select", "varchar(", "now()", "name",
                ]),
                0..14,
            ),
            numbers in prop::collection::vec((0usize..16, 0u32..1_100_000_000), 0..4),
            strings in prop::collection::vec((0usize..16, r"'[ -~\n]{0,6}'|'(''|[a-z ]){0,3}'"), 0..4),
            verb in prop::sample::select(vec!["SELECT", "select", "update", "delete from"]),
            end in prop::sample::select(vec!["", ";", " ; ", "\n"]),
            gap in prop::sample::select(vec![" ", "\n", ""]),
        ) {
            let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            for (at, number) in numbers {
                words.insert(at.min(words.len()), number.to_string());
            }
            for (at, string) in strings {
                words.insert(at.min(words.len()), string);
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
                format!("SELECT id, name FROM app.customers WHERE id = {a} AND status = 'active {b}'"),
                format!("select f(a, {a}, '{b}'), count(*) from t where c in ({a}, {b}) and d > {a} group by 1"),
                format!("select a->'{a}' from t where b like '%{b}''%' order by c at time zone 'utc{a}'"),
                format!("select * from s.t order by {a} limit {b} offset 5"),
            ] {
                prop_assert_eq!(by_shape(&sql), Some(analyze(&sql)), "{}", sql);
            }
        }
    }
}
