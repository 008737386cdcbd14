//! Makes a catalog of the rows of [`super::FETCH`].

use std::collections::{HashMap, HashSet};

use super::body::{Body, look_into};
use super::lists::{HARMLESS, REFUSED, holds};
use super::{
    AllowedFunctions, Candidate, Catalog, FIRST_NORMAL_OID, Named, SYSTEM_SCHEMA, Source, Standing,
    Target,
};
use crate::guard::is_harmless_setting;

/// Columns of [`super::FETCH`].
const COLUMNS: usize = 11;

const VOLATILE: &str = "is volatile: it may have an effect each time it is called";
const PROCEDURE: &str = "is a procedure";
const LANGUAGE: &str =
    "is written in a language in which PostgreSQL does not keep functions from writing";
const SETTING: &str = "runs with settings of its own that are not known to be harmless";
const CALLS: &str = "calls a function that is not allowed by a read grant";

/// Languages in which PostgreSQL runs the statements of a function that is not volatile as read-only.
const READ_ONLY_LANGUAGES: [&str; 4] = ["sql", "plpgsql", "plperl", "pltcl"];

/// A row that is not one of the query's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalog's row {row} has no valid {what}")]
pub struct InvalidRow {
    row: usize,
    what: &'static str,
}

/// Takes rows, and makes a catalog of them in the end.
#[derive(Debug, Default)]
pub struct Builder {
    allowed: AllowedFunctions,
    rows: usize,
    functions: Vec<Function>,
    others: Vec<Other>,
}

#[derive(Debug)]
struct Function {
    oid: u32,
    schema: Box<str>,
    name: Box<str>,
    least: u16,
    most: u16,
    takes_row: bool,
    standing: Standing,
    /// An aggregate's functions.
    parts: Vec<u32>,
    language: Box<str>,
    body: Box<str>,
}

/// An operator, cast or domain with the functions behind it.
#[derive(Debug)]
struct Other {
    kind: OtherKind,
    schema: Box<str>,
    name: Box<str>,
    functions: Vec<u32>,
    /// A domain's constraints.
    body: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherKind {
    Operator,
    Cast,
    Domain { oid: u32, base: u32, array: u32 },
}

impl Builder {
    /// For a database whose administrator allows these functions.
    #[must_use]
    pub fn new(allowed: AllowedFunctions) -> Self {
        Self {
            allowed,
            ..Self::default()
        }
    }

    /// Takes a row, each column as text.
    ///
    /// # Errors
    /// When it is not one of the query's.
    pub fn row(&mut self, columns: &[&str]) -> Result<(), InvalidRow> {
        self.rows += 1;
        let row = self.rows;
        let invalid = |what| InvalidRow { row, what };
        let columns: &[&str; COLUMNS] = columns
            .try_into()
            .map_err(|_| invalid("number of columns"))?;
        let [
            what,
            oid,
            schema,
            name,
            kind,
            _,
            numbers,
            _,
            _,
            functions,
            body,
        ] = columns;
        let number = |text: &str, what| text.parse::<u32>().map_err(|_| invalid(what));
        let oid = number(oid, "object id")?;
        let list = |text: &str, what| {
            let numbers = text.split_ascii_whitespace().map(|text| number(text, what));
            numbers.collect::<Result<Vec<u32>, InvalidRow>>()
        };
        let functions = list(functions, "functions")?;
        let other = match *what {
            "function" => {
                let numbers = list(numbers, "numbers")?;
                let function = self
                    .function(oid, columns, &numbers, functions)
                    .ok_or_else(|| invalid("function"))?;
                self.functions.push(function);
                return Ok(());
            }
            "operator" => OtherKind::Operator,
            "cast" => OtherKind::Cast,
            "domain" => OtherKind::Domain {
                oid,
                base: number(kind, "base type")?,
                array: number(numbers, "array type")?,
            },
            _ => return Err(invalid("kind")),
        };
        self.others.push(Other {
            kind: other,
            schema: (*schema).into(),
            name: (*name).into(),
            functions,
            body: (*body).into(),
        });
        Ok(())
    }

    fn function(
        &self,
        oid: u32,
        columns: &[&str; COLUMNS],
        numbers: &[u32],
        parts: Vec<u32>,
    ) -> Option<Function> {
        let [
            _,
            _,
            schema,
            name,
            kind,
            language,
            _,
            extension,
            settings,
            _,
            body,
        ] = *columns;
        let &[arguments, defaults, is_variadic, takes_row] = numbers else {
            return None;
        };
        let (volatility, kind) = kind.split_at_checked(1)?;
        let about = About {
            is_builtin: oid < FIRST_NORMAL_OID,
            schema,
            name,
            is_volatile: !["i", "s"].contains(&volatility),
            kind,
            language,
            extension,
            settings,
        };
        let allowed = self.allowed.contains(schema, name);
        let arguments = u16::try_from(arguments).ok()?;
        let defaults = u16::try_from(defaults).ok()?;
        let variadic = u16::from(is_variadic != 0);
        let standing = if allowed { None } else { about.standing() };
        let is_looked_into = !allowed && standing.is_none() && extension.is_empty();
        Some(Function {
            oid,
            schema: schema.into(),
            name: name.into(),
            least: arguments.saturating_sub(defaults).saturating_sub(variadic),
            most: if variadic == 1 { u16::MAX } else { arguments },
            takes_row: takes_row != 0,
            standing,
            // Functions of known extensions, and allowed ones, answer for their parts.
            parts: if is_looked_into { parts } else { Vec::new() },
            language: language.into(),
            body: if is_looked_into {
                body.into()
            } else {
                Box::default()
            },
        })
    }

    /// The catalog of all rows that were taken.
    #[must_use]
    pub fn finish(mut self) -> Catalog {
        self.look_into_bodies();
        self.look_at_parts();
        let standings = self.standings();
        let mut target = Target::default();
        self.take_others(&standings, &mut target);
        for function in self.functions {
            let candidate = Candidate {
                schema: function.schema,
                least: function.least,
                most: function.most,
                takes_row: function.takes_row,
                standing: function.standing,
            };
            target
                .functions
                .entry(function.name)
                .or_default()
                .push(candidate);
        }
        Catalog::new(Source::Target(target))
    }

    fn standings(&self) -> HashMap<u32, Standing> {
        let standing = |function: &Function| (function.oid, function.standing);
        self.functions.iter().map(standing).collect()
    }

    /// Refuses what calls refused functions, until nothing is left to refuse.
    fn look_into_bodies(&mut self) {
        let own =
            |function: &&Function| function.oid >= FIRST_NORMAL_OID || function.standing.is_some();
        let names: HashSet<Box<str>> = self
            .functions
            .iter()
            .filter(own)
            .map(|f| f.name.clone())
            .collect();
        let is_refused = |function: &&Function| function.standing.is_some();
        let refused = self.functions.iter().filter(is_refused);
        let mut refused: HashSet<Box<str>> = refused.map(|f| f.name.clone()).collect();
        let mut calling = Vec::new();
        for (index, function) in self.functions.iter_mut().enumerate() {
            let body = std::mem::take(&mut function.body);
            if body.is_empty() {
                continue;
            }
            match look_into(&body, &function.language, |word| names.contains(word)) {
                Body::Refused(reason) => {
                    function.standing = Some(reason);
                    refused.insert(function.name.clone());
                }
                Body::Calls(calls) => calling.push((index, calls)),
            }
        }
        loop {
            let before = calling.len();
            calling.retain(|(index, calls)| {
                let calls_refused = calls.iter().any(|name| refused.contains(name.as_str()));
                if let (true, Some(function)) = (calls_refused, self.functions.get_mut(*index)) {
                    function.standing = Some(CALLS);
                    refused.insert(function.name.clone());
                }
                !calls_refused
            });
            if calling.len() == before {
                return;
            }
        }
    }

    /// Refuses aggregates that are made of refused functions.
    fn look_at_parts(&mut self) {
        let standings = self.standings();
        for function in &mut self.functions {
            if function.standing.is_none() && !all_pass(&function.parts, &standings) {
                function.standing = Some(CALLS);
            }
        }
    }

    fn take_others(&mut self, standings: &HashMap<u32, Standing>, target: &mut Target) {
        let mut domains = Vec::new();
        for other in std::mem::take(&mut self.others) {
            let passes = all_pass(&other.functions, standings);
            let named = Named {
                schema: other.schema,
                standing: (!passes).then_some(CALLS),
            };
            match other.kind {
                OtherKind::Operator => target.operators.entry(other.name).or_default().push(named),
                OtherKind::Cast if passes => {}
                OtherKind::Cast => target.types.entry(other.name).or_default().push(named),
                OtherKind::Domain { oid, base, array } => {
                    let looks_good =
                        matches!(look_into(&other.body, "", |_| false), Body::Calls(_));
                    domains.push((
                        oid,
                        base,
                        array,
                        other.name,
                        named.schema,
                        passes && looks_good,
                    ));
                }
            }
        }
        loop {
            let before = target.type_oids.len();
            for (oid, base, array, name, schema, passes) in &domains {
                if (*passes && !target.type_oids.contains(base)) || !target.type_oids.insert(*oid) {
                    continue;
                }
                target.type_oids.insert(*array);
                target.types.entry(name.clone()).or_default().push(Named {
                    schema: schema.clone(),
                    standing: Some(CALLS),
                });
            }
            if target.type_oids.len() == before {
                return;
            }
        }
    }
}

/// Whether all of the functions may be called. PostgreSQL's own that are not in the catalog cannot be called by name;
/// one of another kind that is not there is not known.
fn all_pass(functions: &[u32], standings: &HashMap<u32, Standing>) -> bool {
    functions.iter().all(|oid| match standings.get(oid) {
        Some(standing) => standing.is_none(),
        None => *oid < FIRST_NORMAL_OID,
    })
}

/// What is known of a function.
struct About<'a> {
    is_builtin: bool,
    schema: &'a str,
    name: &'a str,
    is_volatile: bool,
    kind: &'a str,
    language: &'a str,
    extension: &'a str,
    settings: &'a str,
}

impl About<'_> {
    /// As far as the function's own row tells.
    fn standing(&self) -> Standing {
        if let Some(reason) = REFUSED.reason(Some(self.schema), self.name) {
            return Some(reason);
        }
        if self.kind == "p" {
            return Some(PROCEDURE);
        }
        let vouched_by = if self.is_builtin {
            SYSTEM_SCHEMA
        } else {
            self.extension
        };
        if self.is_volatile {
            return (!holds(&HARMLESS, vouched_by, self.name)).then_some(VOLATILE);
        }
        if HARMLESS.contains_key(vouched_by) || self.kind == "a" {
            return None;
        }
        if !READ_ONLY_LANGUAGES.contains(&self.language) {
            return Some(LANGUAGE);
        }
        let mut settings = self.settings.split_ascii_whitespace();
        (!settings.all(is_harmless_setting)).then_some(SETTING)
    }
}
