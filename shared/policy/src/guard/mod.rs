//! The guards: what a read grant may run, and what other controls stop.

mod constant;
mod expression;
mod function;
mod setting;
mod statement;

use crate::analysis::Analysis;
use crate::parser::ParseFailure;
use crate::refusal::Refusal;

pub use function::{DenyList, FunctionJudge, FunctionRef, Notation};
pub(crate) use setting::{SettingValue, judge_setting, normalised_name};
pub(crate) use statement::{judge_read, refused_kind};

/// The lock of a read grant: what cannot be shown to be harmless is refused.
#[derive(Debug, Clone, Copy)]
pub struct ReadGuard;

impl ReadGuard {
    /// Whether a read grant may run every statement of the text.
    ///
    /// # Errors
    /// The refusal of the first statement that is refused; nothing of the text may then reach the target.
    pub fn check(analysis: &Analysis) -> Result<(), Refusal> {
        analysis
            .statements
            .iter()
            .try_for_each(|statement| statement.read_verdict.clone())
    }

    /// The same, and `judge` agrees to every function in the text: where a target's catalog has its say.
    ///
    /// # Errors
    /// As [`ReadGuard::check`], then the first refusal of `judge`.
    pub fn check_with(analysis: &Analysis, judge: &dyn FunctionJudge) -> Result<(), Refusal> {
        Self::check(analysis)?;
        let mut functions = analysis
            .statements
            .iter()
            .flat_map(|statement| &statement.functions);
        functions.try_for_each(|function| judge.judge(function))
    }
}

/// The optional controls of a write grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ControlGuard {
    /// No COPY, in either direction.
    pub block_copy: bool,
    /// No statement that defines, changes or drops objects or privileges, and none that could hide one (DO).
    pub block_ddl: bool,
}

impl ControlGuard {
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
            if self.block_copy && statement.is_copy {
                return Err(Refusal::control(
                    "control.block_copy",
                    format!("{kind} is not allowed by this grant"),
                    "The grant blocks COPY.",
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
