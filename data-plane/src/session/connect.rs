//! The target's side of a session: what it is started with, and what the client learns of it.

use std::sync::Arc;
use std::time::Instant;

use pglens_core::{AccessLevel, ErrorCode};
use pglens_policy::startup::judge_startup_parameter;
use pglens_runtime::Chain;
use pglens_wire::backend;

use super::SessionDeps;
use super::authenticate::Login;
use super::relay::tripwire::guarded_change;
use super::relay::{Ending, Engine, Relay, Signals, Terms, Timers, Watchdog};
use super::report::ClientError;
use crate::audit::Recorder;
use crate::control::{Registration, SessionMessages};
use crate::net::Connection;
use crate::policy::catalogs::CatalogView;
use crate::policy::judge::told as told_by_grant;
use crate::policy::{Judge, Quota};
use crate::upstream::{self, CancelKey, ConnectError, Connected, StartupParameters};

/// Longest application name PostgreSQL keeps.
const MAX_APPLICATION_NAME_BYTES: usize = 63;
/// Parameters of a startup packet that are not settings of the target's session.
const NOT_FORWARDED: [&str; 4] = ["user", "database", "replication", "application_name"];

/// The target's session once the client knows about it.
pub(crate) struct TargetSession {
    pub(crate) connection: Connection,
    pub(crate) cancel_key: Arc<CancelKey>,
    pub(crate) status: backend::TransactionStatus,
    /// What the target's functions are, for a read grant.
    pub(crate) catalog: Option<CatalogView>,
}

/// Opens the target's session and completes the client's startup with what the target reports.
pub(crate) async fn run(
    login: &mut Login,
    deps: &Arc<SessionDeps>,
    registration: &mut Registration,
) -> Result<TargetSession, Ending> {
    let mut out = Vec::new();
    if !login.allowed.sasl_final.is_empty() {
        backend::put_authentication_sasl_final(&mut out, &login.allowed.sasl_final);
    }
    let parameters = startup_parameters(login).map_err(Ending::startup_refused)?;
    let begun = Instant::now();
    let connected = upstream::connect(&login.allowed.target, &parameters).await;
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => {
            tracing::warn!(
                session.id = %login.allowed.session_id,
                database.id = %login.allowed.database_id,
                error = %Chain(&error),
                "target not reachable"
            );
            let _client_may_be_gone = login.client.send(&out).await;
            return Err(Ending::target_unavailable(told(&error)));
        }
    };
    deps.metrics.target_connected(begun.elapsed());
    if login.allowed.grant.access_level == AccessLevel::Read {
        let mut reported = connected.parameters.iter();
        if let Some(setting) = reported.find_map(|(name, value)| guarded_change(name, value)) {
            return Err(Ending::tripwire(setting));
        }
    }
    let catalog = match login.allowed.grant.access_level {
        AccessLevel::Read => Some(deps.catalogs.view(&login.allowed.target).await),
        AccessLevel::Write => None,
    };
    let secret = std::mem::take(&mut login.cancel_secret);
    greet(&mut out, &connected, &secret);
    let cancel_key = Arc::new(connected.cancel_key);
    registration.accept_cancels(secret, Arc::clone(&cancel_key));
    match login.client.send(&out).await {
        Ok(()) => Ok(TargetSession {
            connection: connected.connection,
            cancel_key,
            status: connected.status,
            catalog,
        }),
        Err(_client_left) => Err(Ending::client_gone()),
    }
}

/// What the client is told when its login and its target are through. The key is the target's process id, which
/// clients compare with `pg_backend_pid()`, and a secret of ours.
fn greet(out: &mut Vec<u8>, connected: &Connected, secret: &[u8]) {
    backend::put_authentication_ok(out);
    for (name, value) in &connected.parameters {
        backend::put_parameter_status(out, name, value);
    }
    backend::put_backend_key_data(out, connected.cancel_key.process_id, secret);
    out.extend_from_slice(&connected.notices);
    backend::put_ready_for_query(out, connected.status);
}

/// The client's parameters that may go on, and what the grant demands. The grant's come last: the last one counts.
fn startup_parameters(login: &Login) -> Result<StartupParameters, ClientError> {
    let grant = &login.allowed.grant;
    let mut parameters = StartupParameters::new();
    for (name, value) in &login.message.parameters {
        judge_startup_parameter(name, value, grant.access_level)
            .map_err(|refusal| told_by_grant(refusal, grant))?;
        if !NOT_FORWARDED.contains(&name.as_str()) && !name.starts_with("_pq_.") {
            parameters.push((name.clone(), value.clone()));
        }
    }
    let own = login.message.parameter("application_name");
    parameters.push((
        "application_name".to_owned(),
        application_name(&login.user, own.unwrap_or_default()),
    ));
    let mut demand = |name: &str, value: String| {
        parameters.retain(|(given, _)| !given.eq_ignore_ascii_case(name));
        parameters.push((name.to_owned(), value));
    };
    if grant.access_level == AccessLevel::Read {
        demand("default_transaction_read_only", "on".to_owned());
        // What the parser assumes; a role or database may have been given something else.
        demand("standard_conforming_strings", "on".to_owned());
        demand("client_encoding", "UTF8".to_owned());
    }
    if let Some(timeout) = grant.statement_timeout {
        demand("statement_timeout", timeout.as_millis().to_string());
    }
    Ok(parameters)
}

/// Who it is, then what the client calls itself; cut as PostgreSQL would, but between characters.
fn application_name(user: &str, own: &str) -> String {
    let mut name = format!("pglens/{user}: {own}");
    name.truncate(name.floor_char_boundary(MAX_APPLICATION_NAME_BYTES));
    name.trim_end().to_owned()
}

/// What the client may know of a target that did not let us in. Host, port and stored login stay inside; what is the
/// client's own doing is told.
fn told(error: &ConnectError) -> ClientError {
    if let ConnectError::Refused {
        sqlstate, message, ..
    } = error
    {
        match sqlstate.as_str() {
            // A startup parameter of the client's that does not exist, or has no such value.
            "22023" | "22P02" | "42704" | "55P02" | "0A000" => {
                let mut told = ClientError::new(ErrorCode::InvalidArgument, message.clone());
                told.sqlstate = sqlstate.clone().into();
                return told;
            }
            "53300" => {
                return ClientError::new(
                    ErrorCode::TooManyConnections,
                    "the database has too many connections",
                )
                .hint("Try again later.");
            }
            "57P03" => {
                return ClientError::new(
                    ErrorCode::ControlPlaneUnavailable,
                    "the database does not accept connections now",
                )
                .hint("Try again later.");
            }
            _ => {}
        }
    }
    ClientError::new(
        ErrorCode::TargetUnavailable,
        "the database is not reachable through PgLens",
    )
    .hint("An administrator of PgLens finds the reason in the proxy's log.")
}

/// Puts the relay together.
pub(crate) fn relay(
    login: Login,
    target: TargetSession,
    deps: &Arc<SessionDeps>,
    recorder: Recorder,
    registration: &Registration,
    messages: SessionMessages,
    allowed_at: Instant,
) -> Relay {
    let allowed = login.allowed;
    let judge = Judge::new(deps.verdicts.clone(), &allowed.grant, target.catalog);
    let quota = Quota::new(messages.quota.clone());
    let engine = Engine::new(
        judge,
        recorder,
        quota,
        registration.activity(),
        target.status,
    );
    let lease = Arc::clone(&deps.lease);
    let timers = Timers::new(allowed_at, Terms::from(&allowed.grant), lease);
    let watchdog = Watchdog::new(
        allowed.grant.statement_timeout,
        target.cancel_key,
        registration.activity(),
    );
    let signals = Signals {
        messages,
        drain: deps.drain.clone(),
        abort: deps.abort.clone(),
    };
    Relay::new(
        (login.client, target.connection),
        engine,
        (timers, watchdog),
        signals,
        deps.outbox.watch_room(),
        deps.quota_requests.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_names_say_who_it_is() {
        assert_eq!(application_name("ann", "psql"), "pglens/ann: psql");
        assert_eq!(application_name("ann", ""), "pglens/ann:");
        let long = application_name("ann", &"ä".repeat(60));
        assert!(long.len() <= MAX_APPLICATION_NAME_BYTES && long.ends_with('ä'));
    }

    #[test]
    fn the_client_learns_nothing_of_the_stored_login() {
        let refused = |sqlstate: &str, message: &str| {
            told(&ConnectError::Refused {
                sqlstate: sqlstate.to_owned(),
                message: message.to_owned(),
                authenticated: true,
            })
        };
        let error = refused("28P01", "password authentication failed for user \"root\"");
        assert_eq!(error.sqlstate, "08001");
        assert!(!format!("{error:?}").contains("root"));
        let error = refused("22023", "invalid value for parameter \"DateStyle\": \"x\"");
        assert_eq!(error.sqlstate, "22023");
        assert!(error.message.contains("DateStyle"));
    }
}
