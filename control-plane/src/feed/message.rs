//! What is sent: one log record for each statement, each beginning and end of a session, and each audit event, under the
//! names of OpenTelemetry's semantic conventions where they have one.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value;
use uuid::Uuid;

use super::value::{Attributes, body};
use crate::storage::audit::AuditEvent;
use crate::storage::connection::Connection;
use crate::storage::feed_read::FeedStatement;

const STATEMENT: &str = "pglens.statement";
const SESSION_START: &str = "pglens.session.start";
const SESSION_END: &str = "pglens.session.end";
const AUDIT: &str = "pglens.audit";

/// What consumers may drop the second of.
const UID: &str = "log.record.uid";

/// Longest text of a statement that is sent; the record has the whole. With what one request holds besides, it stays
/// below the 4 MiB that collectors take by default.
pub(super) const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Longest account of a subject before or after a change.
const MAX_SUBJECT_BYTES: usize = 64 * 1024;

/// When it happened, and when it was stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) happened: DateTime<Utc>,
    pub(super) stored: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy)]
enum Severity {
    Info,
    Warn,
}

/// A request with `records`, from the process `instance`.
pub(super) fn request(instance: Uuid, records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let mut resource = Attributes::default();
    resource
        .text("service.name", "pglens")
        .text("service.version", env!("CARGO_PKG_VERSION"))
        .text("service.instance.id", instance.to_string());
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: resource.into_inner(),
                ..Default::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "pglens.feed".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..Default::default()
                }),
                log_records: records,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// A statement that ended, was refused, or whose end nobody will tell.
pub(super) fn statement(statement: &FeedStatement, stored: DateTime<Utc>) -> LogRecord {
    let mut attributes = Attributes::default();
    let uid = match statement.duration_us {
        Some(_) => statement.id,
        None => unfinished_uid(statement.id),
    };
    attributes
        .text(UID, uid.to_string())
        .text("db.system.name", "postgresql")
        .some_text("db.namespace", statement.database.as_deref())
        .text("db.operation.name", &statement.kind)
        .text("db.response.status_code", &statement.sqlstate)
        .text("error.type", &statement.sqlstate)
        .some_text("user.name", statement.username.as_deref())
        .text("user.id", statement.user_id.to_string());
    client(&mut attributes, statement.client_address.as_deref());
    if let Some(text) = &statement.text {
        let cut = cut(text, MAX_TEXT_BYTES);
        let is_cut = i32::try_from(cut.len()).is_ok_and(|sent| sent < statement.text_bytes);
        attributes
            .text("db.query.text", cut)
            .raised("pglens.query_text_truncated", is_cut);
    }
    attributes
        .text("pglens.query_id", statement.id.to_string())
        .text("pglens.session_id", statement.connection_id.to_string())
        .number("pglens.grant_id", statement.grant_id)
        .number("pglens.sequence", statement.sequence)
        .some_text("pglens.proxy", statement.proxy.as_deref())
        .some_text(
            "pglens.application_name",
            statement.application_name.as_deref(),
        )
        .text("pglens.fingerprint", &statement.fingerprint)
        .number("pglens.row_count", statement.row_count)
        .number("pglens.bytes_in", statement.bytes_in)
        .number("pglens.bytes_out", statement.bytes_out)
        .some_number("pglens.duration_us", statement.duration_us)
        .some_number("pglens.first_row_us", statement.first_row_us)
        .text("pglens.command_tag", &statement.command_tag)
        .text("pglens.transaction_status", &statement.transaction_status)
        .text("pglens.refusal", &statement.refusal)
        .raised("pglens.rows_truncated", statement.rows_truncated)
        .raised("pglens.outcome_unknown", statement.outcome_unknown);
    if let Some(audit_complete) = statement.audit_complete {
        attributes.flag("pglens.audit_complete", audit_complete);
    }
    let is_fine = statement.sqlstate.is_empty() && !statement.outcome_unknown;
    let severity = if is_fine {
        Severity::Info
    } else {
        Severity::Warn
    };
    let times = Times {
        happened: statement.started_at,
        stored,
    };
    record(STATEMENT, severity, times, outcome(statement), attributes)
}

/// A session that was let in.
pub(super) fn session_started(
    connection: &Connection,
    uid: Uuid,
    stored: DateTime<Utc>,
) -> LogRecord {
    let times = Times {
        happened: connection.started_at,
        stored,
    };
    let text = format!(
        "session of {} on {} began",
        connection.username, connection.database
    );
    let attributes = session(connection, uid);
    record(SESSION_START, Severity::Info, times, text, attributes)
}

/// A session that ended.
pub(super) fn session_ended(
    connection: &Connection,
    uid: Uuid,
    stored: DateTime<Utc>,
) -> LogRecord {
    let times = Times {
        happened: connection.ended_at.unwrap_or(stored),
        stored,
    };
    let mut attributes = session(connection, uid);
    attributes
        .some_text("db.response.status_code", connection.sqlstate.as_deref())
        .some_text("pglens.end_reason", connection.end_reason.as_deref())
        .flag("pglens.audit_complete", connection.audit_complete)
        .number("pglens.query_count", connection.query_count)
        .number("pglens.bytes_in", connection.bytes_in)
        .number("pglens.bytes_out", connection.bytes_out);
    let severity = match connection.audit_complete {
        true => Severity::Info,
        false => Severity::Warn,
    };
    let text = format!(
        "session of {} on {} ended",
        connection.username, connection.database
    );
    record(SESSION_END, severity, times, text, attributes)
}

/// An event of the audit log.
pub(super) fn audit_event(event: &AuditEvent, uid: Uuid, stored: DateTime<Utc>) -> LogRecord {
    let mut attributes = Attributes::default();
    attributes
        .text(UID, uid.to_string())
        .text("user.name", &event.actor)
        .some_text(
            "user.id",
            event.actor_id.map(|id| id.to_string()).as_deref(),
        )
        .number("pglens.audit_id", event.id)
        .text("pglens.action", &event.action)
        .text("pglens.subject_type", &event.subject_type)
        .text("pglens.subject_id", &event.subject_id);
    client(&mut attributes, event.client_address.as_deref());
    subject(&mut attributes, "pglens.before", event.before.as_ref());
    subject(&mut attributes, "pglens.after", event.after.as_ref());
    let times = Times {
        happened: event.at,
        stored,
    };
    let text = format!("{} by {}", event.action, event.actor);
    record(AUDIT, Severity::Info, times, text, attributes)
}

/// What begins and what ends a session have in common.
fn session(connection: &Connection, uid: Uuid) -> Attributes {
    let mut attributes = Attributes::default();
    attributes
        .text(UID, uid.to_string())
        .text("db.system.name", "postgresql")
        .text("db.namespace", &connection.database)
        .text("user.name", &connection.username)
        .text("user.id", connection.user_id.to_string());
    client(&mut attributes, Some(&connection.client_address));
    attributes
        .text("pglens.session_id", connection.id.to_string())
        .number("pglens.grant_id", connection.grant_id)
        .text("pglens.proxy", &connection.proxy)
        .text("pglens.application_name", &connection.application_name)
        .some_text("pglens.tls_version", connection.tls_version.as_deref());
    attributes
}

/// An address, mostly with a port.
fn client(attributes: &mut Attributes, address: Option<&str>) {
    let text = address.unwrap_or_default();
    match text.parse::<SocketAddr>() {
        Ok(address) => attributes
            .text("client.address", address.ip().to_string())
            .number("client.port", address.port().into()),
        Err(_) => attributes.text("client.address", text),
    };
}

/// A subject as JSON; one that is too long is left out whole, so that what is there can be read.
fn subject(attributes: &mut Attributes, key: &str, subject: Option<&Value>) {
    let Some(text) = subject.map(Value::to_string) else {
        return;
    };
    match text.len() <= MAX_SUBJECT_BYTES {
        true => attributes.text(key, text),
        false => attributes.flag("pglens.subject_truncated", true),
    };
}

/// A statement's end in a few words, without its text.
fn outcome(statement: &FeedStatement) -> String {
    if !statement.refusal.is_empty() {
        return format!("{} refused: {}", statement.kind, statement.refusal);
    }
    match statement.sqlstate.as_str() {
        "" if statement.outcome_unknown => format!("{}: outcome unknown", statement.kind),
        "" if statement.command_tag.is_empty() => statement.kind.clone(),
        "" => statement.command_tag.clone(),
        sqlstate => format!("{} failed: {sqlstate}", statement.kind),
    }
}

fn record(
    event_name: &str,
    severity: Severity,
    times: Times,
    text: String,
    attributes: Attributes,
) -> LogRecord {
    let (number, name) = match severity {
        Severity::Info => (SeverityNumber::Info, "INFO"),
        Severity::Warn => (SeverityNumber::Warn, "WARN"),
    };
    LogRecord {
        time_unix_nano: unix_nanos(times.happened),
        observed_time_unix_nano: unix_nanos(times.stored),
        severity_number: number.into(),
        severity_text: name.to_owned(),
        body: body(text),
        attributes: attributes.into_inner(),
        event_name: event_name.to_owned(),
        ..Default::default()
    }
}

/// 0 means "not known" to OpenTelemetry; so are times its 64 bits do not reach.
fn unix_nanos(time: DateTime<Utc>) -> u64 {
    time.timestamp_nanos_opt()
        .and_then(|nanos| u64::try_from(nanos).ok())
        .unwrap_or_default()
}

/// Of a statement whose end nobody told: should it come in after all, that is another record.
fn unfinished_uid(id: Uuid) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"pglens feed, unfinished statement");
    hasher.update(id.as_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The first bytes of `text`, in whole characters.
fn cut(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aéé", 2), "a");
        assert_eq!(cut("aéé", 3), "aé");
        assert_eq!(cut("aéé", 99), "aéé");
    }

    #[test]
    fn an_unfinished_statement_has_a_uid_of_its_own_that_stays() {
        let id = Uuid::now_v7();
        assert_eq!(unfinished_uid(id), unfinished_uid(id));
        assert_ne!(unfinished_uid(id), id);
        assert_eq!(unfinished_uid(id).get_version_num(), 8);
    }

    #[test]
    fn addresses_are_taken_apart() {
        let attributes = |address| {
            let mut attributes = Attributes::default();
            client(&mut attributes, address);
            let keys = attributes.into_inner().into_iter().map(|pair| pair.key);
            keys.collect::<Vec<_>>()
        };
        assert_eq!(
            attributes(Some("[::1]:99")),
            ["client.address", "client.port"]
        );
        assert_eq!(attributes(Some("192.0.2.7")), ["client.address"]);
        assert_eq!(attributes(None), [""; 0]);
    }
}
