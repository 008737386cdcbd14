//! What a text contains: its statements, and the verdict of the read guard on each.

use std::ops::Range;

use pg_query::protobuf::{Node, RawStmt};

use crate::fingerprint::LazyFingerprint;
use crate::guard::{self, Uses};
use crate::kind::{Facts, StatementKind};
use crate::parser::{self, ParseFailure, Parsed};
use crate::refusal::Refusal;

/// Everything the proxy wants to know about a text before it forwards it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// The statements in order; none for an empty text. A text that does not parse is one of kind
    /// [`StatementKind::UNKNOWN`].
    pub statements: Vec<Statement>,
    /// Whether the text was understood.
    pub parse: Result<(), ParseFailure>,
}

/// One SQL statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Where it stands in the text, in bytes: with the comments in front of it, without the semicolon and white space
    /// round it.
    pub range: Range<usize>,
    /// Its kind, as PostgreSQL's command tags name it.
    pub kind: StatementKind,
    /// The same for statements that differ only in constants and formatting.
    pub fingerprint: LazyFingerprint,
    /// Whether a read grant may run it, as far as its grammar tells: what it uses is still to be judged.
    pub read_verdict: Result<(), Refusal>,
    /// What a catalog has to judge. Filled as far as the read guard looked: to the end, if the verdict is `Ok`.
    pub uses: Uses,
    /// It is a COPY.
    pub is_copy: bool,
    /// It defines, changes or drops objects or privileges.
    pub is_ddl: bool,
    /// It runs statements that cannot be seen from outside, as DO does.
    pub is_opaque: bool,
}

impl Analysis {
    /// Bytes of heap that the analysis holds, about.
    pub(crate) fn heap_bytes(&self) -> usize {
        let of_refusal = |refusal: &Refusal| {
            let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            refusal.message.len() + optional(&refusal.detail) + optional(&refusal.hint)
        };
        let of_statement = |statement: &Statement| {
            size_of::<Statement>()
                + statement.uses.heap_bytes()
                + statement.read_verdict.as_ref().err().map_or(0, of_refusal)
        };
        size_of::<Self>() + self.statements.iter().map(of_statement).sum::<usize>()
    }
}

/// Parses `sql` and judges every statement in it. Costs some microseconds for each statement, and never fails: a text
/// that is not understood is said to be so.
///
/// Needs 1.5 MiB of stack, and waits for a parser thread if `sql` is longer than [`crate::INLINE_MAX_BYTES`].
#[must_use]
pub fn analyze(sql: &str) -> Analysis {
    match parser::with_tree(sql, judge) {
        Ok(statements) => Analysis {
            statements,
            parse: Ok(()),
        },
        Err(failure) => Analysis {
            statements: vec![unknown(sql, &failure)],
            parse: Err(failure),
        },
    }
}

fn judge(sql: &str, parsed: Parsed) -> Vec<Statement> {
    let Parsed {
        statements,
        fingerprints,
    } = parsed;
    let mut statement_start = 0;
    let judge_next = |(raw, fingerprint): (&RawStmt, LazyFingerprint)| {
        let end = parser::raw_range(raw, sql.len()).end;
        let range = trimmed(sql, statement_start..end);
        statement_start = end;
        judge_statement(raw, range, fingerprint)
    };
    statements
        .iter()
        .zip(fingerprints)
        .map(judge_next)
        .collect()
}

fn judge_statement(raw: &RawStmt, range: Range<usize>, fingerprint: LazyFingerprint) -> Statement {
    let node = raw.stmt.as_deref().and_then(|Node { node }| node.as_ref());
    let facts = node.map_or(Facts::UNKNOWN, Facts::of);
    let (read_verdict, uses) = match node {
        Some(node) => guard::judge_read(node, facts.kind),
        None => (Err(guard::refused_kind(facts.kind)), Uses::default()),
    };
    Statement {
        range,
        kind: facts.kind,
        fingerprint,
        read_verdict,
        uses,
        is_copy: facts.is_copy,
        is_ddl: facts.is_ddl,
        is_opaque: facts.is_opaque,
    }
}

fn unknown(sql: &str, failure: &ParseFailure) -> Statement {
    let Facts {
        kind,
        is_copy,
        is_ddl,
        is_opaque,
    } = Facts::UNKNOWN;
    Statement {
        range: trimmed(sql, 0..sql.len()),
        kind,
        fingerprint: LazyFingerprint::default(),
        read_verdict: Err(guard::refused_text(failure)),
        uses: Uses::default(),
        is_copy,
        is_ddl,
        is_opaque,
    }
}

/// `range` without white space and empty statements in front; the whole text should it not fall between characters.
/// The parser lets a statement begin behind the comments in front of it, where applications say who they are.
fn trimmed(sql: &str, range: Range<usize>) -> Range<usize> {
    let Some(text) = sql.get(range.clone()) else {
        return 0..sql.len();
    };
    let in_front = |character: char| character.is_whitespace() || character == ';';
    let text_end = text.trim_end();
    let text = text_end.trim_start_matches(in_front);
    let start = range.start + (text_end.len() - text.len());
    start..start + text.len()
}
