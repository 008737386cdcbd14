//! Functions that a database's administrator lets read grants call.

use std::collections::BTreeSet;

use super::SYSTEM_SCHEMA;
use super::lists::REFUSED;

/// Functions by schema and name, whatever their arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AllowedFunctions(BTreeSet<(Box<str>, Box<str>)>);

/// An entry that cannot be one of the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFunction {
    /// It has no dot.
    #[error("\"{0}\" is not schema.function")]
    NoSchema(String),
    /// PostgreSQL's own function that is refused by name.
    #[error("{name} cannot be allowed: it {reason}")]
    Refused {
        /// As it was given.
        name: String,
        /// What it does.
        reason: &'static str,
    },
}

impl AllowedFunctions {
    /// Reads entries `schema.function`, both as the catalog spells them.
    ///
    /// # Errors
    /// The first entry that is none. PostgreSQL's own functions that are refused by name stay refused.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, InvalidFunction> {
        let parse = |entry: &S| {
            let entry = entry.as_ref();
            let (schema, name) = match entry.split_once('.') {
                Some((schema, name)) if !schema.is_empty() && !name.is_empty() => (schema, name),
                _ => return Err(InvalidFunction::NoSchema(entry.to_owned())),
            };
            match REFUSED.reason(None, name) {
                Some(reason) if schema == SYSTEM_SCHEMA => Err(InvalidFunction::Refused {
                    name: entry.to_owned(),
                    reason,
                }),
                _ => Ok((schema.into(), name.into())),
            }
        };
        entries
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn contains(&self, schema: &str, name: &str) -> bool {
        !self.0.is_empty() && self.0.contains(&(Box::from(schema), Box::from(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_schema_and_function() {
        let allowed = AllowedFunctions::parse(&["app.f", "Other.G.h"]).unwrap();
        assert!(allowed.contains("app", "f") && allowed.contains("Other", "G.h"));
        assert!(!allowed.contains("app", "g"));
        for wrong in [
            "f",
            ".f",
            "app.",
            "pg_catalog.set_config",
            "pg_catalog.pg_read_file",
        ] {
            assert!(AllowedFunctions::parse(&[wrong]).is_err(), "{wrong}");
        }
        assert!(AllowedFunctions::parse(&["app.nextval", "pg_catalog.pg_sleep"]).is_ok());
    }
}
