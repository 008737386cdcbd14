//! Values as the text their type's output function prints, as COPY writes them.

use std::borrow::Cow;
use std::fmt::Write;

use super::types::{self, Type};
use super::{Format, array, binary, composite};

/// The value as text. What is not understood is shown as `bytea` would be.
#[must_use]
pub fn to_text(type_oid: u32, format: Format, bytes: &[u8]) -> Cow<'_, str> {
    match format {
        Format::Text => match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(hexadecimal(bytes)),
        },
        Format::Binary => Cow::Owned(
            binary_to_text(types::lookup(type_oid), bytes).unwrap_or_else(|| hexadecimal(bytes)),
        ),
    }
}

fn binary_to_text(value_type: Type, bytes: &[u8]) -> Option<String> {
    match value_type {
        Type::Scalar(kind) => binary::to_text(kind, bytes),
        Type::Array(_) => array::text(bytes),
        Type::Vector(_) => array::vector_text(bytes),
        Type::Unknown => composite::guessed_record(bytes),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOL: u32 = 16;
    const INT4: u32 = 23;
    const TEXT_ARRAY: u32 = 1009;

    #[test]
    fn values_are_as_copy_writes_them() {
        let check = |oid, format, bytes: &[u8], expected| {
            assert_eq!(to_text(oid, format, bytes), expected);
        };
        check(BOOL, Format::Text, b"t", "t");
        check(BOOL, Format::Binary, &[1], "t");
        check(INT4, Format::Binary, &[0, 0, 0, 7], "7");
        check(INT4, Format::Text, &[0xff], "\\xff");
        check(INT4, Format::Binary, &[1], "\\x01");
        check(0, Format::Binary, b"ab", "\\x6162");
        let mut array = Vec::new();
        for word in [1_i32, 1, 25, 4, 1] {
            array.extend_from_slice(&word.to_be_bytes());
        }
        for element in [Some("a"), Some("b, \"c\""), None, Some("")] {
            let length = element.map_or(-1, |text| i32::try_from(text.len()).unwrap());
            array.extend_from_slice(&length.to_be_bytes());
            array.extend_from_slice(element.unwrap_or_default().as_bytes());
        }
        check(
            TEXT_ARRAY,
            Format::Binary,
            &array,
            "{a,\"b, \\\"c\\\"\",NULL,\"\"}",
        );
    }
}
