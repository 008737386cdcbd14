//! Ranges in binary format (`range_send`) as the text that `range_out` prints.

use super::binary::{take_value, to_text};
use super::types::{self, Type};

const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

pub(super) fn text(element: u32, bytes: &[u8]) -> Option<String> {
    let (&flags, mut rest) = bytes.split_first()?;
    if flags & EMPTY != 0 {
        return rest.is_empty().then(|| "empty".to_owned());
    }
    let mut bound = |infinite: u8| -> Option<String> {
        if flags & infinite != 0 {
            return Some(String::new());
        }
        // Only ranges over scalars are in the table of types, so this does not recurse further.
        let Type::Scalar(kind) = types::lookup(element) else {
            return None;
        };
        Some(quoted(&to_text(kind, take_value(&mut rest)??)?))
    };
    let (lower, upper) = (bound(LOWER_INFINITE)?, bound(UPPER_INFINITE)?);
    if !rest.is_empty() {
        return None;
    }
    let open = if flags & LOWER_INCLUSIVE != 0 {
        '['
    } else {
        '('
    };
    let close = if flags & UPPER_INCLUSIVE != 0 {
        ']'
    } else {
        ')'
    };
    Some(format!("{open}{lower},{upper}{close}"))
}

/// Quotes a bound where `range_bound_escape` would: of the types here only timestamps hold blanks.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains(' ') {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}
