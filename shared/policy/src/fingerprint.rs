//! What statements have in common that differ only in constants and formatting.

use std::fmt;
use std::panic::catch_unwind;
use std::sync::{Arc, OnceLock};

/// The number that libpg_query gives to all statements of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Of the first statement of `sql`, by a parse of its own; `None` for what the parser does not know.
    pub(crate) fn of(sql: &str) -> Option<Self> {
        let made = catch_unwind(|| pg_query::fingerprint(sql, 0, 0));
        Some(Self(made.ok()?.ok()?.value))
    }

    /// The same 64 bits, for storage that has no unsigned numbers.
    #[must_use]
    pub fn to_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The fingerprint of a statement, made when it is first asked for: no verdict needs it, and it takes a parse of its own.
///
/// Cheap to clone; clones share what was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LazyFingerprint(State);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    None,
    Made(Fingerprint),
    Due(Arc<OnceLock<Option<Fingerprint>>>),
}

impl LazyFingerprint {
    /// One to be made of the statement's text.
    pub(crate) fn due() -> Self {
        Self(State::Due(Arc::default()))
    }

    /// Whether it has not been made yet.
    #[must_use]
    pub fn is_due(&self) -> bool {
        matches!(&self.0, State::Due(cell) if cell.get().is_none())
    }

    /// The fingerprint if it was made, and the statement has one.
    #[must_use]
    pub fn at_hand(&self) -> Option<Fingerprint> {
        match &self.0 {
            State::None => None,
            State::Made(fingerprint) => Some(*fingerprint),
            State::Due(cell) => cell.get().copied().flatten(),
        }
    }

    /// The fingerprint, made now if it is due: some microseconds, and as much stack as [`crate::analyze`] takes. `sql` is
    /// the statement, or one that differs from it in constants only.
    #[must_use]
    pub fn make(&self, sql: &str) -> Option<Fingerprint> {
        match &self.0 {
            State::Due(cell) => *cell.get_or_init(|| Fingerprint::of(sql)),
            State::None | State::Made(_) => self.at_hand(),
        }
    }
}

impl From<Option<Fingerprint>> for LazyFingerprint {
    fn from(made: Option<Fingerprint>) -> Self {
        Self(made.map_or(State::None, State::Made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_for_all_clones() {
        let lazy = LazyFingerprint::due();
        let clone = lazy.clone();
        assert!(clone.is_due() && clone.at_hand().is_none());
        let made = lazy.make("SELECT a FROM t WHERE b = 1");
        assert_eq!(made, Fingerprint::of("select a from t where b = 2"));
        assert!(made.is_some() && !clone.is_due());
        assert_eq!((clone.at_hand(), clone.make("SELECT 1")), (made, made));
    }

    #[test]
    fn what_has_none_has_none() {
        let lazy = LazyFingerprint::due();
        assert_eq!(lazy.make("SELEC"), None);
        assert!(!lazy.is_due());
        let none = LazyFingerprint::default();
        assert_eq!((none.is_due(), none.make("SELECT 1")), (false, None));
        let made = LazyFingerprint::from(Some(Fingerprint(7)));
        assert_eq!(
            (made.is_due(), made.at_hand()),
            (false, Some(Fingerprint(7)))
        );
    }
}
