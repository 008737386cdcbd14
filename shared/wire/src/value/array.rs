//! Arrays, in both formats, as nested JSON arrays.

use super::binary::{take_i32, take_value, to_text};
use super::json::write_scalar;
use super::types::{self, Kind, Type};

/// Most dimensions an array has; PostgreSQL's `MAXDIM`.
const MAX_DIMENSIONS: usize = 6;

/// Writes what `array_send` sent, or `None` (with `out` in disorder) when it cannot be decoded.
pub(super) fn write_binary(out: &mut String, mut bytes: &[u8]) -> Option<()> {
    let dimension_count = usize::try_from(take_i32(&mut bytes)?).ok()?;
    let _has_nulls = take_i32(&mut bytes)?;
    let element_oid = take_i32(&mut bytes)?.cast_unsigned();
    if dimension_count > MAX_DIMENSIONS {
        return None;
    }
    if dimension_count == 0 {
        out.push_str("[]");
        return bytes.is_empty().then_some(());
    }
    let Type::Scalar(kind) = types::lookup(element_oid) else {
        return None;
    };
    let mut lengths = Vec::with_capacity(dimension_count);
    for _ in 0..dimension_count {
        let length = usize::try_from(take_i32(&mut bytes)?).ok()?;
        let _lower_bound = take_i32(&mut bytes)?;
        lengths.push(length);
    }
    // Each element has a length word, so the lengths cannot promise more than is there; and none is zero.
    let mut elements = 1_usize;
    for length in &lengths {
        elements = elements.checked_mul(*length)?;
    }
    if elements == 0 && lengths.len() == 1 && bytes.is_empty() {
        out.push_str("[]"); // an empty `int2vector` or `oidvector` keeps its one dimension
        return Some(());
    }
    if elements == 0 || elements > bytes.len() / size_of::<i32>() {
        return None;
    }
    write_dimension(out, kind, &lengths, &mut bytes)?;
    bytes.is_empty().then_some(())
}

fn write_dimension(
    out: &mut String,
    kind: Kind,
    lengths: &[usize],
    bytes: &mut &[u8],
) -> Option<()> {
    let Some((length, inner)) = lengths.split_first() else {
        match take_value(bytes)? {
            None => out.push_str("null"),
            Some(value) => write_scalar(out, kind, &to_text(kind, value)?),
        }
        return Some(());
    };
    out.push('[');
    for index in 0..*length {
        if index > 0 {
            out.push(',');
        }
        write_dimension(out, kind, inner, bytes)?;
    }
    out.push(']');
    Some(())
}

/// Writes what `array_out` printed, or `None` (with `out` in disorder) when the braces do not match.
pub(super) fn write_text(out: &mut String, kind: Kind, text: &str) -> Option<()> {
    // Lower bounds other than 1 are printed in front: `[0:1]={a,b}`. JSON arrays have none.
    let text = match text.strip_prefix('[') {
        Some(_) => text.split_once('=')?.1,
        None => text,
    };
    let mut reader = TextReader { rest: text, kind };
    reader.write_array(out, MAX_DIMENSIONS)?;
    reader.rest.is_empty().then_some(())
}

/// Reads the syntax of the manual's section "Array Input and Output Syntax" as `array_out` prints it.
struct TextReader<'a> {
    rest: &'a str,
    kind: Kind,
}

impl TextReader<'_> {
    fn write_array(&mut self, out: &mut String, dimensions_left: usize) -> Option<()> {
        let dimensions_left = dimensions_left.checked_sub(1)?;
        self.rest = self.rest.strip_prefix('{')?;
        out.push('[');
        if let Some(rest) = self.rest.strip_prefix('}') {
            self.rest = rest;
            out.push(']');
            return Some(());
        }
        loop {
            match self.rest.chars().next()? {
                '{' => self.write_array(out, dimensions_left)?,
                '"' => self.write_quoted(out)?,
                _ => self.write_bare(out)?,
            }
            let mut rest = self.rest.chars();
            let next = rest.next()?;
            self.rest = rest.as_str();
            out.push(match next {
                ',' => ',',
                '}' => ']',
                _ => return None,
            });
            if next == '}' {
                return Some(());
            }
        }
    }

    fn write_quoted(&mut self, out: &mut String) -> Option<()> {
        let mut value = String::new();
        let mut chars = self.rest.chars();
        chars.next()?; // the opening quote
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(chars.next()?),
                other => value.push(other),
            }
        }
        self.rest = chars.as_str();
        write_scalar(out, self.kind, &value);
        Some(())
    }

    fn write_bare(&mut self, out: &mut String) -> Option<()> {
        let end = self.rest.find([',', '}'])?;
        let (value, rest) = self.rest.split_at_checked(end)?;
        match value {
            "" => return None,
            "NULL" => out.push_str("null"), // the word itself would be quoted
            _ => write_scalar(out, self.kind, value),
        }
        self.rest = rest;
        Some(())
    }
}

/// Writes `int2vector` and `oidvector`, printed as words between blanks.
pub(super) fn write_vector_text(out: &mut String, kind: Kind, text: &str) {
    out.push('[');
    for (index, word) in text.split_ascii_whitespace().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_scalar(out, kind, word);
    }
    out.push(']');
}
