//! What is recorded of messages: texts and parameters on their way to the recorder.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use pglens_policy::{Analysis, LazyFingerprint, StatementKind};
use pglens_wire::frontend::{Bind, Formats, FunctionCall, Values};
use smallvec::{SmallVec, smallvec};

use super::prepared::{Portal, Prepared, ResultFormats};
use crate::audit::{Parameter, Parameters, Said, StatementFacts, Text};
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
        return smallvec![StatementFacts::new(whole(text, analysis), bytes_in)];
    }
    let mut statements: Statements = analysis
        .statements
        .iter()
        .map(|statement| {
            let text = Text {
                text: Arc::clone(text),
                range: statement.range.start..statement.range.end + longer_by,
                kind: statement.kind.as_str(),
                fingerprint: statement.fingerprint.clone(),
            };
            StatementFacts::new(text, 0)
        })
        .collect();
    if let Some(first) = statements.first_mut() {
        first.bytes_in = bytes_in;
    }
    statements
}

/// The whole text as one entry; free when it asks for the grant.
pub(super) fn whole_of(text: &Arc<str>, analysis: &Analysis, is_free: bool) -> Text {
    let mut whole = whole(text, analysis);
    if is_free {
        whole.kind = SHOW_GRANT;
        whole.fingerprint = LazyFingerprint::default();
    }
    whole
}

/// The whole text as one entry.
fn whole(text: &Arc<str>, analysis: &Analysis) -> Text {
    let only = match analysis.statements.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    Text {
        text: Arc::clone(text),
        range: 0..text.len(),
        kind: match only {
            Some(only) => only.kind.as_str(),
            None if analysis.parse.is_err() => StatementKind::UNKNOWN.as_str(),
            None if analysis.statements.is_empty() => "EMPTY",
            None => "MULTIPLE",
        },
        fingerprint: only.map_or_else(LazyFingerprint::default, |only| only.fingerprint.clone()),
    }
}

/// What a Parse says, whether it may run or not.
pub(super) fn of_prepared(statement: &Rc<Prepared>, bytes_in: u64) -> StatementFacts {
    StatementFacts {
        said: Rc::<Prepared>::clone(statement),
        bytes_in,
    }
}

/// A prepared statement with its parameters.
pub(super) fn of_portal(portal: &Rc<Portal>, frame_bytes: usize) -> StatementFacts {
    StatementFacts {
        bytes_in: (frame_bytes + portal.parameter_bytes) as u64,
        said: Rc::<Portal>::clone(portal),
    }
}

/// A statement whose text never passed here as a message: it was prepared, or its cursor declared, by SQL that was
/// recorded when it ran.
pub(super) fn unseen(what: &str, name: &[u8]) -> Rc<Prepared> {
    not_analysed(&format!("{what} \"{}\"", String::from_utf8_lossy(name)))
}

/// A text that was not looked at to its end.
pub(super) fn unseen_text(text: &[u8]) -> Rc<Prepared> {
    not_analysed(&String::from_utf8_lossy(text))
}

/// A text that is not known to be a statement.
pub(super) fn not_analysed(text: &str) -> Rc<Prepared> {
    let text = Text::whole(text, StatementKind::UNKNOWN.as_str());
    Prepared::new(text, Vec::new())
}

pub(super) fn unseen_portal(name: &[u8]) -> Portal {
    Portal {
        statement: unseen("portal", name),
        parameters: Parameters::default(),
        parameter_bytes: 0,
        kept_bytes: 0,
        result_formats: ResultFormats::new(),
        columns: OnceCell::new(),
    }
}

pub(super) fn portal(bind: &Bind<'_>, statement: Rc<Prepared>, parameter_bytes: usize) -> Portal {
    let type_of = |index| statement.parameter_type(index);
    Portal {
        parameters: parameters(bind.parameters, bind.parameter_formats, type_of),
        parameter_bytes,
        kept_bytes: parameter_bytes,
        result_formats: bind.result_formats.iter().collect(),
        columns: OnceCell::new(),
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
    StatementFacts::new(Text::whole("Sync", "SYNC"), 0)
}

pub(super) fn of_call(call: &FunctionCall<'_>, bytes_in: u64) -> StatementFacts {
    let text = format!("function {}", call.function);
    let call = Call {
        text: Text::whole(&text, "FUNCTION CALL"),
        arguments: parameters(call.arguments, call.argument_formats, |_| 0),
    };
    StatementFacts::new(call, bytes_in)
}

/// A function call by object id.
#[derive(Debug)]
struct Call {
    text: Text,
    arguments: Parameters,
}

impl Said for Call {
    fn text(&self) -> &Text {
        &self.text
    }

    fn parameters(&self) -> &[u8] {
        self.arguments.fields()
    }
}
