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

use std::ops::Range;

/// Longest text that is looked at; longer ones rarely have a shape.
pub(crate) const MAX_BYTES: usize = 4096;
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
    let (mut shape, mut copied) = (String::with_capacity(bytes.len()), 0);
    lex(sql, |constant, place| {
        shape.push_str(sql.get(copied..place.start)?);
        shape.push_str(constant.stand_in());
        copied = place.end;
        Some(())
    })?;
    shape.push_str(sql.get(copied..)?);
    (copied > 0).then_some(shape)
}

/// A constant that a shape has another one for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constant {
    Number,
    String,
}

impl Constant {
    /// What stands for it in a shape.
    pub(crate) fn stand_in(self) -> &'static str {
        match self {
            Self::Number => "1",
            Self::String => "''",
        }
    }

    /// Bytes of the one that `bytes` begin with, if they do and it may stand in a text that has a shape. What touches it is
    /// not looked at.
    pub(crate) fn length_in(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Number => {
                let digits = run_of(bytes, |byte| byte.is_ascii_digit());
                (1..=MAX_DIGITS).contains(&digits).then_some(digits)
            }
            Self::String if bytes.first() == Some(&b'\'') => string_of(bytes),
            Self::String => None,
        }
    }
}

/// Goes through `sql` and tells `found` where its constants stand; `None`: the text has no shape.
pub(crate) fn lex(
    sql: &str,
    found: impl FnMut(Constant, Range<usize>) -> Option<()>,
) -> Option<()> {
    let mut lexer = Lexer {
        sql,
        found,
        at: 0,
        depth: 0,
        string_end: None,
    };
    while let Some(byte) = sql.as_bytes().get(lexer.at) {
        lexer.token(class(*byte))?;
    }
    Some(())
}

/// Goes through a text token by token.
struct Lexer<'a, F> {
    sql: &'a str,
    found: F,
    at: usize,
    /// Open parentheses: what stands inside stays as it is.
    depth: usize,
    /// Where the last string ended.
    string_end: Option<usize>,
}

impl<F: FnMut(Constant, Range<usize>) -> Option<()>> Lexer<'_, F> {
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
        let digits = Constant::Number.length_in(rest)?;
        let (before, behind) = (self.before(), rest.get(digits).copied().unwrap_or(b' '));
        if before == b'.' || behind == b'.' || is_word(behind) {
            return None;
        }
        self.constant(Constant::Number, digits)
    }

    fn string(&mut self, rest: &[u8]) -> Option<()> {
        let between = self
            .string_end
            .map(|end| self.sql.as_bytes().get(end..self.at));
        if is_word(self.before()) || between.flatten().is_some_and(is_blank) {
            return None;
        }
        self.constant(Constant::String, string_of(rest)?)?;
        self.string_end = Some(self.at);
        Some(())
    }

    fn constant(&mut self, constant: Constant, length: usize) -> Option<()> {
        let place = self.at..self.at + length;
        self.at = place.end;
        match self.depth {
            0 => (self.found)(constant, place),
            _ => Some(()),
        }
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
mod tests;
