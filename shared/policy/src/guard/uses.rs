//! What a statement makes the server run: its functions, operators and types, as the text names them.

use std::fmt;

/// How a function is called, as far as that tells which functions can be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Notation {
    /// `f(x)`, with so many arguments; `None` where their number does not tell (VARIADIC, WITHIN GROUP).
    Call(Option<u16>),
    /// A call whose arguments make it harmless should it be PostgreSQL's own function (`set_config` of a harmless
    /// setting); a function of the same name in another schema may be meant as well.
    Judged(u16),
    /// `t.f` where `t` is a row: a column if there is one, and a call of `f(t)` otherwise.
    OfRow,
    /// `(x).f`, or `t.f` where `t` may be a single value: likewise, for every type.
    OfAny,
    /// By keywords of the grammar; a function only for servers that do not know the keywords.
    Syntax,
}

/// A function as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionRef {
    /// The schema, if named.
    pub schema: Option<Box<str>>,
    /// The name, folded to lower case unless it was quoted.
    pub name: Box<str>,
    /// How it is called.
    pub notation: Notation,
}

/// An operator or a type as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameRef {
    /// The schema, if named.
    pub schema: Option<Box<str>>,
    /// The name.
    pub name: Box<str>,
}

/// Everything in a statement that a target's catalog has to be asked about; complete if the statement's grammar was
/// found harmless.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uses {
    /// Called by name, or perhaps called by what looks like a column.
    pub functions: Vec<FunctionRef>,
    /// Written out, and those that IN, DISTINCT, ORDER BY and their like stand for.
    pub operators: Vec<NameRef>,
    /// Converted to.
    pub types: Vec<NameRef>,
}

impl Uses {
    pub(crate) fn heap_bytes(&self) -> usize {
        let of_function = |function: &FunctionRef| {
            size_of::<FunctionRef>() + function.name.len() + bytes(function.schema.as_deref())
        };
        let of_name =
            |name: &NameRef| size_of::<NameRef>() + name.name.len() + bytes(name.schema.as_deref());
        self.functions.iter().map(of_function).sum::<usize>()
            + self.operators.iter().map(of_name).sum::<usize>()
            + self.types.iter().map(of_name).sum::<usize>()
    }
}

fn bytes(text: Option<&str>) -> usize {
    text.map_or(0, str::len)
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, self.schema.as_deref(), &self.name)
    }
}

impl fmt::Display for NameRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, self.schema.as_deref(), &self.name)
    }
}

fn write_name(f: &mut fmt::Formatter<'_>, schema: Option<&str>, name: &str) -> fmt::Result {
    match schema {
        Some(schema) => write!(f, "{schema}.{name}"),
        None => f.write_str(name),
    }
}
