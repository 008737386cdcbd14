//! What is said of statements that are refused for other reasons than their text.

use pglens_core::ErrorCode;
use pglens_policy::Refusal;

use super::judge::MAX_RECORDED_STATEMENT_BYTES;
use crate::clock::rfc3339;
use crate::control::allowed::Grant;

/// A text or a set of parameters that no record can hold.
pub(crate) fn too_large(bytes: usize) -> Refusal {
    Refusal {
        rule: "record.statement_too_large",
        code: ErrorCode::TooLarge,
        message: format!(
            "a statement with parameters of {bytes} bytes cannot be recorded, the most is {MAX_RECORDED_STATEMENT_BYTES}"
        ),
        detail: None,
        hint: Some(
            "Bind large values as parameters of the extended protocol, or use COPY.".to_owned(),
        ),
    }
}

/// The record has no room and did not get any in time.
pub(crate) fn no_room() -> Refusal {
    Refusal {
        rule: "record.full",
        code: ErrorCode::RecordUnavailable,
        message: "the statement cannot be recorded now and was not run".to_owned(),
        detail: Some("The records of this proxy wait for the control plane.".to_owned()),
        hint: Some("Try again later.".to_owned()),
    }
}

/// Under the audit level `strict` the start of each statement is stored before it may run; of several in one message
/// only the first could be.
pub(crate) fn several_under_strict() -> Refusal {
    Refusal {
        rule: "record.strict_one_by_one",
        code: ErrorCode::Unsupported,
        message:
            "several statements in one message cannot be recorded as strictly as the grant demands"
                .to_owned(),
        detail: Some("The grant has the audit level \"strict\".".to_owned()),
        hint: Some("Send them one by one.".to_owned()),
    }
}

/// The grant's statements are used up.
pub(crate) fn queries_spent(grant: &Grant) -> Refusal {
    Refusal {
        rule: "quota.queries",
        code: ErrorCode::QuotaSpent,
        message: "the statement quota of this grant is spent".to_owned(),
        detail: Some(format!(
            "Grant {} allows {} statements in all, until {}.",
            grant.id,
            grant.max_queries.unwrap_or(0),
            rfc3339(grant.expires_at_unix_us)
        )),
        hint: Some("Ask for another grant.".to_owned()),
    }
}

/// The grant has statements left that no session can use now.
pub(crate) fn queries_withheld() -> Refusal {
    Refusal {
        rule: "quota.withheld",
        code: ErrorCode::QuotaSpent,
        message: "no more statements of the grant's quota can be had now".to_owned(),
        detail: Some("The rest is held by sessions of proxies that do not answer.".to_owned()),
        hint: Some("It comes back when these proxies do, and their record is complete.".to_owned()),
    }
}

/// The grant may have statements left, but nobody can be asked for them.
pub(crate) fn queries_unavailable() -> Refusal {
    Refusal {
        rule: "quota.unavailable",
        code: ErrorCode::QuotaSpent,
        message: "this proxy holds no more statements of the grant's quota".to_owned(),
        detail: Some("The control plane cannot be asked for more now.".to_owned()),
        hint: Some("Try again later.".to_owned()),
    }
}

/// The session holds as many named things as it may.
pub(crate) fn too_many(what: &'static str) -> Refusal {
    Refusal {
        rule: "session.too_many",
        code: ErrorCode::TooLarge,
        message: format!("too many {what} in this session"),
        detail: None,
        hint: Some("Close those that are no longer used.".to_owned()),
    }
}
