//! What a guard says when it does not let something through.

use pglens_core::ErrorCode;

/// A decision against a statement or setting, with the words for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that decided, a stable name for records and metrics, such as `read_grant.statement_kind`.
    pub rule: &'static str,
    /// What kind of error it is; gives the SQLSTATE.
    pub code: ErrorCode,
    /// The primary message.
    pub message: String,
    /// Why, in a sentence.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

const READ_HINT: &str = "A write grant is needed for statements that may change something.";

impl Refusal {
    /// A refusal by the read guard: SQLSTATE 25006.
    pub(crate) fn read_grant(
        rule: &'static str,
        message: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            code: ErrorCode::ReadOnly,
            message: message.into(),
            detail: Some(detail.into()),
            hint: Some(READ_HINT.to_owned()),
        }
    }

    /// A refusal by another control: SQLSTATE 42501.
    pub(crate) fn control(
        rule: &'static str,
        message: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            code: ErrorCode::StatementRefused,
            message: message.into(),
            detail: Some(detail.into()),
            hint: None,
        }
    }

    /// With what to do about it.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self {
            hint: Some(hint.to_owned()),
            ..self
        }
    }
}
