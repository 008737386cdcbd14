//! The names of statement kinds, and what the controls of a write grant ask about them.

use std::fmt;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ObjectType, TransactionStmtKind, VariableSetKind};

/// The kind of a statement, spelled as PostgreSQL's command tags spell it (`SELECT`, `CREATE TABLE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementKind(&'static str);

impl StatementKind {
    /// The kind of a text that was not understood.
    pub const UNKNOWN: Self = Self("UNKNOWN");

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What is known of a statement from its outermost node, and for EXPLAIN from the one inside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) kind: StatementKind,
    pub(crate) is_copy: bool,
    pub(crate) is_ddl: bool,
    pub(crate) is_opaque: bool,
}

/// Which control a kind of statement belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Copy,
    /// Defines, changes or drops objects or privileges, by PostgreSQL's own `log_statement = ddl`; with REINDEX.
    Ddl,
    /// Runs what cannot be seen.
    Opaque,
}

impl Facts {
    /// A text that was not understood may be anything.
    pub(crate) const UNKNOWN: Self = Self {
        kind: StatementKind::UNKNOWN,
        is_copy: true,
        is_ddl: true,
        is_opaque: true,
    };

    pub(crate) fn of(node: &NodeEnum) -> Self {
        let (name, class) = classify(node);
        let inner = match node {
            NodeEnum::ExplainStmt(explain) => inner_class(explain.query.as_deref()),
            NodeEnum::PrepareStmt(prepare) => inner_class(prepare.query.as_deref()),
            _ => None,
        };
        let is = |wanted| class == wanted || inner == Some(wanted);
        Self {
            kind: StatementKind(name),
            is_copy: is(Class::Copy),
            is_ddl: is(Class::Ddl),
            is_opaque: is(Class::Opaque),
        }
    }
}

fn inner_class(node: Option<&Node>) -> Option<Class> {
    node.and_then(|node| node.node.as_ref())
        .map(|node| classify(node).1)
}

fn classify(node: &NodeEnum) -> (&'static str, Class) {
    if let Some(name) = plain(node) {
        return (name, Class::Plain);
    }
    match node {
        NodeEnum::SelectStmt(select) if select.into_clause.is_some() => ("SELECT INTO", Class::Ddl),
        NodeEnum::SelectStmt(_) => ("SELECT", Class::Plain),
        NodeEnum::CopyStmt(_) => ("COPY", Class::Copy),
        NodeEnum::DoStmt(_) => ("DO", Class::Opaque),
        _ => match ddl(node) {
            Some(name) => (name, Class::Ddl),
            // A node the tables below do not know: what cannot be named is taken for the worst.
            None => ("UNKNOWN", Class::Opaque),
        },
    }
}

fn plain(node: &NodeEnum) -> Option<&'static str> {
    Some(match node {
        NodeEnum::InsertStmt(_) => "INSERT",
        NodeEnum::UpdateStmt(_) => "UPDATE",
        NodeEnum::DeleteStmt(_) => "DELETE",
        NodeEnum::MergeStmt(_) => "MERGE",
        NodeEnum::TruncateStmt(_) => "TRUNCATE TABLE",
        NodeEnum::CallStmt(_) => "CALL",
        NodeEnum::TransactionStmt(statement) => transaction(statement.kind()),
        NodeEnum::VariableSetStmt(statement) => match statement.kind() {
            VariableSetKind::VarReset | VariableSetKind::VarResetAll => "RESET",
            _ => "SET",
        },
        NodeEnum::VariableShowStmt(_) => "SHOW",
        NodeEnum::ConstraintsSetStmt(_) => "SET CONSTRAINTS",
        NodeEnum::ExplainStmt(_) => "EXPLAIN",
        NodeEnum::DeclareCursorStmt(_) => "DECLARE CURSOR",
        NodeEnum::FetchStmt(statement) if statement.ismove => "MOVE",
        NodeEnum::FetchStmt(_) => "FETCH",
        NodeEnum::ClosePortalStmt(_) => "CLOSE CURSOR",
        NodeEnum::PrepareStmt(_) => "PREPARE",
        NodeEnum::ExecuteStmt(_) => "EXECUTE",
        NodeEnum::DeallocateStmt(_) => "DEALLOCATE",
        NodeEnum::DiscardStmt(_) => "DISCARD",
        NodeEnum::ListenStmt(_) => "LISTEN",
        NodeEnum::UnlistenStmt(_) => "UNLISTEN",
        NodeEnum::NotifyStmt(_) => "NOTIFY",
        NodeEnum::LockStmt(_) => "LOCK TABLE",
        NodeEnum::LoadStmt(_) => "LOAD",
        NodeEnum::CheckPointStmt(_) => "CHECKPOINT",
        NodeEnum::VacuumStmt(statement) if statement.is_vacuumcmd => "VACUUM",
        NodeEnum::VacuumStmt(_) => "ANALYZE",
        _ => return None,
    })
}

fn transaction(kind: TransactionStmtKind) -> &'static str {
    match kind {
        TransactionStmtKind::TransStmtBegin => "BEGIN",
        TransactionStmtKind::TransStmtStart => "START TRANSACTION",
        TransactionStmtKind::TransStmtCommit => "COMMIT",
        TransactionStmtKind::TransStmtRollback => "ROLLBACK",
        TransactionStmtKind::TransStmtSavepoint => "SAVEPOINT",
        TransactionStmtKind::TransStmtRelease => "RELEASE",
        TransactionStmtKind::TransStmtRollbackTo => "ROLLBACK TO",
        TransactionStmtKind::TransStmtPrepare => "PREPARE TRANSACTION",
        TransactionStmtKind::TransStmtCommitPrepared => "COMMIT PREPARED",
        TransactionStmtKind::TransStmtRollbackPrepared => "ROLLBACK PREPARED",
        TransactionStmtKind::Undefined => "UNKNOWN",
    }
}

fn ddl(node: &NodeEnum) -> Option<&'static str> {
    Some(match node {
        NodeEnum::CreateStmt(_) => "CREATE TABLE",
        NodeEnum::CreateTableAsStmt(statement) => match statement.objtype() {
            ObjectType::ObjectMatview => "CREATE MATERIALIZED VIEW",
            _ => "CREATE TABLE AS",
        },
        NodeEnum::ViewStmt(_) => "CREATE VIEW",
        NodeEnum::IndexStmt(_) => "CREATE INDEX",
        NodeEnum::CreateSeqStmt(_) => "CREATE SEQUENCE",
        NodeEnum::CreateSchemaStmt(_) => "CREATE SCHEMA",
        NodeEnum::CreateFunctionStmt(statement) if statement.is_procedure => "CREATE PROCEDURE",
        NodeEnum::CreateFunctionStmt(_) => "CREATE FUNCTION",
        NodeEnum::CreateTrigStmt(_) => "CREATE TRIGGER",
        NodeEnum::CreateEventTrigStmt(_) => "CREATE EVENT TRIGGER",
        NodeEnum::CreateExtensionStmt(_) => "CREATE EXTENSION",
        NodeEnum::CreateRoleStmt(_) => "CREATE ROLE",
        NodeEnum::CreatedbStmt(_) => "CREATE DATABASE",
        NodeEnum::CreateTableSpaceStmt(_) => "CREATE TABLESPACE",
        NodeEnum::CreateDomainStmt(_) => "CREATE DOMAIN",
        NodeEnum::CompositeTypeStmt(_)
        | NodeEnum::CreateEnumStmt(_)
        | NodeEnum::CreateRangeStmt(_) => "CREATE TYPE",
        NodeEnum::DefineStmt(_) => "CREATE",
        NodeEnum::RuleStmt(_) => "CREATE RULE",
        NodeEnum::CreatePolicyStmt(_) => "CREATE POLICY",
        NodeEnum::CreateStatsStmt(_) => "CREATE STATISTICS",
        NodeEnum::CreateCastStmt(_) => "CREATE CAST",
        NodeEnum::CreateConversionStmt(_) => "CREATE CONVERSION",
        NodeEnum::CreateTransformStmt(_) => "CREATE TRANSFORM",
        NodeEnum::CreatePlangStmt(_) => "CREATE LANGUAGE",
        NodeEnum::CreateAmStmt(_) => "CREATE ACCESS METHOD",
        NodeEnum::CreateOpClassStmt(_) => "CREATE OPERATOR CLASS",
        NodeEnum::CreateOpFamilyStmt(_) => "CREATE OPERATOR FAMILY",
        NodeEnum::CreatePublicationStmt(_) => "CREATE PUBLICATION",
        NodeEnum::CreateSubscriptionStmt(_) => "CREATE SUBSCRIPTION",
        NodeEnum::CreateFdwStmt(_) => "CREATE FOREIGN DATA WRAPPER",
        NodeEnum::CreateForeignServerStmt(_) => "CREATE SERVER",
        NodeEnum::CreateForeignTableStmt(_) => "CREATE FOREIGN TABLE",
        NodeEnum::CreateUserMappingStmt(_) => "CREATE USER MAPPING",
        NodeEnum::ImportForeignSchemaStmt(_) => "IMPORT FOREIGN SCHEMA",
        NodeEnum::GrantStmt(statement) if statement.is_grant => "GRANT",
        NodeEnum::GrantStmt(_) => "REVOKE",
        NodeEnum::GrantRoleStmt(statement) if statement.is_grant => "GRANT ROLE",
        NodeEnum::GrantRoleStmt(_) => "REVOKE ROLE",
        NodeEnum::CommentStmt(_) => "COMMENT",
        NodeEnum::SecLabelStmt(_) => "SECURITY LABEL",
        NodeEnum::RefreshMatViewStmt(_) => "REFRESH MATERIALIZED VIEW",
        NodeEnum::ClusterStmt(_) => "CLUSTER",
        NodeEnum::ReindexStmt(_) => "REINDEX",
        NodeEnum::ReassignOwnedStmt(_) => "REASSIGN OWNED",
        _ => return alter_or_drop(node),
    })
}

fn alter_or_drop(node: &NodeEnum) -> Option<&'static str> {
    Some(match node {
        NodeEnum::DropStmt(statement) => match statement.remove_type() {
            ObjectType::ObjectTable => "DROP TABLE",
            ObjectType::ObjectView => "DROP VIEW",
            ObjectType::ObjectIndex => "DROP INDEX",
            ObjectType::ObjectSchema => "DROP SCHEMA",
            ObjectType::ObjectSequence => "DROP SEQUENCE",
            ObjectType::ObjectFunction => "DROP FUNCTION",
            ObjectType::ObjectMatview => "DROP MATERIALIZED VIEW",
            ObjectType::ObjectType => "DROP TYPE",
            ObjectType::ObjectTrigger => "DROP TRIGGER",
            ObjectType::ObjectExtension => "DROP EXTENSION",
            _ => "DROP",
        },
        NodeEnum::DropRoleStmt(_) => "DROP ROLE",
        NodeEnum::DropdbStmt(_) => "DROP DATABASE",
        NodeEnum::DropTableSpaceStmt(_) => "DROP TABLESPACE",
        NodeEnum::DropUserMappingStmt(_) => "DROP USER MAPPING",
        NodeEnum::DropSubscriptionStmt(_) => "DROP SUBSCRIPTION",
        NodeEnum::DropOwnedStmt(_) => "DROP OWNED",
        NodeEnum::AlterTableStmt(statement) => match statement.objtype() {
            ObjectType::ObjectIndex => "ALTER INDEX",
            ObjectType::ObjectView => "ALTER VIEW",
            ObjectType::ObjectSequence => "ALTER SEQUENCE",
            ObjectType::ObjectMatview => "ALTER MATERIALIZED VIEW",
            ObjectType::ObjectType => "ALTER TYPE",
            ObjectType::ObjectForeignTable => "ALTER FOREIGN TABLE",
            _ => "ALTER TABLE",
        },
        NodeEnum::AlterSystemStmt(_) => "ALTER SYSTEM",
        NodeEnum::AlterRoleStmt(_) | NodeEnum::AlterRoleSetStmt(_) => "ALTER ROLE",
        NodeEnum::AlterDatabaseStmt(_)
        | NodeEnum::AlterDatabaseSetStmt(_)
        | NodeEnum::AlterDatabaseRefreshCollStmt(_) => "ALTER DATABASE",
        NodeEnum::AlterDefaultPrivilegesStmt(_) => "ALTER DEFAULT PRIVILEGES",
        NodeEnum::AlterFunctionStmt(_) => "ALTER FUNCTION",
        NodeEnum::AlterSeqStmt(_) => "ALTER SEQUENCE",
        NodeEnum::AlterEnumStmt(_) | NodeEnum::AlterTypeStmt(_) => "ALTER TYPE",
        NodeEnum::AlterExtensionStmt(_) | NodeEnum::AlterExtensionContentsStmt(_) => {
            "ALTER EXTENSION"
        }
        NodeEnum::RenameStmt(_)
        | NodeEnum::AlterOwnerStmt(_)
        | NodeEnum::AlterObjectSchemaStmt(_)
        | NodeEnum::AlterObjectDependsStmt(_)
        | NodeEnum::AlterDomainStmt(_)
        | NodeEnum::AlterCollationStmt(_)
        | NodeEnum::AlterOperatorStmt(_)
        | NodeEnum::AlterOpFamilyStmt(_)
        | NodeEnum::AlterPolicyStmt(_)
        | NodeEnum::AlterStatsStmt(_)
        | NodeEnum::AlterFdwStmt(_)
        | NodeEnum::AlterForeignServerStmt(_)
        | NodeEnum::AlterUserMappingStmt(_)
        | NodeEnum::AlterTableSpaceOptionsStmt(_)
        | NodeEnum::AlterTableMoveAllStmt(_)
        | NodeEnum::AlterEventTrigStmt(_)
        | NodeEnum::AlterTsdictionaryStmt(_)
        | NodeEnum::AlterTsconfigurationStmt(_)
        | NodeEnum::AlterPublicationStmt(_)
        | NodeEnum::AlterSubscriptionStmt(_)
        | NodeEnum::ReplicaIdentityStmt(_) => "ALTER",
        _ => return None,
    })
}
