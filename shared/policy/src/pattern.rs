//! Texts of one shape, told by comparing them with it: most of what a client sends is what it sent before, with other
//! constants.
//!
//! A text that has the same bytes as a shape but for its constants, and constants of the same kinds in their places, has that
//! shape: up to a constant the lexer goes through both alike, since it reads the same; what touches the constant is the
//! same as well; and behind it the lexer is where it is in the other. See `shape` for what follows from that.

use std::sync::Arc;

use crate::shape::{Constant, MAX_BYTES, lex, shape_of};

/// A shape, and where its constants stand.
#[derive(Debug)]
pub(crate) struct Pattern {
    shape: Arc<str>,
    constants: Vec<(Constant, usize)>,
}

impl Pattern {
    /// `None`: that is no shape of a text.
    pub(crate) fn of(shape: &Arc<str>) -> Option<Self> {
        if *shape_of(shape)? != **shape {
            return None;
        }
        let mut constants = Vec::new();
        lex(shape, |constant, place| {
            constants.push((constant, place.start));
            Some(())
        })?;
        Some(Self {
            shape: Arc::clone(shape),
            constants,
        })
    }

    /// Whether `text` has the shape. It is ASCII then.
    pub(crate) fn fits(&self, text: &[u8]) -> bool {
        text.len() <= MAX_BYTES
            && self
                .rest_behind_constants(text)
                .is_some_and(<[u8]>::is_empty)
    }

    /// What is left of `text` when the shape is at its end.
    fn rest_behind_constants<'a>(&self, mut text: &'a [u8]) -> Option<&'a [u8]> {
        let (shape, mut done) = (self.shape.as_bytes(), 0);
        for (constant, place) in &self.constants {
            text = text.strip_prefix(shape.get(done..*place)?)?;
            text = text.get(constant.length_in(text)?..)?;
            done = place + constant.stand_in().len();
        }
        text.strip_prefix(shape.get(done..)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(shape: &str, text: &str) -> bool {
        Pattern::of(&shape.into()).unwrap().fits(text.as_bytes())
    }

    #[test]
    fn other_constants_fit_and_nothing_else_does() {
        let shape = "select a from t where b = 1 and c = '' and d in (2, 'x') or e = -1;";
        for text in [
            "select a from t where b = 77 and c = '' and d in (2, 'x') or e = -0;",
            "select a from t where b = 1 and c = 'it''s' and d in (2, 'x') or e = -999999999;",
        ] {
            assert!(fits(shape, text), "{text}");
        }
        for text in [
            "select a from t where b = 77 and c = '' and d in (3, 'x') or e = -0;",
            "select a from t where b = x and c = '' and d in (2, 'x') or e = -1;",
            "select a from t where b = 1.5 and c = '' and d in (2, 'x') or e = -1;",
            "select a from t where b = 1 and c = '\\' and d in (2, 'x') or e = -1;",
            "select a from t where b = 1 and c = 'ä' and d in (2, 'x') or e = -1;",
            "select a from t where b = 1 and c = ' and d in (2, 'x') or e = -1;",
            "select a from t where b = 1 and c = x' and d in (2, 'x') or e = -1;",
            "select a from t where b = 1 and c = ''x and d in (2, 'x') or e = -1;",
            "select a from t where b = 1 and c = '' and d in (2, 'x') or e = -1234567890;",
            "select a from t where b = 1 and c = '' and d in (2, 'x') or e = -1; drop table t",
            "select a from t where b = 1 and c = '' and d in (2, 'x') or e = -",
            "select a from t where b = 1 or true and c = '' and d in (2, 'x') or e = -1;",
            "SELECT a from t where b = 1 and c = '' and d in (2, 'x') or e = -1;",
            "",
        ] {
            assert!(!fits(shape, text), "{text}");
        }
        assert!(!fits(
            shape,
            &shape.replace("''", &format!("'{}'", "x".repeat(MAX_BYTES)))
        ));
    }

    #[test]
    fn what_is_no_shape_has_no_pattern() {
        for text in [
            "select 2",
            "select a",
            "select $1 + 1",
            "set x = 1",
            "select 'a'",
        ] {
            assert!(Pattern::of(&text.into()).is_none(), "{text}");
        }
    }

    /// Texts made of parts of which constants are made, and of what may touch them.
    fn text() -> impl Strategy<Value = String> {
        let parts = vec![
            "1",
            "22",
            "0",
            "1234567890",
            "''",
            "'a'",
            "'it''s'",
            "'-- 1'",
            "'\\'",
            "'",
            "a",
            "a1",
            "_",
            ".",
            "-",
            " ",
            " ",
            ", ",
            "(",
            ")",
            "=",
            "e",
            "x",
            "\n",
            ";",
            "set_config",
            "--",
            "from t where b = ",
        ];
        let parts = prop::collection::vec(prop::sample::select(parts), 0..9);
        parts.prop_map(|parts| format!("select {}", parts.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn what_fits_has_the_shape(one in text(), other in text(), numbers in prop::collection::vec(0u64..2_000_000_000, 4)) {
            let Some(pattern) = shape_of(&one).and_then(|shape| Pattern::of(&shape.into())) else {
                return Ok(());
            };
            // Also what is near: the text itself, with other numbers in it.
            let mut near = one.clone();
            for number in numbers {
                near = near.replacen("22", &number.to_string(), 1).replacen("'a'", &format!("'{number}'"), 1);
            }
            for text in [&one, &other, &near] {
                let has_it = shape_of(text).as_deref() == Some(&*pattern.shape);
                prop_assert_eq!(pattern.fits(text.as_bytes()), has_it, "{:?} and {:?}", &pattern.shape, text);
            }
        }
    }
}
