//! Arrays, in both formats, as nested JSON arrays.

use super::binary::{take_i32, take_value, to_text};
use super::geometry::Shape;
use super::json::{push, write_scalar};
use super::types::{self, Kind, Type};

/// Most dimensions an array has; PostgreSQL's `MAXDIM`.
const MAX_DIMENSIONS: usize = 6;

/// An array in binary format: where its elements are, and how they are counted.
struct Binary<'a> {
    kind: Kind,
    lengths: Vec<usize>,
    lower_bounds: Vec<i32>,
    elements: &'a [u8],
}

/// Reads the head of what `array_send` sent. An array without elements has no dimensions.
fn read_binary(mut bytes: &[u8]) -> Option<Binary<'_>> {
    let dimension_count = usize::try_from(take_i32(&mut bytes)?).ok()?;
    let _has_nulls = take_i32(&mut bytes)?;
    let element_oid = take_i32(&mut bytes)?.cast_unsigned();
    if dimension_count > MAX_DIMENSIONS {
        return None;
    }
    let (mut lengths, mut lower_bounds) = (Vec::new(), Vec::new());
    for _ in 0..dimension_count {
        lengths.push(usize::try_from(take_i32(&mut bytes)?).ok()?);
        lower_bounds.push(take_i32(&mut bytes)?);
    }
    // Each element has a length word, so the lengths cannot promise more than is there.
    let elements = lengths
        .iter()
        .try_fold(1_usize, |product, length| product.checked_mul(*length))?;
    if lengths.is_empty() || (elements == 0 && lengths.len() == 1) {
        // An empty `int2vector` or `oidvector` keeps its one dimension. What the elements would be does not matter.
        return bytes.is_empty().then_some(Binary {
            kind: Kind::Text,
            lengths: Vec::new(),
            lower_bounds: Vec::new(),
            elements: bytes,
        });
    }
    if elements == 0 || elements > bytes.len() / size_of::<i32>() {
        return None;
    }
    let Type::Scalar(kind) = types::lookup(element_oid) else {
        return None;
    };
    Some(Binary {
        kind,
        lengths,
        lower_bounds,
        elements: bytes,
    })
}

/// What separates elements in text: `;` for boxes, whose own text has commas.
fn delimiter(kind: Kind) -> char {
    match kind {
        Kind::Shape(Shape::Box) => ';',
        _ => ',',
    }
}

/// What `array_send` sent, as `array_out` prints it.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut array = read_binary(bytes)?;
    if array.lengths.is_empty() {
        return Some("{}".to_owned());
    }
    let mut out = String::new();
    if array.lower_bounds.iter().any(|bound| *bound != 1) {
        for (length, bound) in array.lengths.iter().zip(&array.lower_bounds) {
            let upper = i64::from(*bound) + i64::try_from(*length).ok()? - 1;
            push(&mut out, format_args!("[{bound}:{upper}]"));
        }
        out.push('=');
    }
    text_of_dimension(&mut out, array.kind, &array.lengths, &mut array.elements)?;
    array.elements.is_empty().then_some(out)
}

fn text_of_dimension(
    out: &mut String,
    kind: Kind,
    lengths: &[usize],
    bytes: &mut &[u8],
) -> Option<()> {
    let Some((length, inner)) = lengths.split_first() else {
        match take_value(bytes)? {
            None => out.push_str("NULL"),
            Some(value) => push_element(out, kind, &to_text(kind, value)?),
        }
        return Some(());
    };
    out.push('{');
    for index in 0..*length {
        if index > 0 {
            out.push(delimiter(kind));
        }
        text_of_dimension(out, kind, inner, bytes)?;
    }
    out.push('}');
    Some(())
}

/// An element as `array_out` quotes it.
fn push_element(out: &mut String, kind: Kind, text: &str) {
    let is_special = |c: char| {
        c.is_ascii_whitespace() || c == '\u{b}' || "{}\"\\".contains(c) || c == delimiter(kind)
    };
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

/// An `int2vector` or `oidvector` in binary format as its words.
pub(super) fn vector_text(bytes: &[u8]) -> Option<String> {
    let mut array = read_binary(bytes)?;
    let mut words = Vec::new();
    while !array.elements.is_empty() {
        words.push(to_text(array.kind, take_value(&mut array.elements)??)?);
    }
    Some(words.join(" "))
}

/// Writes what `array_send` sent, or `None` (with `out` in disorder) when it cannot be decoded.
pub(super) fn write_binary(out: &mut String, bytes: &[u8]) -> Option<()> {
    let mut array = read_binary(bytes)?;
    if array.lengths.is_empty() {
        out.push_str("[]");
        return Some(());
    }
    write_dimension(out, array.kind, &array.lengths, &mut array.elements)?;
    array.elements.is_empty().then_some(())
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
                next if next == delimiter(self.kind) => ',',
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
        let end = self.rest.find([delimiter(self.kind), '}'])?;
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
