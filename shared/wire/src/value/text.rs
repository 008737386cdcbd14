//! Values as the text their type's output function prints, as COPY writes them.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use super::types::{self, Type};
use super::{Format, binary, json};

/// The value as text. What is not understood is shown as `bytea` would be, arrays in binary format with the values of
/// their JSON form.
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
    if let Type::Scalar(kind) = value_type {
        return binary::to_text(kind, bytes);
    }
    let mut told = String::new();
    json::write_binary(&mut told, value_type, bytes)?;
    let value: Value = serde_json::from_str(&told).ok()?;
    match value {
        Value::String(text) => Some(text),
        Value::Array(elements) => {
            let mut out = String::new();
            write_array(&mut out, &elements);
            Some(out)
        }
        other => Some(other.to_string()),
    }
}

/// The syntax of the manual's section "Array Input and Output Syntax".
fn write_array(out: &mut String, elements: &[Value]) {
    out.push('{');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match element {
            Value::Null => out.push_str("NULL"),
            Value::Bool(true) => out.push('t'),
            Value::Bool(false) => out.push('f'),
            Value::Array(inner) => write_array(out, inner),
            Value::String(text) => write_element(out, text),
            other => write_element(out, &other.to_string()),
        }
    }
    out.push('}');
}

fn write_element(out: &mut String, text: &str) {
    let is_special = |c: char| c.is_ascii_whitespace() || "{}\",\\".contains(c);
    if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(is_special) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
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
