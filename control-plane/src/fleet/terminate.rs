//! The words that end a session from outside.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use pglens_core::{RunId, SessionId};
use pglens_rpc::v1::control_message::Message;
use pglens_rpc::v1::{ControlMessage, Terminate, TerminateReason};

use crate::storage::session_check::{DoomedSession, EndReason};

/// A time as people read it.
#[must_use]
pub fn words_for_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The messages that end `sessions`, one for each run and wording.
#[must_use]
pub fn messages(sessions: &[DoomedSession]) -> Vec<(RunId, ControlMessage)> {
    let mut grouped: HashMap<(RunId, EndReason, String), Vec<Vec<u8>>> = HashMap::new();
    for session in sessions {
        let key = (session.run_id, session.reason, detail(session));
        grouped.entry(key).or_default().push(session.id.to_wire());
    }
    let message = |((run_id, reason, detail), session_ids)| {
        (
            run_id,
            wrap(Terminate {
                session_ids,
                detail,
                ..words(reason)
            }),
        )
    };
    grouped.into_iter().map(message).collect()
}

/// The message for sessions that a proxy holds and the control plane does not know as running.
#[must_use]
pub fn unknown(session_ids: &[SessionId]) -> ControlMessage {
    let session_ids = session_ids.iter().map(|id| id.to_wire()).collect();
    wrap(Terminate {
        session_ids,
        ..words(EndReason::Unknown)
    })
}

fn wrap(terminate: Terminate) -> ControlMessage {
    ControlMessage {
        message: Some(Message::Terminate(terminate)),
    }
}

fn words(reason: EndReason) -> Terminate {
    const AGAIN: &str = "Connect again.";
    let (code, why, hint) = match reason {
        EndReason::Killed => (TerminateReason::Killed, "it was ended by request", ""),
        EndReason::UserDeleted => (TerminateReason::UserDisabled, "the user was deleted", ""),
        EndReason::UserDisabled => (TerminateReason::UserDisabled, "the user was disabled", ""),
        EndReason::DatabaseDeleted => (
            TerminateReason::DatabaseDisabled,
            "the database was removed from PgLens",
            "",
        ),
        EndReason::DatabaseDisabled => (
            TerminateReason::DatabaseDisabled,
            "the database was disabled in PgLens",
            "",
        ),
        EndReason::DatabaseChanged => (
            TerminateReason::DatabaseDisabled,
            "the database was moved in PgLens",
            AGAIN,
        ),
        EndReason::GrantRevoked => (TerminateReason::GrantRevoked, "the grant was revoked", ""),
        EndReason::GrantExpired => (TerminateReason::GrantExpired, "the grant has expired", ""),
        EndReason::WindowClosed => (
            TerminateReason::WindowClosed,
            "the hours of the grant are over",
            "Connect again when they begin.",
        ),
        EndReason::PasswordChanged => (
            TerminateReason::PasswordChanged,
            "the password was changed",
            "Connect again with the new password.",
        ),
        EndReason::Unknown => (
            TerminateReason::UnknownSession,
            "the session is not known as running any more",
            AGAIN,
        ),
    };
    Terminate {
        reason: code.into(),
        message: format!("terminating connection: {why}"),
        hint: hint.to_owned(),
        ..Terminate::default()
    }
}

fn detail(session: &DoomedSession) -> String {
    let by = session
        .by
        .as_ref()
        .map_or_else(String::new, |name| format!(" by {name}"));
    let at = session
        .at
        .map_or_else(String::new, |at| format!(" at {}", words_for_time(at)));
    let grant = session.grant_id;
    match session.reason {
        EndReason::GrantRevoked => format!("Grant {grant} was revoked{by}{at}."),
        EndReason::GrantExpired => format!("Grant {grant} expired{at}."),
        EndReason::WindowClosed => format!("The hours of grant {grant} ended{at}."),
        EndReason::Killed => format!("The connection was ended{by}{at}."),
        EndReason::UserDeleted | EndReason::UserDisabled | EndReason::PasswordChanged => {
            format!("That was{at}. The session ran under grant {grant}.")
        }
        EndReason::DatabaseDeleted | EndReason::DatabaseDisabled | EndReason::DatabaseChanged => {
            format!("That was{at}. The session ran under grant {grant}.")
        }
        EndReason::Unknown => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_core::GrantId;
    use uuid::Uuid;

    fn session(run_id: RunId, reason: EndReason) -> DoomedSession {
        DoomedSession {
            id: SessionId(Uuid::now_v7()),
            run_id,
            grant_id: GrantId(7),
            reason,
            at: DateTime::from_timestamp(0, 0),
            age_us: Some(0),
            by: Some("ann".to_owned()),
        }
    }

    #[test]
    fn sessions_that_end_alike_share_a_message() {
        let run_id = RunId(Uuid::now_v7());
        let sessions = [
            session(run_id, EndReason::GrantRevoked),
            session(run_id, EndReason::GrantRevoked),
            session(RunId(Uuid::now_v7()), EndReason::GrantRevoked),
        ];
        let mut counts: Vec<usize> = messages(&sessions)
            .into_iter()
            .map(|(_, message)| match message.message {
                Some(Message::Terminate(terminate)) => terminate.session_ids.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
    }

    #[test]
    fn the_client_learns_what_happened() {
        let sessions = [session(RunId(Uuid::now_v7()), EndReason::GrantRevoked)];
        let (_, message) = messages(&sessions).remove(0);
        let Some(Message::Terminate(terminate)) = message.message else {
            panic!()
        };
        assert_eq!(
            terminate.message,
            "terminating connection: the grant was revoked"
        );
        assert_eq!(
            terminate.detail,
            "Grant 7 was revoked by ann at 1970-01-01T00:00:00Z."
        );
        assert_eq!(terminate.reason(), TerminateReason::GrantRevoked);
    }
}
