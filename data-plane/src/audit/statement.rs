//! A statement on its way into the record: what is known before it runs, its promised place, and how it ended.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use pglens_policy::LazyFingerprint;

use super::Reservation;
use crate::metrics::StatementOutcome;

/// What start and end of a statement take besides its text and parameters; columns and error text are bounded.
const STATEMENT_OVERHEAD_BYTES: usize = 512;
/// What is recorded of a statement that was refused, at most.
const MAX_REFUSED_BYTES: usize = 256 * 1024;
/// Longest error message that is recorded.
const MAX_ERROR_MESSAGE_BYTES: usize = 8 * 1024;

/// What a statement says, wherever that is kept: its record takes it from there.
pub(crate) trait Said: fmt::Debug {
    fn text(&self) -> &Text;

    /// Encoded, see [`super::Parameters::fields`].
    fn parameters(&self) -> &[u8] {
        &[]
    }
}

/// A statement, or a text with several of them.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: Arc<str>,
    /// Where the statement stands in it.
    pub(crate) range: Range<usize>,
    pub(crate) kind: &'static str,
    pub(crate) fingerprint: LazyFingerprint,
}

impl Text {
    /// All of `text`, which has no fingerprint.
    pub(crate) fn whole(text: &str, kind: &'static str) -> Self {
        Self {
            range: 0..text.len(),
            text: text.into(),
            kind,
            fingerprint: LazyFingerprint::default(),
        }
    }

    /// The statement's own part of it.
    pub(crate) fn sql(&self) -> &str {
        self.text.get(self.range.clone()).unwrap_or(&self.text)
    }
}

impl Said for Text {
    fn text(&self) -> &Text {
        self
    }
}

/// What is known of a statement before it runs.
#[derive(Debug, Clone)]
pub(crate) struct StatementFacts {
    pub(crate) said: Rc<dyn Said>,
    /// Bytes the client sent for it.
    pub(crate) bytes_in: u64,
}

impl StatementFacts {
    pub(crate) fn new(said: impl Said + 'static, bytes_in: u64) -> Self {
        Self {
            said: Rc::new(said),
            bytes_in,
        }
    }

    pub(crate) fn record_bytes(&self) -> usize {
        self.said.text().sql().len() + self.said.parameters().len() + STATEMENT_OVERHEAD_BYTES
    }

    /// Cut to what fits into any record, for a statement that was refused.
    pub(crate) fn shortened(self) -> Self {
        if self.record_bytes() <= MAX_REFUSED_BYTES {
            return self;
        }
        let text = self.said.text();
        let sql = text.sql();
        let end = sql.floor_char_boundary(MAX_REFUSED_BYTES);
        let cut = Text {
            fingerprint: text.fingerprint.clone(),
            ..Text::whole(sql.get(..end).unwrap_or_default(), text.kind)
        };
        Self::new(cut, self.bytes_in)
    }
}

/// A statement whose record has a place in the outbox: it may be forwarded once that is written.
#[derive(Debug)]
pub(crate) struct Promised {
    pub(super) facts: StatementFacts,
    pub(super) place: Reservation,
}

impl Promised {
    pub(crate) fn kind(&self) -> &'static str {
        self.facts.said.text().kind
    }
}

/// How a statement ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome<'a> {
    pub(crate) command_tag: Cow<'a, str>,
    pub(crate) sqlstate: Cow<'a, str>,
    pub(crate) error_message: Cow<'a, str>,
    /// Name of the rule that refused it.
    pub(crate) refusal: Option<&'static str>,
    pub(crate) unknown: bool,
}

impl<'a> Outcome<'a> {
    pub(crate) fn completed(command_tag: &'a [u8]) -> Self {
        Self {
            command_tag: text(command_tag),
            ..Self::default()
        }
    }

    /// Whether it ran cannot be known.
    pub(crate) fn unknown() -> Self {
        Self {
            unknown: true,
            ..Self::default()
        }
    }

    pub(crate) fn failed(sqlstate: &'a [u8], message: &'a [u8]) -> Self {
        let message = message.get(..MAX_ERROR_MESSAGE_BYTES).unwrap_or(message);
        Self {
            sqlstate: text(sqlstate),
            error_message: text(message),
            ..Self::default()
        }
    }

    /// To be kept while more messages come.
    pub(crate) fn into_owned(self) -> Outcome<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Outcome {
            command_tag: owned(self.command_tag),
            sqlstate: owned(self.sqlstate),
            error_message: owned(self.error_message),
            refusal: self.refusal,
            unknown: self.unknown,
        }
    }

    pub(super) fn metric(&self) -> StatementOutcome {
        if self.refusal.is_some() {
            StatementOutcome::Refused
        } else if self.unknown {
            StatementOutcome::Unknown
        } else if self.sqlstate.is_empty() {
            StatementOutcome::Succeeded
        } else {
            StatementOutcome::Failed
        }
    }
}

/// As it is, which is the rule and costs less to find out than what would have to be replaced.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
