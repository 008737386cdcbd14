//! What is recorded of messages: texts and parameters on their way to the recorder.

use std::sync::{Arc, OnceLock};

use pglens_policy::{Analysis, LazyFingerprint, StatementKind};
use pglens_wire::frontend::{Bind, Formats, FunctionCall, Values};
use smallvec::{SmallVec, smallvec};

use super::prepared::{Portal, Prepared, ResultFormats};
use crate::audit::{Parameter, Parameters, StatementFacts};
use crate::policy::substitute::SHOW_GRANT;

/// What is recorded of the statements of one message, hardly ever more than one.
pub(super) type Statements = SmallVec<[StatementFacts; 1]>;

/// One entry for each statement of a simple query; the message's bytes are counted with the first. The text is longer by
/// `longer_by` bytes than the one that was analysed: see [`pglens_policy::Judged`].
pub(super) fn of_each(
    (text, analysis): (&Arc<str>, &Analysis),
    longer_by: usize,
    bytes_in: u64,
) -> Statements {
    if analysis.statements.is_empty() {
        return smallvec![whole(text, analysis, bytes_in)];
    }
    let mut statements: Statements = analysis
        .statements
        .iter()
        .map(|statement| StatementFacts {
            text: Arc::clone(text),
            range: statement.range.start..statement.range.end + longer_by,
            kind: statement.kind.as_str(),
            fingerprint: statement.fingerprint.clone(),
            parameters: Parameters::default(),
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
        facts.fingerprint = LazyFingerprint::default();
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
        fingerprint: only.map_or_else(LazyFingerprint::default, |only| only.fingerprint.clone()),
        parameters: Parameters::default(),
        bytes_in,
    }
}

/// A prepared statement with its parameters.
pub(super) fn of_portal(portal: &Portal, frame_bytes: usize) -> StatementFacts {
    let statement = &portal.statement;
    let bytes_in = (frame_bytes + portal.parameter_bytes) as u64;
    StatementFacts {
        parameters: portal.parameters.clone(),
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
        parameters: Parameters::default(),
        parameter_bytes: 0,
        kept_bytes: 0,
        result_formats: ResultFormats::new(),
        columns: OnceLock::new(),
    }
}

pub(super) fn portal(bind: &Bind<'_>, statement: Arc<Prepared>, parameter_bytes: usize) -> Portal {
    let type_of = |index| statement.parameter_type(index);
    Portal {
        parameters: parameters(bind.parameters, bind.parameter_formats, type_of),
        parameter_bytes,
        kept_bytes: parameter_bytes,
        result_formats: bind.result_formats.iter().collect(),
        columns: OnceLock::new(),
        statement,
    }
}

fn parameters(
    values: Values<'_>,
    formats: Formats<'_>,
    type_of: impl Fn(usize) -> u32,
) -> Parameters {
    let parameter = |(index, value)| Parameter {
        type_oid: type_of(index),
        format: formats.at(index),
        value,
        whole: None,
    };
    Parameters::new(values.iter().enumerate().map(parameter))
}

/// A Sync that failed, by the commit of the implicit transaction that it ends.
pub(super) fn of_sync() -> StatementFacts {
    let text: Arc<str> = "Sync".into();
    StatementFacts {
        range: 0..text.len(),
        text,
        kind: "SYNC",
        fingerprint: LazyFingerprint::default(),
        parameters: Parameters::default(),
        bytes_in: 0,
    }
}

pub(super) fn of_call(call: &FunctionCall<'_>, bytes_in: u64) -> StatementFacts {
    let text: Arc<str> = format!("function {}", call.function).into();
    StatementFacts {
        range: 0..text.len(),
        text,
        kind: "FUNCTION CALL",
        fingerprint: LazyFingerprint::default(),
        parameters: parameters(call.arguments, call.argument_formats, |_| 0),
        bytes_in,
    }
}
