//! A target's functions, operators and types, judged: what of them a read grant may use.
//!
//! The catalog comes in as rows of a query ([`FETCH`]) that the data plane runs; nothing here does I/O. Without a catalog
//! only what PostgreSQL itself has, and is known to be harmless, may be used ([`Catalog::unavailable`]).

mod allowed;
mod body;
mod lists;
mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

pub use allowed::{AllowedFunctions, InvalidFunction};
pub use rows::{Builder, InvalidRow};

use crate::analysis::Analysis;
use crate::guard::{FunctionRef, NameRef, Notation, Uses};
use crate::refusal::Refusal;
use lists::{BUILTIN, HARMLESS, REFUSED, holds};

/// The query whose rows a [`Builder`] takes. It must run with `search_path` set to `pg_catalog`.
pub const FETCH: &str = include_str!("fetch.sql");

/// The first object id that is not PostgreSQL's own.
const FIRST_NORMAL_OID: u32 = 16_384;

/// Where PostgreSQL's own functions, operators and types are.
const SYSTEM_SCHEMA: &str = "pg_catalog";

const UNKNOWN: &str = "is not known to PgLens";
const NO_SUCH_FUNCTION: &str =
    "was no function that a query can call when PgLens last read the database's catalog";
const OTHER_FORM: &str = "is known to PgLens only in another schema or with other arguments";

/// What is to be said against something, in words that follow "It"; nothing: a read grant may use it.
type Standing = Option<&'static str>;

/// What a read grant may use of one database.
#[derive(Debug)]
pub struct Catalog {
    generation: u64,
    source: Source,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    Target(Target),
    Unavailable(AllowedFunctions),
}

/// As the target's catalog tells it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Target {
    functions: HashMap<Box<str>, Vec<Candidate>>,
    operators: HashMap<Box<str>, Vec<Named>>,
    /// Only those that are refused.
    types: HashMap<Box<str>, Vec<Named>>,
    type_oids: HashSet<u32>,
}

/// A function of some name.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    schema: Box<str>,
    least: u16,
    most: u16,
    /// Its first argument may be a row.
    takes_row: bool,
    standing: Standing,
}

/// An operator or type of some name.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    schema: Box<str>,
    standing: Standing,
}

impl Catalog {
    fn new(source: Source) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(FIRST_GENERATION);
        Self {
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
            source,
        }
    }

    /// What may be used while the target's catalog cannot be had.
    #[must_use]
    pub fn unavailable(allowed: AllowedFunctions) -> Self {
        Self::new(Source::Unavailable(allowed))
    }

    /// Whether it is the target's own.
    #[must_use]
    pub fn is_available(&self) -> bool {
        matches!(self.source, Source::Target(_))
    }

    /// Whether both give the same verdicts: then the older one's may be kept.
    #[must_use]
    pub fn knows_the_same(&self, other: &Self) -> bool {
        self.source == other.source
    }

    /// A number that no other catalog of this process has.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a read grant may run every statement of the text.
    ///
    /// # Errors
    /// The refusal of the first statement that is refused; nothing of the text may then reach the target.
    pub fn check(&self, analysis: &Analysis) -> Result<(), Refusal> {
        for statement in &analysis.statements {
            statement.read_verdict.clone()?;
            self.check_uses(&statement.uses)?;
        }
        Ok(())
    }

    fn check_uses(&self, uses: &Uses) -> Result<(), Refusal> {
        for function in &uses.functions {
            if let Some(reason) = self.function(function) {
                return Err(refused_function(function, reason));
            }
        }
        for operator in &uses.operators {
            if let Some(reason) = self.operator(operator) {
                return Err(refused_name(
                    "read_grant.operator",
                    "operator",
                    operator,
                    reason,
                ));
            }
        }
        for name in &uses.types {
            if let Some(reason) = self.type_name(name) {
                return Err(refused_name(
                    "read_grant.type",
                    "a value of type",
                    name,
                    reason,
                ));
            }
        }
        Ok(())
    }

    /// Whether parameters of these types may be bound: their values are made, and checked, by functions of the types.
    ///
    /// # Errors
    /// The refusal of the first that may not.
    pub fn check_parameter_types(&self, oids: &[u32]) -> Result<(), Refusal> {
        let refused = |oid: &&u32| match &self.source {
            Source::Target(target) => target.type_oids.contains(oid),
            Source::Unavailable(_) => **oid >= FIRST_NORMAL_OID,
        };
        match oids.iter().find(refused) {
            None => Ok(()),
            Some(oid) => Err(Refusal::read_grant(
                "read_grant.type",
                format!(
                    "a parameter of the type with object id {oid} is not allowed by a read grant"
                ),
                "Making a value of it may call a function that is not allowed by a read grant.",
            )),
        }
    }

    fn function(&self, function: &FunctionRef) -> Standing {
        let FunctionRef {
            schema,
            name,
            notation,
        } = function;
        let schema = schema.as_deref();
        match &self.source {
            Source::Target(target) => target.function(schema, name, *notation),
            Source::Unavailable(allowed) => unseen_function(allowed, schema, name, *notation),
        }
    }

    fn operator(&self, operator: &NameRef) -> Standing {
        let schema = operator.schema.as_deref();
        match &self.source {
            Source::Target(target) => match target.operators.get(&operator.name) {
                Some(found) => standing(found, schema),
                None => Some(UNKNOWN),
            },
            Source::Unavailable(_) => unseen("operators", schema, &operator.name),
        }
    }

    fn type_name(&self, name: &NameRef) -> Standing {
        let schema = name.schema.as_deref();
        match &self.source {
            Source::Target(target) => target.type_name(schema, &name.name),
            Source::Unavailable(_) => unseen("types", schema, &name.name),
        }
    }
}

/// Smaller numbers are for what needs no catalog.
const FIRST_GENERATION: u64 = 16;

impl Target {
    fn function(&self, schema: Option<&str>, name: &str, notation: Notation) -> Standing {
        let mut known = false;
        for candidate in self.functions.get(name).into_iter().flatten() {
            let meant = schema.is_none_or(|schema| *schema == *candidate.schema)
                && candidate.takes(notation);
            if !meant {
                continue;
            }
            known = true;
            let judged =
                matches!(notation, Notation::Judged(_)) && *candidate.schema == *SYSTEM_SCHEMA;
            if candidate.standing.is_some() && !judged {
                return candidate.standing;
            }
        }
        match notation {
            // A call with one argument may be a conversion to a type of that name.
            Notation::Call(Some(1)) if known => self.type_name(schema, name),
            Notation::Call(Some(1))
                if schema.is_none_or(is_system) && holds(&BUILTIN, "types", name) =>
            {
                self.type_name(schema, name)
            }
            Notation::OfRow | Notation::OfAny => self.type_name(schema, name),
            Notation::Syntax => None,
            Notation::Call(_) | Notation::Judged(_) if known => None,
            Notation::Call(_) | Notation::Judged(_) => {
                Some(REFUSED.reason(schema, name).unwrap_or(self.unknown(name)))
            }
        }
    }

    /// Why a function of which nothing is known stays refused. One that did not exist when the catalog was read may
    /// exist when the call arrives, so the call cannot be left to the target's own error.
    fn unknown(&self, name: &str) -> &'static str {
        if self.functions.contains_key(name) {
            OTHER_FORM
        } else {
            NO_SUCH_FUNCTION
        }
    }

    fn type_name(&self, schema: Option<&str>, name: &str) -> Standing {
        let found = self.types.get(name)?;
        standing(found, schema)
    }
}

fn standing(found: &[Named], schema: Option<&str>) -> Standing {
    found
        .iter()
        .filter(|one| schema.is_none_or(|schema| *schema == *one.schema))
        .find_map(|one| one.standing)
}

impl Candidate {
    fn takes(&self, notation: Notation) -> bool {
        let fits = |count: u16| (self.least..=self.most).contains(&count);
        match notation {
            Notation::Call(Some(count)) | Notation::Judged(count) => fits(count),
            Notation::Call(None) | Notation::Syntax => true,
            Notation::OfRow => self.takes_row && fits(1),
            Notation::OfAny => fits(1),
        }
    }
}

fn is_system(schema: &str) -> bool {
    schema == SYSTEM_SCHEMA
}

fn unseen_function(
    allowed: &AllowedFunctions,
    schema: Option<&str>,
    name: &str,
    notation: Notation,
) -> Standing {
    if schema.is_some_and(|schema| allowed.contains(schema, name)) {
        return None;
    }
    let refused = REFUSED.reason(schema, name);
    match notation {
        Notation::Judged(_) if schema.is_none_or(is_system) => None,
        Notation::OfRow | Notation::OfAny => refused,
        _ if refused.is_some() => refused,
        Notation::Syntax => None,
        Notation::Call(_) | Notation::Judged(_) => {
            let harmless = holds(&HARMLESS, SYSTEM_SCHEMA, name);
            let known =
                harmless || holds(&BUILTIN, "functions", name) || holds(&BUILTIN, "types", name);
            (!(known && schema.is_none_or(is_system))).then_some(UNSEEN)
        }
    }
}

fn unseen(section: &str, schema: Option<&str>, name: &str) -> Standing {
    let known = schema.is_none_or(is_system) && holds(&BUILTIN, section, name);
    (!known).then_some(UNSEEN)
}

const UNSEEN: &str = "is not PostgreSQL's own, and PgLens cannot read the database's catalog now";

fn refused_function(function: &FunctionRef, reason: &str) -> Refusal {
    let refusal = Refusal::read_grant(
        "read_grant.function",
        format!("function {function} is not allowed by a read grant"),
        format!("It {reason}."),
    );
    if REFUSED
        .reason(function.schema.as_deref(), &function.name)
        .is_some()
    {
        return refusal;
    }
    let hint = match function.notation {
        _ if reason == NO_SUCH_FUNCTION => {
            "Check its name. A function that was created just now counts after the catalog is read again, usually within a \
             minute."
        }
        Notation::OfRow => {
            "A column of that name can be read without the table's name in front of it. An administrator of PgLens may add \
             the function to allowed_functions of the database."
        }
        _ => {
            "An administrator of PgLens may add the function to allowed_functions of the database."
        }
    };
    Refusal {
        hint: Some(hint.to_owned()),
        ..refusal
    }
}

fn refused_name(rule: &'static str, what: &str, name: &NameRef, reason: &str) -> Refusal {
    Refusal::read_grant(
        rule,
        format!("{what} {name} is not allowed by a read grant"),
        format!("It {reason}."),
    )
}
