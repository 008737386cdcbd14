//! Relations that a read grant must not read: those that hold what PgLens is there to keep.

use pg_query::protobuf::RangeVar;

use crate::refusal::Refusal;

/// Tables and views of PostgreSQL's own with password hashes; `pg_roles` and `pg_user` show the rest of them.
const HOLD_PASSWORDS: [&str; 2] = ["pg_authid", "pg_shadow"];

/// Whether a read grant may read the relation.
pub(super) fn judge(relation: &RangeVar) -> Result<(), Refusal> {
    let is_catalog = ["", "pg_catalog"].contains(&relation.schemaname.as_str());
    if is_catalog && HOLD_PASSWORDS.contains(&relation.relname.as_str()) {
        return Err(Refusal::read_grant(
            "read_grant.relation",
            format!("\"{}\" cannot be read under a read grant", relation.relname),
            "It holds password hashes. The view pg_roles shows roles without them.",
        ));
    }
    Ok(())
}
