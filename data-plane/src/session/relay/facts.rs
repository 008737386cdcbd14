//! What is recorded of messages: texts and parameters on their way to the recorder.

use std::sync::{Arc, OnceLock};

use pglens_policy::{Analysis, StatementKind};
use pglens_rpc::v1;
use pglens_wire::frontend::{Bind, FunctionCall, format_at};

use super::prepared::{Portal, Prepared};
use crate::audit::StatementFacts;
use crate::policy::substitute::SHOW_GRANT;

/// One entry for each statement of a simple query; the message's bytes are counted with the first. The text is longer by
/// `longer_by` bytes than the one that was analysed: see [`pglens_policy::Judged`].
pub(super) fn of_each(
    (text, analysis): (&Arc<str>, &Analysis),
    longer_by: usize,
    bytes_in: u64,
) -> Vec<StatementFacts> {
    if analysis.statements.is_empty() {
        return vec![whole(text, analysis, bytes_in)];
    }
    let mut statements: Vec<_> = analysis
        .statements
        .iter()
        .map(|statement| StatementFacts {
            text: Arc::clone(text),
            range: statement.range.start..statement.range.end + longer_by,
            kind: statement.kind.as_str(),
            fingerprint: statement.fingerprint,
            parameters: Arc::from([]),
            bytes_in: 0,
        })
        .collect();
    if let Some(first) = statements.first_mut() {
        first.bytes_in = bytes_in;
    }
    statements
}

/// The whole text as one entry; free when it asks for the grant.
pub(super) fn whole_of(
    text: &Arc<str>,
    analysis: &Analysis,
    bytes_in: u64,
    is_free: bool,
) -> StatementFacts {
    let mut facts = whole(text, analysis, bytes_in);
    if is_free {
        facts.kind = SHOW_GRANT;
        facts.fingerprint = None;
    }
    facts
}

/// The whole text as one entry.
pub(super) fn whole(text: &Arc<str>, analysis: &Analysis, bytes_in: u64) -> StatementFacts {
    let only = match analysis.statements.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    StatementFacts {
        text: Arc::clone(text),
        range: 0..text.len(),
        kind: match only {
            Some(only) => only.kind.as_str(),
            None if analysis.parse.is_err() => StatementKind::UNKNOWN.as_str(),
            None if analysis.statements.is_empty() => "EMPTY",
            None => "MULTIPLE",
        },
        fingerprint: only.and_then(|only| only.fingerprint),
        parameters: Arc::from([]),
        bytes_in,
    }
}

/// A prepared statement with its parameters.
pub(super) fn of_portal(portal: &Portal, frame_bytes: usize) -> StatementFacts {
    let statement = &portal.statement;
    let bytes_in = (frame_bytes + portal.parameter_bytes) as u64;
    StatementFacts {
        parameters: Arc::clone(&portal.parameters),
        ..whole_of(
            &statement.text,
            &statement.analysis,
            bytes_in,
            statement.is_free,
        )
    }
}

/// A statement whose text never passed here as a message: it was prepared, or its cursor declared, by SQL that was
/// recorded when it ran.
pub(super) fn unseen(what: &str, name: &[u8]) -> Arc<Prepared> {
    not_analysed(format!("{what} \"{}\"", String::from_utf8_lossy(name)))
}

/// A text that was not looked at to its end.
pub(super) fn unseen_text(text: &[u8]) -> Arc<Prepared> {
    not_analysed(String::from_utf8_lossy(text).into_owned())
}

fn not_analysed(text: String) -> Arc<Prepared> {
    let analysis = Analysis {
        statements: Vec::new(),
        parse: Err(pglens_policy::ParseFailure::Unavailable),
    };
    Prepared::new(text.into(), Arc::new(analysis), Vec::new(), false)
}

pub(super) fn unseen_portal(name: &[u8]) -> Portal {
    Portal {
        statement: unseen("portal", name),
        parameters: Arc::from([]),
        parameter_bytes: 0,
        kept_bytes: 0,
        result_formats: Vec::new(),
        columns: OnceLock::new(),
    }
}

pub(super) fn portal(bind: &Bind<'_>, statement: Arc<Prepared>, parameter_bytes: usize) -> Portal {
    let parameters = bind
        .parameters
        .iter()
        .enumerate()
        .map(|(index, value)| v1::Parameter {
            type_oid: statement.parameter_type(index),
            format: u32::from(format_at(&bind.parameter_formats, index)),
            value: value.map(<[u8]>::to_vec),
            ..Default::default()
        });
    Portal {
        parameters: parameters.collect(),
        statement,
        parameter_bytes,
        kept_bytes: parameter_bytes,
        result_formats: bind.result_formats.clone(),
        columns: OnceLock::new(),
    }
}

pub(super) fn of_call(call: &FunctionCall<'_>, bytes_in: u64) -> StatementFacts {
    let text: Arc<str> = format!("function {}", call.function).into();
    let arguments = call
        .arguments
        .iter()
        .enumerate()
        .map(|(index, value)| v1::Parameter {
            type_oid: 0,
            format: u32::from(format_at(&call.argument_formats, index)),
            value: value.map(<[u8]>::to_vec),
            ..Default::default()
        });
    StatementFacts {
        range: 0..text.len(),
        text,
        kind: "FUNCTION CALL",
        fingerprint: None,
        parameters: arguments.collect(),
        bytes_in,
    }
}
