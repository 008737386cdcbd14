//! From a type's text to JSON, by the categories of PostgreSQL's `json_categorize_type`.

use std::fmt::Write;

use serde_json::value::RawValue;

use super::types::{Kind, Type};
use super::{array, binary, composite};

/// Writes a value in text format, or `None` (with `out` in disorder) when the bytes are not text.
pub(super) fn write_text(out: &mut String, value_type: Type, bytes: &[u8]) -> Option<()> {
    let text = std::str::from_utf8(bytes).ok()?;
    match value_type {
        Type::Scalar(kind) => write_scalar(out, kind, text),
        Type::Array(kind) => {
            let start = out.len();
            if array::write_text(out, kind, text).is_none() {
                out.truncate(start);
                write_string(out, text);
            }
        }
        Type::Vector(kind) => array::write_vector_text(out, kind, text),
        Type::Unknown => write_string(out, text),
    }
    Some(())
}

/// Writes a value in binary format, or `None` (with `out` in disorder) when it cannot be decoded.
pub(super) fn write_binary(out: &mut String, value_type: Type, bytes: &[u8]) -> Option<()> {
    match value_type {
        Type::Scalar(kind) => write_scalar(out, kind, &binary::to_text(kind, bytes)?),
        Type::Array(_) | Type::Vector(_) => array::write_binary(out, bytes)?,
        Type::Unknown => write_string(out, &composite::guessed_record(bytes)?),
    }
    Some(())
}

/// Writes the text of a scalar, as its output function printed it, as JSON.
pub(super) fn write_scalar(out: &mut String, kind: Kind, text: &str) {
    match kind {
        Kind::Bool if text == "t" => out.push_str("true"),
        Kind::Bool if text == "f" => out.push_str("false"),
        // NaN and infinities are no JSON numbers: they stay strings, as in PostgreSQL.
        Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Float4 | Kind::Float8 | Kind::Numeric
            if is_number(text) =>
        {
            out.push_str(text);
        }
        Kind::Json | Kind::Jsonb => match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => out.push_str(value.get()),
            Err(_) => write_string(out, text),
        },
        Kind::Timestamp | Kind::TimestampTz => match iso_timestamp(text) {
            Some(iso) => write_string(out, &iso),
            None => write_string(out, text),
        },
        _ => write_string(out, text),
    }
}

pub(super) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if u32::from(control) < 0x20 => {
                push(out, format_args!("\\u{:04x}", u32::from(control)))
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Writes bytes as the string that PostgreSQL's `bytea` would print.
pub(super) fn write_hex_string(out: &mut String, bytes: &[u8]) {
    out.push_str("\"\\\\x");
    for byte in bytes {
        push(out, format_args!("{byte:02x}"));
    }
    out.push('"');
}

/// Formats into a `String`, which cannot fail.
pub(super) fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

/// Whether `text` is a number by JSON's grammar (RFC 8259, section 6).
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent
            .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// `2024-02-29 12:00:00+01` as `2024-02-29T12:00:00+01:00`, or `None` for what is not in `DateStyle` ISO.
fn iso_timestamp(text: &str) -> Option<String> {
    let (date, rest) = text.split_once(' ')?;
    if date.len() < 10
        || !date
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        return None;
    }
    let (time, era) = match rest.strip_suffix(" BC") {
        Some(time) => (time, " BC"),
        None => (rest, ""),
    };
    if !time
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b":.+-".contains(&byte))
    {
        return None;
    }
    let minutes = match time.rfind(['+', '-']) {
        Some(at) if time.len() - at == "+01".len() => ":00",
        _ => "",
    };
    Some(format!("{date}T{time}{minutes}{era}"))
}
