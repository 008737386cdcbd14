//! Floating point and `numeric` values as PostgreSQL prints them.

use super::json::push;

/// From this decimal exponent on a `float4` is printed with an exponent (`float_to_shortest_decimal_buf`).
const FLOAT4_EXPONENT_FROM: i32 = 6;

/// The same for `float8` (`double_to_shortest_decimal_buf`).
const FLOAT8_EXPONENT_FROM: i32 = 15;

/// The largest negative exponent printed without one, less one.
const EXPONENT_BELOW: i32 = -4;

pub(super) fn float4_text(value: f32) -> String {
    if value.is_finite() {
        shortest(&format!("{value:e}"), FLOAT4_EXPONENT_FROM, || {
            value.to_string()
        })
    } else {
        special(f64::from(value))
    }
}

pub(super) fn float8_text(value: f64) -> String {
    if !value.is_finite() {
        return special(value);
    }
    let shortest_form = format!("{value:e}");
    let mantissa = shortest_form.split('e').next().unwrap_or_default();
    let decimals = mantissa.split('.').nth(1).map_or(0, str::len);
    // PostgreSQL takes no form that lies half-way to a neighbour, although it would be read back as the even one of the two.
    let decimals = decimals + usize::from(is_half_way(&shortest_form, value));
    // Of two shortest forms that are equally far from the value PostgreSQL prints the even one, Rust any.
    let even_form = format!("{value:.decimals$e}");
    if even_form.parse() == Ok(value) {
        let exponent = even_form.split('e').nth(1).and_then(|e| e.parse().ok());
        let places = exponent.and_then(|exponent: i32| {
            let places = i32::try_from(decimals).ok()?.checked_sub(exponent)?;
            usize::try_from(places).ok()
        });
        return shortest(&even_form, FLOAT8_EXPONENT_FROM, || match places {
            Some(places) => format!("{value:.places$}"),
            None => value.to_string(),
        });
    }
    shortest(&shortest_form, FLOAT8_EXPONENT_FROM, || value.to_string())
}

/// Whether the number that `scientific` shows lies exactly between `value` and a neighbour.
fn is_half_way(scientific: &str, value: f64) -> bool {
    const EXPONENT_BITS: u64 = 0x7FF;
    const MANTISSA_BITS: u32 = 52;
    let bits = value.to_bits();
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    let biased = (bits >> MANTISSA_BITS) & EXPONENT_BITS;
    // The value is `whole * 2^exponent`, half of the way to a neighbour `(2 * whole ± 1) * 2^(exponent - 1)`.
    let whole = u128::from(if biased == 0 {
        fraction
    } else {
        fraction | 1 << MANTISSA_BITS
    });
    let exponent = i32::try_from(biased.max(1)).unwrap_or(0) - 1075;
    let Some((number, power)) = decimal_parts(scientific) else {
        return false;
    };
    // `number * 10^power` without its powers of five.
    let without_fives = if power >= 0 {
        5_u128
            .checked_pow(power.unsigned_abs())
            .and_then(|fives| number.checked_mul(fives))
    } else {
        let fives = 5_u128.checked_pow(power.unsigned_abs());
        fives
            .filter(|fives| number.is_multiple_of(*fives))
            .map(|fives| number / fives)
    };
    let Some(product) = without_fives.filter(|product| *product > 0) else {
        return false;
    };
    let twos = product.trailing_zeros();
    let odd = product >> twos;
    (odd == 2 * whole + 1 || odd + 1 == 2 * whole)
        && i32::try_from(twos).is_ok_and(|twos| twos + power == exponent - 1)
}

/// `-1.25e-7` as 125 and -9.
fn decimal_parts(scientific: &str) -> Option<(u128, i32)> {
    let (mantissa, exponent) = scientific.trim_start_matches('-').split_once('e')?;
    let (units, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let number = format!("{units}{decimals}").parse().ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    Some((number, exponent - i32::try_from(decimals.len()).ok()?))
}

fn special(value: f64) -> String {
    let text = match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    };
    text.to_owned()
}

/// `scientific` is Rust's shortest form that reads back the same, such as `1.5e-7`; only its exponent differs.
fn shortest(scientific: &str, exponent_from: i32, plain: impl FnOnce() -> String) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return plain();
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent < EXPONENT_BELOW || exponent >= exponent_from => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => plain(),
    }
}

const NUMERIC_POSITIVE: u16 = 0x0000;
const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_NEGATIVE_INFINITY: u16 = 0xF000;

/// Most decimal places a `numeric` shows; PostgreSQL's `NUMERIC_DSCALE_MASK`.
const NUMERIC_MAX_SCALE: u16 = 0x3FFF;

/// Decodes what `numeric_send` sends: digit count, weight of the first digit, sign, scale, base-10000 digits.
pub(super) fn numeric_text(bytes: &[u8]) -> Option<String> {
    let (header, digits) = bytes.split_first_chunk::<8>()?;
    let [
        count_high,
        count_low,
        weight_high,
        weight_low,
        sign_high,
        sign_low,
        scale_high,
        scale_low,
    ] = *header;
    let count = usize::from(u16::from_be_bytes([count_high, count_low]));
    let weight = i16::from_be_bytes([weight_high, weight_low]);
    let scale = u16::from_be_bytes([scale_high, scale_low]);
    let sign = match u16::from_be_bytes([sign_high, sign_low]) {
        NUMERIC_POSITIVE => "",
        NUMERIC_NEGATIVE => "-",
        NUMERIC_NAN => return Some("NaN".to_owned()),
        NUMERIC_INFINITY => return Some("Infinity".to_owned()),
        NUMERIC_NEGATIVE_INFINITY => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let (digits, rest) = digits.as_chunks::<2>();
    let digits: Vec<u16> = digits
        .iter()
        .map(|digit| u16::from_be_bytes(*digit))
        .collect();
    if !rest.is_empty()
        || digits.len() != count
        || digits.iter().any(|digit| *digit > 9999)
        || scale > NUMERIC_MAX_SCALE
    {
        return None;
    }
    Some(numeric_from_digits(
        sign,
        weight,
        usize::from(scale),
        &digits,
    ))
}

fn numeric_from_digits(sign: &str, weight: i16, scale: usize, digits: &[u16]) -> String {
    // The digit of base 10000 at `position`, where 0 is the units; those not sent are zero.
    let digit = |position: i32| -> u16 {
        usize::try_from(i32::from(weight) - position)
            .ok()
            .and_then(|index| digits.get(index))
            .map_or(0, |d| *d)
    };
    let mut out = sign.to_owned();
    let highest = i32::from(weight);
    if highest < 0 || digits.is_empty() {
        out.push('0');
    } else {
        push(&mut out, format_args!("{}", digit(highest)));
        for position in (0..highest).rev() {
            push(&mut out, format_args!("{:04}", digit(position)));
        }
    }
    if scale > 0 {
        out.push('.');
        let end = out.len() + scale;
        let mut position = -1;
        while out.len() < end {
            push(&mut out, format_args!("{:04}", digit(position)));
            position -= 1;
        }
        out.truncate(end);
    }
    out
}
