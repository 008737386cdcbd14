//! Why a session ends, and what the client is told about it.

use std::time::Duration;

use pglens_core::{ErrorCode, GrantId};
use pglens_wire::frame::FrameError;

use crate::clock::rfc3339;
use crate::control::allowed::Grant;
use crate::control::registry::Termination;
use crate::session::report::ClientError;

/// Whether a statement that still runs is cancelled at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    Yes,
    No,
}

/// The end of a relay.
#[derive(Debug)]
pub(crate) struct Ending {
    /// A word for the record.
    pub(crate) reason: &'static str,
    /// What the client is told, as FATAL; `None` when it left by itself or has been told by the target.
    pub(crate) error: Option<ClientError>,
    pub(crate) cancel: Cancel,
    pub(crate) delivery: Delivery,
}

/// What becomes of messages that were let through and are not written yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    All,
    /// Nothing more reaches the client: what it may see has ended.
    Cut,
}

impl Ending {
    fn silent(reason: &'static str, cancel: Cancel) -> Self {
        Self {
            reason,
            error: None,
            cancel,
            delivery: Delivery::All,
        }
    }

    fn told(reason: &'static str, cancel: Cancel, error: ClientError) -> Self {
        Self {
            reason,
            error: Some(error),
            cancel,
            delivery: Delivery::All,
        }
    }

    /// Ends what the client may see at once.
    fn cut(reason: &'static str, error: ClientError) -> Self {
        Self {
            delivery: Delivery::Cut,
            ..Self::told(reason, Cancel::Yes, error)
        }
    }

    /// The client said goodbye; what it sent before is answered.
    pub(crate) fn client_terminated() -> Self {
        Self::silent("client_closed", Cancel::No)
    }

    /// The client's connection broke or was closed without a word.
    pub(crate) fn client_gone() -> Self {
        Self::silent("client_closed", Cancel::Yes)
    }

    /// The target closed the connection; its own words have been passed on if there were any.
    pub(crate) fn target_closed(has_told: bool) -> Self {
        if has_told {
            return Self::silent("target_closed", Cancel::No);
        }
        let error = ClientError::new(
            ErrorCode::TargetUnavailable,
            "the database closed the connection unexpectedly",
        );
        let mut ending = Self::told("target_closed", Cancel::No, error);
        if let Some(error) = &mut ending.error {
            // connection_failure: the connection had been made.
            error.sqlstate = "08006".into();
        }
        ending
    }

    /// A startup parameter of the client's is refused.
    pub(crate) fn startup_refused(error: ClientError) -> Self {
        Self::told("startup_refused", Cancel::No, error)
    }

    /// There is no session with the target.
    pub(crate) fn target_unavailable(error: ClientError) -> Self {
        Self::told("target_unavailable", Cancel::No, error)
    }

    pub(crate) fn client_frame(error: FrameError) -> Self {
        let error = ClientError::new(ErrorCode::ProtocolViolation, error.to_string());
        Self::told("client_protocol", Cancel::Yes, error)
    }

    /// As PostgreSQL words it.
    pub(crate) fn client_message_type(tag: u8) -> Self {
        let message = format!("invalid frontend message type {tag}");
        let error = ClientError::new(ErrorCode::ProtocolViolation, message);
        Self::told("client_protocol", Cancel::Yes, error)
    }

    /// The target sent what cannot follow from what was sent to it; nothing can be attributed any more.
    pub(crate) fn target_protocol(what: &'static str) -> Self {
        let error = ClientError::new(
            ErrorCode::ProtocolViolation,
            "the database sent a reply that cannot be attributed to a statement",
        )
        .detail(what);
        Self::told("target_protocol", Cancel::Yes, error)
    }

    pub(crate) fn terminated(termination: Termination) -> Self {
        let reason = termination.reason_word();
        let message = if termination.message.is_empty() {
            "the session was terminated".to_owned()
        } else {
            termination.message
        };
        let error = ClientError::new(ErrorCode::SessionTerminated, message)
            .detail(termination.detail)
            .hint(termination.hint);
        Self::cut(reason, error)
    }

    pub(crate) fn expired(grant_id: GrantId, at: &str) -> Self {
        let error = ClientError::new(ErrorCode::SessionTerminated, "the grant has expired")
            .detail(format!("Grant {grant_id} expired at {at}."))
            .hint("Ask for another grant.");
        Self::cut("expired", error)
    }

    pub(crate) fn window_closed(grant_id: GrantId, at: &str) -> Self {
        let error = ClientError::new(
            ErrorCode::SessionTerminated,
            "the hours of the grant are over",
        )
        .detail(format!("The hours of grant {grant_id} ended at {at}."))
        .hint("Connect again when they begin.");
        Self::cut("window_closed", error)
    }

    pub(crate) fn lease_ended() -> Self {
        let error = ClientError::new(
            ErrorCode::SessionTerminated,
            "the session ended because no control plane confirms it",
        )
        .detail("This proxy has not heard from a control plane for as long as sessions may go on without.")
        .hint("Connect again later.");
        Self::cut("lease_ended", error)
    }

    pub(crate) fn draining() -> Self {
        let error = ClientError::new(
            ErrorCode::SessionTerminated,
            "the session ended because this proxy is shutting down",
        )
        .hint("Connect again.");
        Self::told("drained", Cancel::No, error)
    }

    /// The time to finish a statement is over.
    pub(crate) fn aborted() -> Self {
        Self {
            cancel: Cancel::Yes,
            ..Self::draining()
        }
    }

    /// A statement was admitted, and its record cannot be written.
    pub(crate) fn record_broken() -> Self {
        let error = ClientError::new(
            ErrorCode::RecordUnavailable,
            "the session ended because its record cannot be kept",
        )
        .hint("Connect again later.");
        Self::told("record_broken", Cancel::Yes, error)
    }

    /// A statement did not end although it was cancelled for its time.
    pub(crate) fn statement_timeout(limit: Duration) -> Self {
        Self::cut("statement_timeout", statement_timeout(limit))
    }

    pub(crate) fn bytes_spent(grant: &Grant) -> Self {
        let error = ClientError::new(
            ErrorCode::QuotaSpent,
            "the byte quota of this grant is spent",
        )
        .detail(format!(
            "Grant {} allows {} bytes of rows and COPY data in all, until {}.",
            grant.id,
            grant.max_bytes.unwrap_or(0),
            rfc3339(grant.expires_at_unix_us)
        ))
        .hint("Ask for another grant.");
        Self::told("quota_spent", Cancel::Yes, error)
    }

    pub(crate) fn bytes_withheld() -> Self {
        let error = ClientError::new(
            ErrorCode::QuotaSpent,
            "no more bytes of the grant's quota can be had now",
        )
        .detail("The rest is held by sessions of proxies that do not answer.")
        .hint("It comes back when these proxies do, and their record is complete.");
        Self::told("quota_withheld", Cancel::Yes, error)
    }

    pub(crate) fn bytes_unavailable() -> Self {
        let error = ClientError::new(
            ErrorCode::QuotaSpent,
            "this proxy holds no more bytes of the grant's quota",
        )
        .detail("The control plane cannot be asked for more now.")
        .hint("Try again later.");
        Self::told("quota_unavailable", Cancel::Yes, error)
    }

    /// The target reports that the guard's assumption about the session no longer holds.
    pub(crate) fn tripwire(setting: &'static str) -> Self {
        let error = ClientError::new(
            ErrorCode::ReadOnly,
            "the session ended because it left the bounds of its read grant",
        )
        .detail(format!("The database reports a change of {setting}."));
        Self::cut("read_guard", error)
    }
}

/// What the client hears of a statement that ran for longer than its grant allows; SQLSTATE `query_canceled`.
pub(super) fn statement_timeout(limit: Duration) -> ClientError {
    let message = format!(
        "canceling statement because it ran for longer than {} ms",
        limit.as_millis()
    );
    ClientError {
        sqlstate: "57014".into(),
        ..ClientError::new(ErrorCode::StatementRefused, message)
    }
}
