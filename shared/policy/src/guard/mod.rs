//! The guards: what a read grant may run, and what other controls stop.

mod constant;
mod expression;
mod relation;
mod setting;
mod statement;
mod uses;

use crate::analysis::Analysis;
use crate::parser::ParseFailure;
use crate::refusal::Refusal;

pub(crate) use setting::{SettingValue, is_harmless_setting, judge_setting, normalised_name};
pub(crate) use statement::{judge_read, refused_kind};
pub use uses::{FunctionRef, NameRef, Notation, Uses};

/// The optional controls of a write grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ControlGuard {
    /// No COPY, in either direction, and no statement that could hide one (DO).
    pub block_copy: bool,
    /// No statement that defines, changes or drops objects or privileges, and none that could hide one (DO).
    pub block_ddl: bool,
}

impl ControlGuard {
    /// Different for each set of controls, below four.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.block_copy) | u64::from(self.block_ddl) << 1
    }

    /// Whether the controls let every statement of the text through. A text that was not understood could be
    /// anything: it passes only if nothing is blocked.
    ///
    /// # Errors
    /// The refusal of the first statement that is stopped.
    pub fn check(self, analysis: &Analysis) -> Result<(), Refusal> {
        if let (Err(failure), true) = (&analysis.parse, self.block_copy || self.block_ddl) {
            return Err(refused_text_by_control(failure));
        }
        for statement in &analysis.statements {
            let kind = statement.kind;
            if self.block_copy && (statement.is_copy || statement.is_opaque) {
                return Err(Refusal::control(
                    "control.block_copy",
                    format!("{kind} is not allowed by this grant"),
                    "The grant blocks COPY, and what could hide one.",
                ));
            }
            if self.block_ddl && (statement.is_ddl || statement.is_opaque) {
                return Err(Refusal::control(
                    "control.block_ddl",
                    format!("{kind} is not allowed by this grant"),
                    "The grant blocks statements that define or change objects.",
                ));
            }
        }
        Ok(())
    }
}

/// A text that a read grant cannot run because it was not understood. The client reads the parser's words, so that a
/// slip of the finger looks as it does without a proxy.
pub(crate) fn refused_text(failure: &ParseFailure) -> Refusal {
    let refusal = Refusal::read_grant(
        "read_grant.not_understood",
        failure.to_string(),
        "A read grant runs only statements that PgLens understands.",
    );
    coded(refusal, failure)
}

fn refused_text_by_control(failure: &ParseFailure) -> Refusal {
    let refusal = Refusal::control(
        "control.not_understood",
        failure.to_string(),
        "A grant with controls runs only statements that PgLens understands.",
    );
    coded(refusal, failure)
}

fn coded(refusal: Refusal, failure: &ParseFailure) -> Refusal {
    match failure {
        ParseFailure::Syntax { .. } => Refusal {
            code: pglens_core::ErrorCode::SyntaxError,
            hint: None,
            ..refusal
        },
        ParseFailure::TooLong | ParseFailure::Unavailable => refusal,
    }
}
