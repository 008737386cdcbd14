//! The prepared statements and portals of a session, as they are once every message on its way has succeeded.
//!
//! A message that fails takes back what it changed: each change returns the value it replaced.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::audit::{Columns, Parameters, Said, Text};

/// Most prepared statements of a session; drivers keep some hundred.
const MAX_STATEMENTS: usize = 10_000;
/// Most portals of a session; they end with their transaction.
const MAX_PORTALS: usize = 1_000;
/// Most memory for texts of prepared statements, and as much for parameters of portals.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Portals whose memory a thread keeps for others.
const MAX_SPARE: usize = 256;

/// A prepared statement.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) text: Text,
    /// As the client gave them; 0 leaves one to the server.
    pub(crate) parameter_types: Vec<u32>,
    /// As the target inferred them, once it was asked.
    pub(crate) described_parameters: OnceCell<Vec<u32>>,
    /// As the target described them, once it was asked.
    pub(crate) columns: OnceCell<Columns>,
    /// The same in the formats that were asked for first: clients rarely change their mind.
    formatted: OnceCell<Formatted>,
}

/// The columns of a result, and the formats they were asked for in.
#[derive(Debug)]
struct Formatted {
    formats: ResultFormats,
    columns: Columns,
}

impl Prepared {
    pub(crate) fn new(text: Text, parameter_types: Vec<u32>) -> Rc<Self> {
        Rc::new(Self {
            text,
            parameter_types,
            described_parameters: OnceCell::new(),
            columns: OnceCell::new(),
            formatted: OnceCell::new(),
        })
    }

    pub(crate) fn parameter_type(&self, index: usize) -> u32 {
        let described = self.described_parameters.get();
        let types = described.unwrap_or(&self.parameter_types);
        types.get(index).copied().unwrap_or(0)
    }
}

impl Said for Prepared {
    fn text(&self) -> &Text {
        &self.text
    }
}

/// Formats of result columns: none (all text), one for all, or one for each.
pub(crate) type ResultFormats = SmallVec<[u16; 8]>;

/// A prepared statement with its parameters.
#[derive(Debug)]
pub(crate) struct Portal {
    pub(crate) statement: Rc<Prepared>,
    pub(crate) parameters: Parameters,
    /// Bytes the client sent for it.
    pub(crate) parameter_bytes: usize,
    /// Bytes of them that are kept here.
    pub(crate) kept_bytes: usize,
    pub(crate) result_formats: ResultFormats,
    /// As the target described them, once it was asked.
    pub(crate) columns: OnceCell<Columns>,
}

impl Portal {
    /// The columns of its result, as far as they are known, in the formats that were asked for.
    pub(crate) fn columns(&self) -> Columns {
        if let Some(columns) = self.columns.get() {
            return columns.clone();
        }
        let Some(columns) = self.statement.columns.get() else {
            return Columns::default();
        };
        let formats = &self.result_formats;
        let first = self.statement.formatted.get_or_init(|| Formatted {
            formats: formats.clone(),
            columns: columns.in_formats(formats),
        });
        if first.formats == *formats {
            first.columns.clone()
        } else {
            columns.in_formats(formats)
        }
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Rc<Portal>>> = const { RefCell::new(Vec::new()) };
    static NOTHING: Rc<Prepared> = Prepared::new(Text::whole("", ""), Vec::new());
}

impl Portal {
    /// Puts it where another one was, if a session of the thread has given one back: each Bind makes a portal, and pipelines
    /// have more of them at a time than allocators keep at hand.
    pub(crate) fn shared(self) -> Rc<Self> {
        let Some(mut spare) = SPARE.with_borrow_mut(Vec::pop) else {
            return Rc::new(self);
        };
        match Rc::get_mut(&mut spare) {
            Some(place) => {
                *place = self;
                spare
            }
            None => Rc::new(self),
        }
    }

    /// Gives back the memory of one that nobody else knows.
    pub(super) fn give_back(mut portal: Rc<Self>) {
        let Some(only) = Rc::get_mut(&mut portal) else {
            return;
        };
        *only = Self::nothing();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(portal);
            }
        });
    }

    fn nothing() -> Self {
        Self {
            statement: NOTHING.with(Rc::clone),
            parameters: Parameters::default(),
            parameter_bytes: 0,
            kept_bytes: 0,
            result_formats: ResultFormats::new(),
            columns: OnceCell::new(),
        }
    }
}

impl Said for Portal {
    fn text(&self) -> &Text {
        &self.statement.text
    }

    fn parameters(&self) -> &[u8] {
        self.parameters.fields()
    }
}

/// Values by name, bounded in number and bytes.
#[derive(Debug)]
pub(crate) struct Names<T> {
    /// What has the empty name, as most portals do.
    unnamed: Option<Rc<T>>,
    named: HashMap<Box<[u8]>, Rc<T>, RandomState>,
    bytes: usize,
    max_values: usize,
    size: fn(&T) -> usize,
}

impl<T> Names<T> {
    fn new(max_values: usize, size: fn(&T) -> usize) -> Self {
        Self {
            unnamed: None,
            named: HashMap::default(),
            bytes: 0,
            max_values,
            size,
        }
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Rc<T>> {
        match name {
            [] => self.unnamed.as_ref(),
            name => self.named.get(name),
        }
    }

    /// Whether a value of `bytes` more may be added.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let values = self.named.len() + usize::from(self.unnamed.is_some());
        values < self.max_values && self.bytes + bytes <= MAX_BYTES
    }

    /// Gives `name` a value, or none, and returns the one it had.
    pub(crate) fn set(&mut self, name: &[u8], value: Option<Rc<T>>) -> Option<Rc<T>> {
        if let Some(value) = &value {
            self.bytes += (self.size)(value);
        }
        let before = match (name, value) {
            ([], value) => std::mem::replace(&mut self.unnamed, value),
            (name, Some(value)) => self.named.insert(name.into(), value),
            (name, None) => self.named.remove(name),
        };
        if let Some(before) = &before {
            self.bytes = self.bytes.saturating_sub((self.size)(before));
        }
        before
    }

    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
        self.bytes = 0;
    }
}

pub(crate) fn statements() -> Names<Prepared> {
    Names::new(MAX_STATEMENTS, |statement| statement.text.sql().len())
}

pub(crate) fn portals() -> Names<Portal> {
    Names::new(MAX_PORTALS, |portal| portal.kept_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_portal_serves_the_next_one() {
        let first = Portal::nothing().shared();
        let place = Rc::as_ptr(&first);
        Portal::give_back(first);
        let portal = Portal {
            kept_bytes: 7,
            ..Portal::nothing()
        };
        let second = portal.shared();
        assert_eq!((Rc::as_ptr(&second), second.kept_bytes), (place, 7));
    }

    #[test]
    fn a_change_can_be_taken_back() {
        let mut names: Names<String> = Names::new(2, String::len);
        assert!(names.set(b"a", Some(Rc::new("one".to_owned()))).is_none());
        let before = names.set(b"a", Some(Rc::new("three".to_owned())));
        assert_eq!(names.bytes, 5);
        names.set(b"a", before);
        assert_eq!(names.get(b"a").unwrap().as_str(), "one");
        assert_eq!(names.bytes, 3);
        assert!(names.has_room(MAX_BYTES - 3) && !names.has_room(MAX_BYTES));
        let nothing = || Some(Rc::new(String::new()));
        assert!(names.set(b"", nothing()).is_none());
        assert!(names.get(b"").is_some() && !names.has_room(0));
        assert!(names.set(b"", None).is_some() && names.has_room(0));
        names.set(b"b", nothing());
        assert!(!names.has_room(0));
        names.clear();
        assert!(names.get(b"a").is_none() && names.has_room(0));
    }
}
