//! Values as they came on the wire, told as JSON the way PostgreSQL's own `to_json` tells them.
//!
//! A value in binary format is first decoded to the text its type's output function would print (module `binary`), and
//! text becomes JSON by its type's category (module `json`). What is not understood is shown, never dropped: text as a
//! string, bytes as a `"\x…"` string. No input panics.
//!
//! Differences from `to_json`: a `timestamptz` in binary format is shown in UTC, because its session's time zone is not
//! on the wire; text in a `DateStyle` other than ISO stays as it came; composites are shown as their text, and `money` in
//! binary format as a plain number. Types that are not in the table are text in text format and hex in binary format,
//! unless what came can only be a composite.

mod array;
mod binary;
mod composite;
mod datetime;
mod geometry;
mod json;
mod number;
mod range;
#[cfg(test)]
mod tests;
mod text;
mod types;

use serde_json::value::RawValue;

pub use text::to_text;
pub use types::type_name;

/// How the bytes of a value are to be read (PostgreSQL manual, "Formats and Format Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// What the type's output function prints, in UTF-8.
    Text,
    /// What the type's send function sends.
    Binary,
}

impl Format {
    /// Reads a format code; only 0 and 1 exist.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// Appends the value as one JSON value to `out`; `None` is SQL's NULL.
///
/// The result is about as long as the value's text. A `numeric` with a great exponent has a text far longer than its
/// bytes: up to 147 kB, as in PostgreSQL itself.
pub fn write_json(out: &mut String, type_oid: u32, format: Format, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        out.push_str("null");
        return;
    };
    let start = out.len();
    let written = match format {
        Format::Text => json::write_text(out, types::lookup(type_oid), bytes),
        Format::Binary => json::write_binary(out, types::lookup(type_oid), bytes),
    };
    if written.is_none() {
        out.truncate(start);
        json::write_hex_string(out, bytes);
    }
}

/// The value as one JSON value of its own; see [`write_json`].
#[must_use]
pub fn to_json(type_oid: u32, format: Format, bytes: Option<&[u8]>) -> Box<RawValue> {
    let mut out = String::new();
    write_json(&mut out, type_oid, format, bytes);
    // `write_json` writes nothing that is not JSON, so the default (null) is never taken.
    RawValue::from_string(out).unwrap_or_default()
}
