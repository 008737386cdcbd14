//! The lists of names that are data: refused functions, harmless volatile ones, and what PostgreSQL itself has.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Functions refused by name, whatever the catalog says of them.
pub(crate) static REFUSED: LazyLock<Refused> =
    LazyLock::new(|| Refused::parse(include_str!("refused.txt")));

/// Harmless volatile functions of PostgreSQL and of known extensions.
pub(super) static HARMLESS: LazyLock<Sections> =
    LazyLock::new(|| sections(include_str!("harmless.txt")));

/// PostgreSQL's own functions, operators and types.
pub(super) static BUILTIN: LazyLock<Sections> =
    LazyLock::new(|| sections(include_str!("builtin.txt")));

/// Names by section.
pub(super) type Sections = HashMap<&'static str, HashSet<&'static str>>;

/// Whether `name` is in the section.
pub(super) fn holds(sections: &Sections, section: &str, name: &str) -> bool {
    sections
        .get(section)
        .is_some_and(|names| names.contains(name))
}

/// The refused functions, each with the reason of its section.
pub(crate) struct Refused {
    exact: HashMap<&'static str, &'static str>,
    schemas: HashMap<&'static str, &'static str>,
    prefixes: Vec<(&'static str, &'static str)>,
    allowed: Vec<&'static str>,
}

impl Refused {
    /// Reads lines `[reason]`, `name`, `prefix*`, `schema.*` and `+name` (an exception from a prefix).
    fn parse(source: &'static str) -> Self {
        let mut table = Self {
            exact: HashMap::new(),
            schemas: HashMap::new(),
            prefixes: Vec::new(),
            allowed: Vec::new(),
        };
        let mut reason = "is refused";
        for word in lines(source).flat_map(words) {
            if let Some(section) = heading(word) {
                reason = section;
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

    /// What a function of this name does that is refused, in words that follow "It".
    pub(crate) fn reason(&self, schema: Option<&str>, name: &str) -> Option<&'static str> {
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

    /// Whether every function of the schema is refused.
    pub(super) fn holds_schema(&self, schema: &str) -> bool {
        self.schemas.contains_key(schema)
    }
}

fn sections(source: &'static str) -> Sections {
    let mut sections = Sections::new();
    let mut section = "";
    for word in lines(source).flat_map(words) {
        if let Some(name) = heading(word) {
            section = name;
            sections.entry(section).or_default();
        } else {
            sections.entry(section).or_default().insert(word);
        }
    }
    sections
}

fn lines(source: &'static str) -> impl Iterator<Item = &'static str> {
    source.lines().filter(|line| !line.starts_with("# "))
}

fn heading(word: &'static str) -> Option<&'static str> {
    word.strip_prefix('[')?.strip_suffix(']')
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

    #[test]
    fn names_prefixes_schemas_and_exceptions_are_told_apart() {
        let is_refused = |schema, name| REFUSED.reason(schema, name).is_some();
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
        let table = Refused::parse("[does harm]\na b*\nc.* +bb\n# [x]\n[is worse]\nd");
        assert_eq!(table.reason(None, "a"), Some("does harm"));
        assert_eq!(table.reason(None, "bc"), Some("does harm"));
        assert_eq!(table.reason(None, "bb"), None);
        assert_eq!(table.reason(Some("c"), "x"), Some("does harm"));
        assert_eq!(table.reason(None, "d"), Some("is worse"));
    }

    #[test]
    fn lists_are_read_by_section() {
        assert!(holds(&HARMLESS, "pg_catalog", "random"));
        assert!(!holds(&HARMLESS, "pg_catalog", "gen_salt"));
        assert!(holds(&HARMLESS, "pgcrypto", "gen_salt"));
        assert!(HARMLESS.contains_key("hstore"));
        assert!(holds(&BUILTIN, "operators", "#>>") && holds(&BUILTIN, "types", "jsonb"));
    }

    /// What is refused by name is on no other list by mistake.
    #[test]
    fn no_name_is_both_harmless_and_refused() {
        let harmless = HARMLESS.values().flatten();
        let builtin = BUILTIN.get("functions").into_iter().flatten();
        // `ts_rewrite` is refused in the form that runs a query; `guard::expression` tells its forms apart.
        for name in harmless
            .chain(builtin)
            .filter(|name| **name != "ts_rewrite")
        {
            assert_eq!(REFUSED.reason(None, name), None, "{name}");
        }
    }
}
