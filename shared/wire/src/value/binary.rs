//! From binary format to the text that a type's output function would print.
//!
//! `None` means that the bytes are not a value of the type.

use std::net::{Ipv4Addr, Ipv6Addr};

use uuid::Uuid;

use super::types::Kind;
use super::{composite, datetime, geometry, json, number, range};

pub(super) fn to_text(kind: Kind, bytes: &[u8]) -> Option<String> {
    match kind {
        Kind::Bool => match bytes {
            [0] => Some("f".to_owned()),
            [1] => Some("t".to_owned()),
            _ => None,
        },
        Kind::Int2 => Some(i16::from_be_bytes(fixed(bytes)?).to_string()),
        Kind::Int4 => Some(i32::from_be_bytes(fixed(bytes)?).to_string()),
        Kind::Int8 => Some(i64::from_be_bytes(fixed(bytes)?).to_string()),
        Kind::Float4 => Some(number::float4_text(f32::from_be_bytes(fixed(bytes)?))),
        Kind::Float8 => Some(number::float8_text(f64::from_be_bytes(fixed(bytes)?))),
        Kind::Numeric => number::numeric_text(bytes),
        Kind::Oid => Some(u32::from_be_bytes(fixed(bytes)?).to_string()),
        Kind::Xid8 => Some(u64::from_be_bytes(fixed(bytes)?).to_string()),
        Kind::Text | Kind::Json => text(bytes),
        Kind::Jsonb => match bytes.split_first()? {
            (1, rest) => text(rest), // the only version of jsonb's binary format
            _ => None,
        },
        Kind::Bytea => Some(bytea_text(bytes)),
        Kind::Uuid => Some(Uuid::from_bytes(fixed(bytes)?).hyphenated().to_string()),
        Kind::Date => Some(datetime::date_text(i32::from_be_bytes(fixed(bytes)?))),
        Kind::Time => datetime::time_text(i64::from_be_bytes(fixed(bytes)?)),
        Kind::TimeTz => datetime::timetz_text(bytes),
        Kind::Timestamp => Some(datetime::timestamp_text(
            i64::from_be_bytes(fixed(bytes)?),
            "",
        )),
        Kind::TimestampTz => Some(datetime::timestamp_text(
            i64::from_be_bytes(fixed(bytes)?),
            "+00",
        )),
        Kind::Interval => datetime::interval_text(bytes),
        Kind::Inet => inet_text(bytes),
        Kind::MacAddr => mac_text(bytes),
        Kind::Bit => bit_text(bytes),
        Kind::Lsn => {
            let position = u64::from_be_bytes(fixed(bytes)?);
            Some(format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff))
        }
        Kind::Tid => {
            let (block, offset) = bytes.split_first_chunk::<4>()?;
            Some(format!(
                "({},{})",
                u32::from_be_bytes(*block),
                u16::from_be_bytes(fixed(offset)?)
            ))
        }
        Kind::Range(element) => range::text(element, bytes),
        Kind::Multirange(element) => composite::multirange(element, bytes),
        Kind::Money => composite::money(bytes),
        Kind::Shape(shape) => geometry::text(shape, bytes),
        Kind::Lexemes => composite::lexemes(bytes),
        Kind::JsonPath => match bytes.split_first()? {
            (1, rest) => text(rest), // the only version of jsonpath's binary format
            _ => None,
        },
        Kind::Snapshot => composite::snapshot(bytes),
        Kind::Record => composite::record(bytes),
    }
}

/// Exactly `N` bytes.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Takes a big-endian `i32` off the front.
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}

/// Takes a value preceded by its length off the front; the inner `None` is NULL.
pub(super) fn take_value<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match take_i32(bytes)? {
        -1 => Some(None),
        length => {
            let (value, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
            *bytes = rest;
            Some(Some(value))
        }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0] => Some(String::new()), // the empty "char"; no other text holds a null byte
        _ => std::str::from_utf8(bytes).ok().map(str::to_owned),
    }
}

fn bytea_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 + 2 * bytes.len());
    out.push_str("\\x");
    for byte in bytes {
        json::push(&mut out, format_args!("{byte:02x}"));
    }
    out
}

/// Address family numbers of `inet_send`; PostgreSQL's `PGSQL_AF_INET` and the one after it, on every platform.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;

fn inet_text(bytes: &[u8]) -> Option<String> {
    let (&[family, prefix_bits, is_cidr, length], address) = bytes.split_first_chunk::<4>()?;
    if usize::from(length) != address.len() || is_cidr > 1 {
        return None;
    }
    let (text, all_bits) = match family {
        FAMILY_V4 => (Ipv4Addr::from(fixed::<4>(address)?).to_string(), 32),
        FAMILY_V6 => (Ipv6Addr::from(fixed::<16>(address)?).to_string(), 128),
        _ => return None,
    };
    match prefix_bits {
        bits if bits > all_bits => None,
        bits if bits == all_bits && is_cidr == 0 => Some(text),
        bits => Some(format!("{text}/{bits}")),
    }
}

fn mac_text(bytes: &[u8]) -> Option<String> {
    if !matches!(bytes.len(), 6 | 8) {
        return None;
    }
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(parts.join(":"))
}

fn bit_text(mut bytes: &[u8]) -> Option<String> {
    let bits = usize::try_from(take_i32(&mut bytes)?).ok()?;
    if bytes.len() != bits.div_ceil(8) {
        return None;
    }
    let digits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| (byte >> shift) & 1 == 1));
    Some(
        digits
            .take(bits)
            .map(|bit| if bit { '1' } else { '0' })
            .collect(),
    )
}
