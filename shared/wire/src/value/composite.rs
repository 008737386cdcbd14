//! Values made of other values, in binary format: composites, multiranges, lexemes, snapshots.

use super::binary::{fixed, take_i32, take_value, to_text};
use super::json::push;
use super::types::{self, Kind, Type};
use super::{array, range};

/// Composites inside of composites that are followed; deeper ones are shown as hex.
const MAX_DEPTH: u32 = 8;

/// What `record_send` sent, as `record_out` prints it.
pub(super) fn record(bytes: &[u8]) -> Option<String> {
    record_at(bytes, MAX_DEPTH)
}

/// A value of a type that is not in the table, if it can be nothing but a composite: it has fields, and they fill it.
pub(super) fn guessed_record(bytes: &[u8]) -> Option<String> {
    let has_fields = bytes
        .first_chunk::<4>()
        .is_some_and(|count| *count != [0; 4]);
    has_fields.then(|| record(bytes)).flatten()
}

fn record_at(mut bytes: &[u8], depth: u32) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let count = take_i32(&mut bytes)?;
    let mut out = "(".to_owned();
    for index in 0..count {
        if index > 0 {
            out.push(',');
        }
        let type_oid = take_i32(&mut bytes)?.cast_unsigned();
        if let Some(value) = take_value(&mut bytes)? {
            push_field(&mut out, &field(type_oid, value, depth)?);
        }
    }
    out.push(')');
    bytes.is_empty().then_some(out)
}

fn field(type_oid: u32, bytes: &[u8], depth: u32) -> Option<String> {
    match types::lookup(type_oid) {
        Type::Scalar(Kind::Record) => record_at(bytes, depth),
        Type::Scalar(kind) => to_text(kind, bytes),
        // An array of composites could hold itself without end.
        Type::Array(Kind::Record) => None,
        Type::Array(_) => array::text(bytes),
        Type::Vector(_) => array::vector_text(bytes),
        Type::Unknown => Some(
            record_at(bytes, depth)
                .unwrap_or_else(|| to_text(Kind::Bytea, bytes).unwrap_or_default()),
        ),
    }
}

/// A field as `record_out` quotes it.
fn push_field(out: &mut String, text: &str) {
    let is_special = |c: char| c.is_ascii_whitespace() || c == '\u{b}' || "\"\\(),".contains(c);
    if !text.is_empty() && !text.contains(is_special) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push(character);
        }
        out.push(character);
    }
    out.push('"');
}

/// What `multirange_send` sent.
pub(super) fn multirange(element: u32, mut bytes: &[u8]) -> Option<String> {
    let count = take_i32(&mut bytes)?;
    let mut out = "{".to_owned();
    for index in 0..count {
        let comma = if index > 0 { "," } else { "" };
        let one = range::text(element, take_value(&mut bytes)??)?;
        push(&mut out, format_args!("{comma}{one}"));
    }
    out.push('}');
    bytes.is_empty().then_some(out)
}

/// What `tsvectorsend` sent: lexemes, each with its positions and their weights.
pub(super) fn lexemes(mut bytes: &[u8]) -> Option<String> {
    const POSITION: u16 = 0x3fff;
    const WEIGHTS: [&str; 4] = ["", "C", "B", "A"];
    let count = take_i32(&mut bytes)?;
    let mut out = String::new();
    for index in 0..count {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (word, rest) = bytes.split_at_checked(end)?;
        let word = std::str::from_utf8(word).ok()?;
        let (positions, mut rest) = rest.get(1..)?.split_first_chunk::<2>()?;
        let word = word.replace('\\', "\\\\").replace('\'', "''");
        let blank = if index > 0 { " " } else { "" };
        push(&mut out, format_args!("{blank}'{word}'"));
        for number in 0..u16::from_be_bytes(*positions) {
            let (entry, after) = rest.split_first_chunk::<2>()?;
            let entry = u16::from_be_bytes(*entry);
            let weight = WEIGHTS.get(usize::from(entry >> 14))?;
            let before = if number == 0 { ':' } else { ',' };
            push(
                &mut out,
                format_args!("{before}{}{weight}", entry & POSITION),
            );
            rest = after;
        }
        bytes = rest;
    }
    bytes.is_empty().then_some(out)
}

/// What `pg_snapshot_send` sent.
pub(super) fn snapshot(mut bytes: &[u8]) -> Option<String> {
    let count = usize::try_from(take_i32(&mut bytes)?).ok()?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    let [first, last, running @ ..] = numbers else {
        return None;
    };
    if running.len() != count || !rest.is_empty() {
        return None;
    }
    let running: Vec<String> = running
        .iter()
        .map(|number| u64::from_be_bytes(*number).to_string())
        .collect();
    let [first, last] = [first, last].map(|number| u64::from_be_bytes(*number));
    Some(format!("{first}:{last}:{}", running.join(",")))
}

/// An amount in hundredths, as most locales have it. Which currency and how many decimals it has is the server's
/// `lc_monetary`, which is not on the wire.
pub(super) fn money(bytes: &[u8]) -> Option<String> {
    const HUNDREDTHS: u64 = 100;
    let amount = i64::from_be_bytes(fixed(bytes)?);
    let sign = if amount < 0 { "-" } else { "" };
    let (whole, part) = (
        amount.unsigned_abs() / HUNDREDTHS,
        amount.unsigned_abs() % HUNDREDTHS,
    );
    Some(format!("{sign}{whole}.{part:02}"))
}
