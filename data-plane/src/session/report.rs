//! What a client is told: the one place that turns an error into the fields of an `ErrorResponse`.

use std::borrow::Cow;

use pglens_core::ErrorCode;
use pglens_policy::Refusal;
use pglens_rpc::v1;
use pglens_wire::backend::{Report, Severity};

/// An error in words that are meant for the client. Nothing of the target's address or login is ever in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientError {
    pub(crate) sqlstate: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) hint: Cow<'static, str>,
}

impl ClientError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sqlstate: code.sqlstate().into(),
            message: message.into(),
            detail: Cow::Borrowed(""),
            hint: Cow::Borrowed(""),
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// This proxy holds as many sessions as it may.
    pub(crate) fn too_many_sessions() -> Self {
        Self::new(
            ErrorCode::TooManyConnections,
            "sorry, too many clients already",
        )
        .hint("Try again later.")
    }

    /// The words of a control plane that does not let a client in.
    pub(crate) fn denied(deny: v1::Deny) -> Self {
        let code = code_named(&deny.code);
        Self::new(code, deny.message)
            .detail(deny.detail)
            .hint(deny.hint)
    }

    /// Appends it as an error that ends the session.
    pub(crate) fn put_fatal(&self, out: &mut Vec<u8>) {
        self.put(Severity::Fatal, out);
    }

    /// Appends it as an error that ends the statement.
    pub(crate) fn put_error(&self, out: &mut Vec<u8>) {
        self.put(Severity::Error, out);
    }

    fn put(&self, severity: Severity, out: &mut Vec<u8>) {
        let report = Report {
            severity,
            sqlstate: &self.sqlstate,
            message: &self.message,
            detail: &self.detail,
            hint: &self.hint,
        };
        report.put(out);
    }
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
            .detail(refusal.detail.unwrap_or_default())
            .hint(refusal.hint.unwrap_or_default())
    }
}

/// Appends a notice in our own name.
pub(crate) fn put_notice(out: &mut Vec<u8>, message: &str, hint: &str) {
    let report = Report {
        severity: Severity::Notice,
        sqlstate: "00000",
        message,
        detail: "",
        hint,
    };
    report.put(out);
}

/// The error code a control plane names. One that is not known here comes from a newer control plane, and is told as
/// what it is in any case: no.
fn code_named(name: &str) -> ErrorCode {
    const CODES: [ErrorCode; 12] = [
        ErrorCode::InvalidArgument,
        ErrorCode::AuthenticationFailed,
        ErrorCode::Unauthenticated,
        ErrorCode::NoGrant,
        ErrorCode::QuotaSpent,
        ErrorCode::SessionTerminated,
        ErrorCode::Overloaded,
        ErrorCode::TooManyConnections,
        ErrorCode::ControlPlaneUnavailable,
        ErrorCode::ProtocolViolation,
        ErrorCode::Unsupported,
        ErrorCode::Internal,
    ];
    CODES
        .into_iter()
        .find(|code| code.as_str() == name)
        .unwrap_or(ErrorCode::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_keeps_its_words_and_gets_its_sqlstate() {
        let deny = |code: &str| v1::Deny {
            code: code.to_owned(),
            message: "no".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            ClientError::denied(deny("authentication_failed")).sqlstate,
            "28P01"
        );
        assert_eq!(ClientError::denied(deny("no_grant")).sqlstate, "42501");
        assert_eq!(ClientError::denied(deny("of the future")).sqlstate, "42501");
    }
}
