//! Runs PostgreSQL's parser on hostile text without letting it take the process down.
//!
//! Three things can go wrong, and each has its bound:
//!
//! - *Stack.* A tree is decoded, and dropped, by recursion, at about 1 kB of stack a level. libpg_query refuses trees of
//!   more than 10 000 levels, so the decoder never needs more than 15 MB: texts that could nest deeper than a caller's
//!   stack allows are parsed on threads that have 64 MiB.
//! - *Memory.* A node takes up to 2 kB for two bytes of text: the tokens of a text are counted before it is parsed, and
//!   few long texts are parsed at the same time.
//! - *Panics* in code that is not ours end as a [`ParseFailure`].

mod pool;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_query::protobuf;

use crate::fingerprint::{Fingerprint, LazyFingerprint};

/// Longest text that is analysed. Longer ones are bulk loads: a read grant has no use for them, and a write grant runs
/// them unseen.
pub const MAX_ANALYSED_BYTES: usize = 1024 * 1024;

/// Most tokens in a text that is analysed: a list of 25 000 numbers, and at most 100 MB for a tree.
pub const MAX_ANALYSED_TOKENS: usize = 50_000;

/// Longest text parsed on the caller's thread, which must have 1.5 MiB of stack left. No grammar rule nests
/// more than 1.5 levels for each byte, and a level takes about 1 kB.
///
/// Longer texts wait for one of few parser threads: asynchronous callers may prefer to wait elsewhere.
pub const INLINE_MAX_BYTES: usize = 512;

/// Why a text has no parse tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFailure {
    /// PostgreSQL's grammar does not know it; the message is PostgreSQL's own.
    #[error("{message}")]
    Syntax {
        /// Such as `syntax error at or near "x"`.
        message: String,
    },
    /// It exceeds [`MAX_ANALYSED_BYTES`] or [`MAX_ANALYSED_TOKENS`].
    #[error("the text is too long to be analysed")]
    TooLong,
    /// The parser failed, or could not be run.
    #[error("the text could not be analysed")]
    Unavailable,
}

/// A parse tree with the fingerprint of each of its statements.
pub(crate) struct Parsed {
    pub(crate) statements: Vec<protobuf::RawStmt>,
    pub(crate) fingerprints: Vec<LazyFingerprint>,
}

/// Parses `sql` within the bounds above and hands the tree to `judge`, on the thread that has the stack for it.
pub(crate) fn with_tree<T: Send + 'static>(
    sql: &str,
    judge: impl FnOnce(&str, Parsed) -> T + Send + 'static,
) -> Result<T, ParseFailure> {
    if sql.len() > MAX_ANALYSED_BYTES || token_bound(sql) > MAX_ANALYSED_TOKENS {
        return Err(ParseFailure::TooLong);
    }
    if sql.len() <= INLINE_MAX_BYTES {
        return run(sql, judge);
    }
    let sql = sql.to_owned();
    pool::run(move || run(&sql, judge)).unwrap_or(Err(ParseFailure::Unavailable))
}

fn run<T>(sql: &str, judge: impl FnOnce(&str, Parsed) -> T) -> Result<T, ParseFailure> {
    // The tree is built, judged and dropped inside: nothing half-made is seen after a panic.
    catch_unwind(AssertUnwindSafe(|| {
        parse(sql).map(|parsed| judge(sql, parsed))
    }))
    .unwrap_or(Err(ParseFailure::Unavailable))
}

fn parse(sql: &str) -> Result<Parsed, ParseFailure> {
    let tree = match pg_query::parse(sql, 0) {
        Ok(result) => result.protobuf,
        Err(pg_query::Error::Parse(message)) => return Err(ParseFailure::Syntax { message }),
        Err(_) => return Err(ParseFailure::Unavailable),
    };
    let statements = tree.stmts;
    let fingerprint = |raw: &protobuf::RawStmt| {
        let text = sql.get(raw_range(raw, sql.len()))?;
        Fingerprint::of(text)
    };
    let fingerprints = match statements.as_slice() {
        [_] if sql.len() <= INLINE_MAX_BYTES => vec![LazyFingerprint::due()],
        [_] => vec![Fingerprint::of(sql).into()],
        many => many.iter().map(|raw| fingerprint(raw).into()).collect(),
    };
    Ok(Parsed {
        statements,
        fingerprints,
    })
}

/// The bytes between the semicolons round a statement.
pub(crate) fn raw_range(raw: &protobuf::RawStmt, sql_bytes: usize) -> std::ops::Range<usize> {
    let start = usize::try_from(raw.stmt_location)
        .unwrap_or(0)
        .min(sql_bytes);
    let end = match usize::try_from(raw.stmt_len) {
        Ok(0) | Err(_) => sql_bytes, // the last statement has no semicolon
        Ok(length) => start.saturating_add(length).min(sql_bytes),
    };
    start..end
}

/// An upper bound on the tokens of `sql`: runs of word characters, and every other character that is no white space.
/// Text inside quotes and comments is counted as if it were none, because where quotes end is the parser's to say.
fn token_bound(sql: &str) -> usize {
    let mut count = 0;
    let mut in_word = false;
    for byte in sql.bytes() {
        let is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
        let continues = is_word && in_word;
        if !(byte.is_ascii_whitespace() || continues) {
            count += 1;
        }
        in_word = is_word;
    }
    count
}
