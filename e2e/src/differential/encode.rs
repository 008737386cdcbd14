//! Steps as the bytes of their messages. Written by hand rather than with the product's own encoders, which would agree
//! with the product's decoders.

use super::script::{Step, Value};

/// The message of a step; nothing for those that send none.
pub fn message(step: &Step) -> Vec<u8> {
    match step {
        Step::Query(sql) => frame(b'Q', &[cstr(sql)]),
        Step::Parse { name, types, sql } => {
            let oids = types.iter().flat_map(|oid| oid.to_be_bytes()).collect();
            frame(b'P', &[cstr(name), cstr(sql), count(types.len()), oids])
        }
        Step::Bind {
            portal,
            statement,
            values,
            result_formats,
        } => frame(
            b'B',
            &[
                cstr(portal),
                cstr(statement),
                with_formats(values),
                list(result_formats),
            ],
        ),
        Step::Describe(subject, name) => frame(b'D', &[vec![*subject], cstr(name)]),
        Step::Close(subject, name) => frame(b'C', &[vec![*subject], cstr(name)]),
        Step::Execute(portal, max_rows) => {
            frame(b'E', &[cstr(portal), max_rows.to_be_bytes().to_vec()])
        }
        Step::Call {
            function,
            values,
            result_format,
        } => frame(
            b'F',
            &[
                function.to_be_bytes().to_vec(),
                with_formats(values),
                result_format.to_be_bytes().to_vec(),
            ],
        ),
        Step::Message(tag, payload) => frame(*tag, std::slice::from_ref(payload)),
        Step::Bytes(bytes) => bytes.clone(),
        Step::Wait(..) | Step::WaitForEnd | Step::Elsewhere(_) | Step::Cancel => Vec::new(),
    }
}

/// A message of this type.
pub fn frame(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(counted(&parts.concat()));
    out
}

/// A payload behind its length, which counts itself.
pub fn counted(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 4).expect("a message is short");
    [&length.to_be_bytes(), payload].concat()
}

pub(super) fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn count(items: usize) -> Vec<u8> {
    let items = u16::try_from(items).expect("at most 65,535 items");
    items.to_be_bytes().to_vec()
}

fn list(formats: &[u16]) -> Vec<u8> {
    let items = formats.iter().flat_map(|format| format.to_be_bytes());
    [count(formats.len()), items.collect()].concat()
}

/// Formats, then values: no formats when all are text, one for all when all are binary, else one for each.
fn with_formats(values: &[Value]) -> Vec<u8> {
    let is_binary = |value: &Value| u16::from(matches!(value, Value::Binary(_)));
    let each: Vec<u16> = values.iter().map(is_binary).collect();
    let formats = match each.as_slice() {
        formats if !formats.contains(&1) => Vec::new(),
        formats if !formats.contains(&0) => vec![1],
        formats => formats.to_vec(),
    };
    let mut out = [list(&formats), count(values.len())].concat();
    for value in values {
        match value {
            Value::Null => out.extend((-1_i32).to_be_bytes()),
            Value::Text(bytes) | Value::Binary(bytes) => {
                let length = u32::try_from(bytes.len()).expect("a value is short");
                out.extend(length.to_be_bytes());
                out.extend(bytes);
            }
        }
    }
    out
}

/// A text of a script with its escapes replaced; `None` if one of them is none.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend(before.bytes());
        let kind = after.chars().next()?;
        let behind = &after[kind.len_utf8()..];
        rest = behind;
        match kind {
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '\\' => out.push(b'\\'),
            '\'' => out.push(b'\''),
            'x' => {
                out.push(u8::from_str_radix(behind.get(..2)?, 16).ok()?);
                rest = &behind[2..];
            }
            '{' => {
                let (inside, after) = behind.split_once('}')?;
                let (text, times) = inside.rsplit_once('*')?;
                out.extend(text.repeat(times.parse().ok()?).bytes());
                rest = after;
            }
            _ => return None,
        }
    }
    out.extend(rest.bytes());
    Some(out)
}

#[test]
fn escapes_are_replaced_and_unknown_ones_refused() {
    let check = |text: &str| unescape(text).map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(
        check(r"a\tb\n\\\'\x41\{xy*3}z").as_deref(),
        Some("a\tb\n\\'Axyxyxyz")
    );
    assert_eq!(check(r"\q"), None);
    assert_eq!(check(r"\x4"), None);
}
