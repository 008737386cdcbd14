//! Why a login is refused: what the log of events says, and what the client hears.

use chrono::{DateTime, Utc};
use pglens_core::{ErrorCode, GrantId, UserId};
use pglens_rpc::v1;
use pglens_runtime::Chain;
use pglens_wire::scram::ScramError;
use serde_json::json;

use super::{Attempt, MAX_WORD_BYTES};
use crate::fleet::terminate::words_for_time;
use crate::ingest::text::bounded;
use crate::service::audit::{Action, Actor, AuditEntry};
use crate::storage::StoreError;

/// Told apart in the audit log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrongCredentials {
    UnknownUser,
    UserDisabled,
    WrongPassword,
    /// Disabled, deleted, or with another password since the proof began.
    ChangedMeanwhile,
}

/// The quota that has nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpentQuota {
    Queries,
    Bytes,
}

/// Why a login is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    PasswordWithoutTls,
    WrongCredentials(WrongCredentials),
    /// The exchange itself went wrong.
    Scram(ScramError),
    DefaultPassword {
        user_id: UserId,
    },
    UnknownDatabase {
        user_id: UserId,
    },
    NoGrant {
        user_id: UserId,
    },
    NotStarted {
        user_id: UserId,
        grant_id: GrantId,
        at: DateTime<Utc>,
    },
    Expired {
        user_id: UserId,
        grant_id: GrantId,
        at: DateTime<Utc>,
    },
    Revoked {
        user_id: UserId,
        grant_id: GrantId,
        at: Option<DateTime<Utc>>,
    },
    /// A grant holds, but not at this hour.
    OutsideHours {
        user_id: UserId,
        grant_id: GrantId,
        schedule: String,
        /// When it does; `None`: not before it expires, or not soon.
        next: Option<DateTime<Utc>>,
    },
    QuotaSpent {
        user_id: UserId,
        grant_id: GrantId,
        quota: SpentQuota,
    },
    TooManyConnections {
        user_id: UserId,
        grant_id: GrantId,
        limit: u32,
    },
    Unavailable,
    Internal,
}

impl Refusal {
    /// Storage failed on the way to the decision.
    pub(super) fn storage(error: StoreError) -> Self {
        match error {
            StoreError::Pool(_) | StoreError::Unavailable(_) | StoreError::Conflict { .. } => {
                tracing::warn!(error = %Chain(&error), "login not decided");
                Self::Unavailable
            }
            error => {
                tracing::error!(error = %Chain(&error), "login not decided");
                Self::Internal
            }
        }
    }

    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// The word in audit events and metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::PasswordWithoutTls => "password_without_tls",
            Self::WrongCredentials(WrongCredentials::UnknownUser) => "unknown_user",
            Self::WrongCredentials(WrongCredentials::UserDisabled) => "user_disabled",
            Self::WrongCredentials(WrongCredentials::WrongPassword) => "wrong_password",
            Self::WrongCredentials(WrongCredentials::ChangedMeanwhile) => "user_changed",
            Self::Scram(_) => "exchange_failed",
            Self::DefaultPassword { .. } => "default_password",
            Self::UnknownDatabase { .. } => "unknown_database",
            Self::NoGrant { .. } => "no_grant",
            Self::NotStarted { .. } => "grant_not_started",
            Self::Expired { .. } => "grant_expired",
            Self::Revoked { .. } => "grant_revoked",
            Self::OutsideHours { .. } => "outside_hours",
            Self::QuotaSpent { .. } => "quota_spent",
            Self::TooManyConnections { .. } => "too_many_connections",
            Self::Unavailable => "storage_unavailable",
            Self::Internal => "internal",
        }
    }

    /// The user, once the proof was there.
    fn user_id(&self) -> Option<UserId> {
        match self {
            Self::DefaultPassword { user_id }
            | Self::UnknownDatabase { user_id }
            | Self::NoGrant { user_id }
            | Self::NotStarted { user_id, .. }
            | Self::Expired { user_id, .. }
            | Self::Revoked { user_id, .. }
            | Self::OutsideHours { user_id, .. }
            | Self::QuotaSpent { user_id, .. }
            | Self::TooManyConnections { user_id, .. } => Some(*user_id),
            Self::PasswordWithoutTls
            | Self::WrongCredentials(_)
            | Self::Scram(_)
            | Self::Unavailable
            | Self::Internal => None,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::PasswordWithoutTls => ErrorCode::Unauthenticated,
            Self::WrongCredentials(_) => ErrorCode::AuthenticationFailed,
            Self::Scram(error) => error.code(),
            Self::DefaultPassword { .. } => ErrorCode::PermissionDenied,
            Self::UnknownDatabase { .. }
            | Self::NoGrant { .. }
            | Self::NotStarted { .. }
            | Self::Expired { .. }
            | Self::Revoked { .. }
            | Self::OutsideHours { .. } => ErrorCode::NoGrant,
            Self::QuotaSpent { .. } => ErrorCode::QuotaSpent,
            Self::TooManyConnections { .. } => ErrorCode::TooManyConnections,
            Self::Unavailable => ErrorCode::ControlPlaneUnavailable,
            Self::Internal => ErrorCode::Internal,
        }
    }

    /// What the client hears. Unknown users, wrong passwords and disabled users hear the same; so do those who ask for a
    /// database that does not exist and those who never had a grant on it.
    pub(super) fn deny(&self, attempt: &Attempt) -> v1::Deny {
        const ASK: &str = "Ask an administrator of PgLens for a grant.";
        let Attempt { user, database, .. } = attempt;
        let no_grant = || format!("no active grant for user \"{user}\" on database \"{database}\"");
        let at = |at: &DateTime<Utc>| words_for_time(*at);
        let (message, detail, hint) = match self {
            Self::PasswordWithoutTls => (
                "a password in clear is accepted only inside TLS".to_owned(),
                String::new(),
                "Connect with sslmode=require, or let the client use SCRAM-SHA-256.",
            ),
            Self::WrongCredentials(_) => (
                format!("password authentication failed for user \"{user}\""),
                String::new(),
                "",
            ),
            Self::Scram(error) => (error.to_string(), String::new(), ""),
            Self::DefaultPassword { .. } => (
                format!("user \"{user}\" still has the default password"),
                "It opens the administration API only.".to_owned(),
                "Change the password in PgLens, then connect again.",
            ),
            Self::UnknownDatabase { .. } | Self::NoGrant { .. } => (no_grant(), String::new(), ASK),
            Self::NotStarted {
                grant_id,
                at: starts,
                ..
            } => (
                no_grant(),
                format!("Grant {grant_id} starts at {}.", at(starts)),
                "",
            ),
            Self::Expired {
                grant_id,
                at: expired,
                ..
            } => (
                no_grant(),
                format!("Grant {grant_id} expired at {}.", at(expired)),
                ASK,
            ),
            Self::OutsideHours {
                grant_id,
                schedule,
                next,
                ..
            } => {
                let next = next.as_ref().map_or_else(
                    || "They do not begin again before the grant expires.".to_owned(),
                    |next| format!("They begin again at {}.", at(next)),
                );
                let detail = format!("The hours of grant {grant_id} are {schedule}. {next}");
                let message =
                    format!("user \"{user}\" may use database \"{database}\" at other hours only");
                (message, detail, "Connect again at these hours.")
            }
            Self::Revoked {
                grant_id,
                at: revoked,
                ..
            } => {
                let when = revoked
                    .as_ref()
                    .map_or_else(String::new, |time| format!(" at {}", at(time)));
                (
                    no_grant(),
                    format!("Grant {grant_id} was revoked{when}."),
                    ASK,
                )
            }
            Self::QuotaSpent {
                grant_id, quota, ..
            } => {
                let what = match quota {
                    SpentQuota::Queries => "statements",
                    SpentQuota::Bytes => "bytes",
                };
                let detail = format!("All {what} of grant {grant_id} are used.");
                ("the quota of the grant is spent".to_owned(), detail, ASK)
            }
            Self::TooManyConnections {
                grant_id, limit, ..
            } => (
                "too many connections under this grant".to_owned(),
                format!("Grant {grant_id} allows {limit} at once, over all proxies."),
                "Close another connection first.",
            ),
            Self::Unavailable => (
                "PgLens cannot decide about logins at the moment".to_owned(),
                String::new(),
                "Try again in a moment.",
            ),
            Self::Internal => (
                "an internal error of PgLens, see the log of its control plane".to_owned(),
                String::new(),
                "",
            ),
        };
        v1::Deny {
            code: self.code().as_str().to_owned(),
            message,
            detail,
            hint: hint.to_owned(),
        }
    }

    /// The event of the refusal.
    pub(super) fn audit_entry(&self, attempt: &Attempt) -> AuditEntry {
        let user = bounded(&attempt.user, MAX_WORD_BYTES);
        let actor = match self.user_id() {
            Some(id) => Actor::User {
                id,
                name: user.clone().into_owned(),
            },
            None => Actor::Anonymous,
        };
        AuditEntry::of(actor, Action::LoginRefused, "user", &user)
            .after(json!({
                "through": "proxy",
                "proxy": attempt.proxy_name,
                "database": bounded(&attempt.database, MAX_WORD_BYTES),
                "client_address": attempt.client_address,
                "application_name": attempt.application_name,
                "reason": self.reason(),
                "code": self.code().as_str(),
            }))
            .from_address(attempt.client_ip())
    }
}
