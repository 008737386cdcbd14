//! Which filters make sense: what can match nothing is a mistake, and is said to be one.

use super::QueryFilter;
use crate::error::ServiceError;

/// A text to look for is a part of a statement, not a statement.
const MAX_TEXT_BYTES: usize = 1000;
/// Fingerprints are short words of the proxies' making.
const MAX_FINGERPRINT_BYTES: usize = 256;
/// An SQLSTATE (PostgreSQL manual, "PostgreSQL Error Codes").
const SQLSTATE_BYTES: usize = 5;

/// Refuses a filter that makes no sense.
///
/// # Errors
/// On the first field that cannot be used.
pub(super) fn filter(filter: &QueryFilter) -> Result<(), ServiceError> {
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from >= to
    {
        return Err(ServiceError::invalid("from", "must be before to"));
    }
    bounded("text", filter.text.as_deref(), MAX_TEXT_BYTES)?;
    bounded(
        "fingerprint",
        filter.fingerprint.as_deref(),
        MAX_FINGERPRINT_BYTES,
    )?;
    let is_letter = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    if let Some(sqlstate) = &filter.sqlstate
        && (sqlstate.len() != SQLSTATE_BYTES || !sqlstate.bytes().all(is_letter))
    {
        let reason = "must be five digits and capital letters, for example 42501";
        return Err(ServiceError::invalid("sqlstate", reason));
    }
    for (field, least) in [
        ("min_duration_us", filter.min_duration_us),
        ("min_rows", filter.min_rows),
    ] {
        if least.is_some_and(|least| least < 0) {
            return Err(ServiceError::invalid(field, "must not be negative"));
        }
    }
    Ok(())
}

fn bounded(field: &str, text: Option<&str>, max_bytes: usize) -> Result<(), ServiceError> {
    match text.map(str::len) {
        Some(0) => Err(ServiceError::invalid(field, "must not be empty")),
        Some(length) if length > max_bytes => {
            let reason = format!("must not have more than {max_bytes} bytes");
            Err(ServiceError::invalid(field, reason))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &QueryFilter, field: &str) {
        let error = super::filter(filter).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{error}");
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        let all = QueryFilter::default();
        super::filter(&all).unwrap();
        let now = Some(chrono::Utc::now());
        check(
            &QueryFilter {
                from: now,
                to: now,
                ..all.clone()
            },
            "from",
        );
        let text = Some(String::new());
        check(
            &QueryFilter {
                text,
                ..all.clone()
            },
            "text",
        );
        let fingerprint = Some("a".repeat(257));
        check(
            &QueryFilter {
                fingerprint,
                ..all.clone()
            },
            "fingerprint",
        );
        for wrong in ["", "42", "4250a", "425010"] {
            let sqlstate = Some(wrong.to_owned());
            check(
                &QueryFilter {
                    sqlstate,
                    ..all.clone()
                },
                "sqlstate",
            );
        }
        let negative = Some(-1);
        check(
            &QueryFilter {
                min_rows: negative,
                ..all.clone()
            },
            "min_rows",
        );
        check(
            &QueryFilter {
                min_duration_us: negative,
                ..all
            },
            "min_duration_us",
        );
    }
}
