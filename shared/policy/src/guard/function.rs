//! Functions that a read grant must not call, by name.
//!
//! The list is data (`functions.txt`). It is the first of two judges: what a function of the target's own may do is
//! for a judge that knows the target's catalog, which [`super::ReadGuard::check_with`] takes as an argument.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use crate::refusal::Refusal;

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notation {
    /// `f(x)`.
    Call,
    /// `x.f`, which is a column if there is one and a call of `f(x)` otherwise.
    Attribute,
}

/// A function as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionRef {
    /// The schema, if named.
    pub schema: Option<Box<str>>,
    /// The name, folded to lower case unless it was quoted.
    pub name: Box<str>,
    /// How it is called.
    pub notation: Notation,
}

impl FunctionRef {
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.schema.as_ref().map_or(0, |schema| schema.len())
    }
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Decides whether a read grant may call a function.
pub trait FunctionJudge {
    /// Agrees to the call, or says why not.
    ///
    /// # Errors
    /// The refusal for the client.
    fn judge(&self, function: &FunctionRef) -> Result<(), Refusal>;
}

/// The judge that refuses the functions of `functions.txt` and lets every other pass.
#[derive(Debug, Clone, Copy)]
pub struct DenyList;

impl FunctionJudge for DenyList {
    fn judge(&self, function: &FunctionRef) -> Result<(), Refusal> {
        match TABLE.reason(function.schema.as_deref(), &function.name) {
            None => Ok(()),
            Some(reason) => Err(Refusal::read_grant(
                "read_grant.function",
                format!("function {function} is not allowed by a read grant"),
                format!("It {reason}."),
            )),
        }
    }
}

const SOURCE: &str = include_str!("functions.txt");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(SOURCE));

/// The refused functions, each with the reason of its section.
struct Table {
    exact: HashMap<&'static str, &'static str>,
    schemas: HashMap<&'static str, &'static str>,
    prefixes: Vec<(&'static str, &'static str)>,
    allowed: Vec<&'static str>,
}

impl Table {
    /// Reads lines `[reason]`, `name`, `prefix*`, `schema.*` and `+name` (an exception from a prefix).
    fn parse(source: &'static str) -> Self {
        let mut table = Self {
            exact: HashMap::new(),
            schemas: HashMap::new(),
            prefixes: Vec::new(),
            allowed: Vec::new(),
        };
        let mut reason = "is refused";
        for word in source
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(words)
        {
            if let Some(section) = word.strip_prefix('[') {
                reason = section.trim_end_matches(']');
            } else if let Some(name) = word.strip_prefix('+') {
                table.allowed.push(name);
            } else if let Some(schema) = word.strip_suffix(".*") {
                table.schemas.insert(schema, reason);
            } else if let Some(prefix) = word.strip_suffix('*') {
                table.prefixes.push((prefix, reason));
            } else {
                table.exact.insert(word, reason);
            }
        }
        table
    }

    fn reason(&self, schema: Option<&str>, name: &str) -> Option<&'static str> {
        if let Some(reason) = schema.and_then(|schema| self.schemas.get(schema)) {
            return Some(reason);
        }
        if let Some(reason) = self.exact.get(name) {
            return Some(reason);
        }
        let (_, reason) = self
            .prefixes
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))?;
        (!self.allowed.contains(&name)).then_some(*reason)
    }
}

/// A section's heading is one word, whatever blanks it holds.
fn words(line: &'static str) -> Vec<&'static str> {
    if line.starts_with('[') {
        vec![line]
    } else {
        line.split_ascii_whitespace().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(schema: Option<&str>, name: &str) -> bool {
        let function = FunctionRef {
            schema: schema.map(Into::into),
            name: name.into(),
            notation: Notation::Call,
        };
        DenyList.judge(&function).is_err()
    }

    #[test]
    fn names_prefixes_schemas_and_exceptions_are_told_apart() {
        assert!(is_refused(None, "pg_terminate_backend"));
        assert!(is_refused(Some("anywhere"), "dblink_exec"));
        assert!(is_refused(Some("cron"), "schedule"));
        assert!(!is_refused(None, "schedule"));
        assert!(is_refused(None, "pg_advisory_lock"));
        assert!(!is_refused(None, "pg_advisory_unlock_all"));
        assert!(!is_refused(Some("pg_catalog"), "lower"));
    }

    #[test]
    fn every_line_of_the_table_counts() {
        let table = Table::parse("[does harm]\na b*\nc.* +bb\n# [x]\n[is worse]\nd");
        assert_eq!(table.reason(None, "a"), Some("does harm"));
        assert_eq!(table.reason(None, "bc"), Some("does harm"));
        assert_eq!(table.reason(None, "bb"), None);
        assert_eq!(table.reason(Some("c"), "x"), Some("does harm"));
        assert_eq!(table.reason(None, "d"), Some("is worse"));
    }
}
