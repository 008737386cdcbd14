//! Dates, times and intervals as PostgreSQL prints them in `DateStyle` ISO and `IntervalStyle` postgres.

use super::binary::fixed;
use super::json::push;

/// Days from 0000-03-01, where the calendar arithmetic below starts, to PostgreSQL's epoch 2000-01-01.
const EPOCH_DAYS: i64 = 730_425;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// `days` since 2000-01-01.
pub(super) fn date_text(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        _ => {
            let (date, era) = date_and_era(i64::from(days));
            format!("{date}{era}")
        }
    }
}

/// `micros` since midnight; 24:00:00 is a time of its own.
pub(super) fn time_text(micros: i64) -> Option<String> {
    (0..=MICROS_PER_DAY)
        .contains(&micros)
        .then(|| clock(micros))
}

/// A time and the zone's seconds west of Greenwich.
pub(super) fn timetz_text(bytes: &[u8]) -> Option<String> {
    let (time, zone) = bytes.split_first_chunk::<8>()?;
    let west = i32::from_be_bytes(fixed(zone)?);
    let seconds = west.unsigned_abs();
    if seconds >= 86_400 {
        return None;
    }
    let mut out = time_text(i64::from_be_bytes(*time))?;
    out.push(if west > 0 { '-' } else { '+' });
    push(&mut out, format_args!("{:02}", seconds / 3600));
    if seconds % 3600 != 0 {
        push(&mut out, format_args!(":{:02}", seconds / 60 % 60));
    }
    if seconds % 60 != 0 {
        push(&mut out, format_args!(":{:02}", seconds % 60));
    }
    Some(out)
}

/// `micros` since 2000-01-01 00:00:00; `zone` is printed behind the time.
pub(super) fn timestamp_text(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => {
            let (date, era) = date_and_era(micros.div_euclid(MICROS_PER_DAY));
            format!(
                "{date} {}{zone}{era}",
                clock(micros.rem_euclid(MICROS_PER_DAY))
            )
        }
    }
}

/// The proleptic Gregorian date of a day since 2000-01-01, by counting eras of 400 years from a March.
fn date_and_era(days: i64) -> (String, &'static str) {
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if year > 0 {
        (format!("{year:04}-{month:02}-{day:02}"), "")
    } else {
        (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC")
    }
}

/// `HH:MM:SS[.ffffff]` of a number that is not negative.
fn clock(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let mut out = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let fraction = micros % MICROS_PER_SECOND;
    if fraction != 0 {
        push(&mut out, format_args!(".{fraction:06}"));
        out.truncate(out.trim_end_matches('0').len());
    }
    out
}

/// Microseconds, days, months. All at their ends is an infinity, since PostgreSQL 17.
pub(super) fn interval_text(bytes: &[u8]) -> Option<String> {
    let (time, rest) = bytes.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    let (time, days) = (i64::from_be_bytes(*time), i32::from_be_bytes(*days));
    let months = i32::from_be_bytes(fixed(months)?);
    match (time, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return Some("infinity".to_owned()),
        (i64::MIN, i32::MIN, i32::MIN) => return Some("-infinity".to_owned()),
        _ => {}
    }
    let mut out = String::new();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let blank = if out.is_empty() { "" } else { " " };
        let sign = if after_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        push(
            &mut out,
            format_args!("{blank}{sign}{value} {unit}{plural}"),
        );
        after_negative = value < 0;
    }
    if time != 0 || out.is_empty() {
        let blank = if out.is_empty() { "" } else { " " };
        let sign = match time {
            ..0 => "-",
            _ if after_negative => "+",
            _ => "",
        };
        let magnitude = i64::try_from(time.unsigned_abs()).unwrap_or(i64::MAX);
        push(&mut out, format_args!("{blank}{sign}{}", clock(magnitude)));
    }
    Some(out)
}
