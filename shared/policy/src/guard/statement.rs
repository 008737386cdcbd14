//! The kinds of statements that a read grant may run.

use pg_query::protobuf::{
    CopyStmt, LockStmt, Node, TransactionStmt, TransactionStmtKind, VariableSetKind,
    VariableSetStmt,
};
use pg_query::{LockMode, NodeEnum};

use super::constant::constant_text;
use super::expression::Walk;
use super::relation;
use super::setting::{SettingValue, judge_setting};
use super::uses::Uses;
use crate::kind::{Facts, StatementKind};
use crate::refusal::Refusal;

type Verdict = Result<(), Refusal>;

/// Judges a statement but for what it uses, which is returned for a catalog to judge.
pub(crate) fn judge_read(node: &NodeEnum, kind: StatementKind) -> (Verdict, Uses) {
    let mut walk = Walk::default();
    let verdict = judge(node, kind, &mut walk);
    (verdict, walk.into_uses())
}

/// The refusal of a statement whose kind is not on the list.
pub(crate) fn refused_kind(kind: StatementKind) -> Refusal {
    Refusal::read_grant(
        "read_grant.statement_kind",
        format!("cannot execute {kind} under a read grant"),
        "The statement is not of a kind that is known to change nothing.",
    )
}

fn judge<'a>(node: &'a NodeEnum, kind: StatementKind, walk: &mut Walk<'a>) -> Verdict {
    match node {
        NodeEnum::SelectStmt(_) => walk.check(node.to_ref()),
        NodeEnum::VariableShowStmt(_)
        | NodeEnum::FetchStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::DeallocateStmt(_)
        | NodeEnum::DiscardStmt(_)
        | NodeEnum::ListenStmt(_)
        | NodeEnum::UnlistenStmt(_) => Ok(()),
        NodeEnum::TransactionStmt(statement) => judge_transaction(statement, kind),
        NodeEnum::VariableSetStmt(statement) => judge_set(statement, kind),
        NodeEnum::ExplainStmt(statement) => {
            walk.check_all(&statement.options)?;
            judge_inner(statement.query.as_deref(), kind, walk)
        }
        NodeEnum::PrepareStmt(statement) => {
            walk.check_all(&statement.argtypes)?;
            judge_inner(statement.query.as_deref(), kind, walk)
        }
        NodeEnum::DeclareCursorStmt(statement) => {
            judge_inner(statement.query.as_deref(), kind, walk)
        }
        // What it executes was judged when it was prepared, here or by a Parse message.
        NodeEnum::ExecuteStmt(statement) => walk.check_all(&statement.params),
        NodeEnum::CopyStmt(statement) => judge_copy(statement, kind, walk),
        NodeEnum::LockStmt(statement) => judge_lock(statement),
        _ => Err(refused_kind(kind)),
    }
}

/// What may be inside EXPLAIN, PREPARE and DECLARE. The grammar lets none of them hold one of the others but
/// EXPLAIN, so this does not go deep.
fn judge_inner<'a>(query: Option<&'a Node>, outer: StatementKind, walk: &mut Walk<'a>) -> Verdict {
    match query.and_then(|query| query.node.as_ref()) {
        Some(
            node @ (NodeEnum::SelectStmt(_)
            | NodeEnum::ExecuteStmt(_)
            | NodeEnum::DeclareCursorStmt(_)),
        ) => judge(node, Facts::of(node).kind, walk),
        Some(node) => Err(refused_kind(Facts::of(node).kind)),
        None => Err(refused_kind(outer)),
    }
}

fn judge_transaction(statement: &TransactionStmt, kind: StatementKind) -> Verdict {
    match statement.kind() {
        TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart => {
            judge_modes(&statement.options)
        }
        TransactionStmtKind::TransStmtCommit
        | TransactionStmtKind::TransStmtRollback
        | TransactionStmtKind::TransStmtSavepoint
        | TransactionStmtKind::TransStmtRelease
        | TransactionStmtKind::TransStmtRollbackTo => Ok(()),
        TransactionStmtKind::TransStmtPrepare
        | TransactionStmtKind::TransStmtCommitPrepared
        | TransactionStmtKind::TransStmtRollbackPrepared
        | TransactionStmtKind::Undefined => Err(refused_kind(kind)),
    }
}

/// `ISOLATION LEVEL …`, `READ ONLY`, `READ WRITE`, `[NOT] DEFERRABLE`: settings under other names.
fn judge_modes(modes: &[Node]) -> Verdict {
    modes.iter().try_for_each(|mode| match &mode.node {
        Some(NodeEnum::DefElem(mode)) => {
            let value = mode.arg.as_deref().and_then(constant_text);
            judge_setting(
                &mode.defname,
                value
                    .as_deref()
                    .map_or(SettingValue::Opaque, SettingValue::Constant),
            )
        }
        _ => judge_setting("transaction mode", SettingValue::Opaque),
    })
}

fn judge_set(statement: &VariableSetStmt, kind: StatementKind) -> Verdict {
    let name = statement.name.as_str();
    match statement.kind() {
        VariableSetKind::VarSetValue => match statement.args.as_slice() {
            [arg] => {
                let value = constant_text(arg);
                judge_setting(
                    name,
                    value
                        .as_deref()
                        .map_or(SettingValue::Opaque, SettingValue::Constant),
                )
            }
            _ => judge_setting(name, SettingValue::Opaque),
        },
        VariableSetKind::VarSetDefault
        | VariableSetKind::VarSetCurrent
        | VariableSetKind::VarReset => judge_setting(name, SettingValue::Default),
        VariableSetKind::VarSetMulti => match name {
            "TRANSACTION" => judge_modes(&statement.args),
            "SESSION CHARACTERISTICS" => judge_modes(&statement.args),
            "TRANSACTION SNAPSHOT" => Ok(()),
            _ => Err(refused_kind(kind)),
        },
        // Leaves the settings alone that it would be dangerous to reset (GUC_NO_RESET_ALL), and what the startup packet
        // set is what it goes back to.
        VariableSetKind::VarResetAll => Ok(()),
        VariableSetKind::Undefined => Err(refused_kind(kind)),
    }
}

fn judge_copy<'a>(statement: &'a CopyStmt, kind: StatementKind, walk: &mut Walk<'a>) -> Verdict {
    let CopyStmt {
        relation,
        query,
        attlist,
        is_from,
        is_program,
        filename,
        options,
        where_clause,
    } = statement;
    if *is_from || *is_program || !filename.is_empty() || where_clause.is_some() {
        return Err(Refusal::read_grant(
            "read_grant.copy",
            format!("cannot execute this {kind} under a read grant"),
            "A read grant copies to the client only (COPY … TO STDOUT).",
        ));
    }
    if let Some(relation) = relation {
        relation::judge(relation)?;
    }
    walk.check_all(attlist)?;
    walk.check_all(options)?;
    match query {
        None => Ok(()),
        Some(query) => judge_inner(Some(query), kind, walk),
    }
}

/// Only the lock that every SELECT takes as well; `pg_dump` takes it by name.
fn judge_lock(statement: &LockStmt) -> Verdict {
    if statement.mode == LockMode::AccessShareLock as i32 {
        return Ok(());
    }
    Err(Refusal::read_grant(
        "read_grant.lock",
        "cannot lock tables in this mode under a read grant",
        "A read grant locks in ACCESS SHARE mode only.",
    ))
}
