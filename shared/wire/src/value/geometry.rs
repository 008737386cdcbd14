//! Geometric types in binary format as the text that their output functions print.

use super::binary::take_i32;
use super::json::push;
use super::number::float8_text;

/// Shapes by what they are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Point,
    Line,
    Segment,
    Box,
    Path,
    Polygon,
    Circle,
}

pub(super) fn text(shape: Shape, mut bytes: &[u8]) -> Option<String> {
    let bytes = &mut bytes;
    let text = match shape {
        Shape::Point => point(bytes)?,
        Shape::Line => {
            let (a, b, c) = (number(bytes)?, number(bytes)?, number(bytes)?);
            format!("{{{a},{b},{c}}}")
        }
        Shape::Segment => format!("[{},{}]", point(bytes)?, point(bytes)?),
        Shape::Box => format!("{},{}", point(bytes)?, point(bytes)?),
        Shape::Path => {
            let (&closed, rest) = bytes.split_first()?;
            *bytes = rest;
            match closed {
                0 => format!("[{}]", points(bytes)?),
                1 => format!("({})", points(bytes)?),
                _ => return None,
            }
        }
        Shape::Polygon => format!("({})", points(bytes)?),
        Shape::Circle => format!("<{},{}>", point(bytes)?, number(bytes)?),
    };
    bytes.is_empty().then_some(text)
}

fn number(bytes: &mut &[u8]) -> Option<String> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(float8_text(f64::from_be_bytes(*head)))
}

fn point(bytes: &mut &[u8]) -> Option<String> {
    Some(format!("({},{})", number(bytes)?, number(bytes)?))
}

/// A number of points and these. Each has its bytes, so the number cannot promise more than is there.
fn points(bytes: &mut &[u8]) -> Option<String> {
    let count = take_i32(bytes)?;
    let mut out = String::new();
    for index in 0..count {
        let comma = if index > 0 { "," } else { "" };
        push(&mut out, format_args!("{comma}{}", point(bytes)?));
    }
    Some(out)
}
