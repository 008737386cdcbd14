//! Texts that go to the target in other words: `SHOW pglens.grant`, which the target answers with what we know, and
//! `SET statement_timeout` beyond what the grant allows.
//!
//! The target runs the substitute, so that the order of replies, descriptions and the transaction's state are its own.
//! The record shows what the client sent.

use std::fmt::Write;
use std::time::Duration;

use pglens_core::AccessLevel;

use super::quota::Left;
use crate::clock::rfc3339;
use crate::control::allowed::Grant;

/// The kind of `SHOW pglens.grant` in the record. It is no statement of the user's on the target's data, and no quota
/// counts it.
pub(crate) const SHOW_GRANT: &str = "SHOW GRANT";

/// Longest text that is looked at; what is meant here is short.
const MAX_TEXT_BYTES: usize = 256;

/// Whether the text asks for the grant. PostgreSQL's grammar has no such statement: "grant" is a reserved word.
pub(crate) fn is_show_grant(text: &[u8]) -> bool {
    // Most texts select.
    let selects = text
        .get(..2)
        .is_some_and(|two| two.eq_ignore_ascii_case(b"se"));
    if selects || text.len() > MAX_TEXT_BYTES {
        return false;
    }
    let is_around = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
    let begin = text.iter().position(|byte| !is_around(byte));
    let end = text.iter().rposition(|byte| !is_around(byte));
    let (Some(begin), Some(end)) = (begin, end) else {
        return false;
    };
    let text = text.get(begin..=end).unwrap_or_default();
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let mut is_next = |word: &[u8]| {
        words
            .next()
            .is_some_and(|next| next.eq_ignore_ascii_case(word))
    };
    is_next(b"show") && is_next(b"pglens.grant") && words.next().is_none()
}

/// A SELECT of one row of constants. Types and nothing else are named, all of them PostgreSQL's own wherever
/// `search_path` points.
pub(crate) fn grant_row(grant: &Grant, left: Left) -> String {
    let mut row = Row::default();
    row.number("grant_id", grant.id.0.try_into().ok());
    let level = match grant.access_level {
        AccessLevel::Read => "read",
        AccessLevel::Write => "write",
    };
    row.text("access_level", Some(level));
    row.time("starts_at", Some(grant.starts_at_unix_us));
    row.time("expires_at", Some(grant.expires_at_unix_us));
    row.text(
        "hours",
        Some(grant.schedule.as_str()).filter(|words| !words.is_empty()),
    );
    row.time("hours_end_at", grant.window.map(|(_, at)| at));
    row.number("max_queries", grant.max_queries);
    row.number("queries_left", left.queries);
    row.number("max_bytes", grant.max_bytes);
    row.number("bytes_left", left.bytes);
    row.number("max_connections", grant.max_connections.map(u64::from));
    let timeout = grant.statement_timeout.map(|limit| limit.as_millis());
    row.number(
        "statement_timeout_ms",
        timeout.and_then(|ms| ms.try_into().ok()),
    );
    row.flag("block_copy", grant.block_copy);
    row.flag("block_ddl", grant.block_ddl);
    row.text("audit_level", Some(grant.audit_level.as_str()));
    row.select
}

#[derive(Default)]
struct Row {
    select: String,
}

impl Row {
    fn column(&mut self, name: &str, kind: &str, value: Option<&str>) {
        let begin = if self.select.is_empty() {
            "SELECT"
        } else {
            ","
        };
        let value = value.map_or_else(|| "NULL".to_owned(), |value| format!("'{value}'"));
        // Writing to a string does not fail.
        let _written = write!(self.select, "{begin} {value}::pg_catalog.{kind} AS {name}");
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        let most = i64::MAX.unsigned_abs();
        let value = value.map(|value| value.min(most).to_string());
        self.column(name, "int8", value.as_deref());
    }

    /// What is no letter, digit or plain punctuation cannot leave its quotes: it does not get in.
    fn text(&mut self, name: &str, value: Option<&str>) {
        let plain = |c: char| {
            let is_plain = c.is_ascii_alphanumeric() || " _-+:;,./()".contains(c);
            if is_plain { c } else { '?' }
        };
        let value = value.map(|value| value.chars().map(plain).collect::<String>());
        self.column(name, "text", value.as_deref());
    }

    fn time(&mut self, name: &str, unix_us: Option<i64>) {
        self.column(name, "timestamptz", unix_us.map(rfc3339).as_deref());
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.column(name, "bool", Some(if value { "true" } else { "false" }));
    }
}

/// What a text sets `statement_timeout` to beyond `limit`: what to run in its place. Only a text that is nothing but such
/// a SET is looked at; what sets it in another way is ended by the proxy's own clock.
pub(crate) fn lowered_timeout(text: &str, limit: Duration) -> Option<String> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == ';');
    let spaced = text.replace('=', " = ").to_ascii_lowercase();
    let mut words = spaced.split_ascii_whitespace().peekable();
    if words.next()? != "set" {
        return None;
    }
    let scope = words.next_if(|word| ["session", "local"].contains(word));
    if !["statement_timeout", "\"statement_timeout\""].contains(&words.next()?) {
        return None;
    }
    if !["to", "="].contains(&words.next()?) {
        return None;
    }
    let value: Vec<&str> = words.collect();
    let value = value.join(" ");
    if value == "default" || value.contains(';') {
        return None;
    }
    let wanted = milliseconds(&value);
    let limit = limit.as_millis();
    if wanted.is_some_and(|ms| ms > 0 && ms <= limit) {
        return None;
    }
    let scope = scope.map_or_else(String::new, |scope| format!("{scope} "));
    Some(format!("SET {scope}statement_timeout TO {limit}"))
}

/// A whole number with one of PostgreSQL's units of time, in quotes or not; `None`: something else.
fn milliseconds(value: &str) -> Option<u128> {
    let value = value
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or(value)
        .trim();
    let digits = value.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = value.split_at(digits.unwrap_or(value.len()));
    let number: u128 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_core::{AuditLevel, GrantId};

    #[test]
    fn the_grant_is_asked_for_by_name() {
        let asks = |text: &str| is_show_grant(text.as_bytes());
        assert!(asks("SHOW pglens.grant") && asks("  show\n PGLENS.Grant ; "));
        assert!(!asks("show pglens.grants") && !asks("show pglens.grant; select 1"));
        assert!(!asks("show all") && !asks(""));
    }

    #[test]
    fn the_row_is_made_of_constants() {
        let grant = Grant {
            id: GrantId(7),
            access_level: AccessLevel::Read,
            expires_in: Duration::ZERO,
            starts_at_unix_us: 0,
            expires_at_unix_us: 1_000_000,
            window: None,
            schedule: "mon 09:00-17:00 (Europe/Berlin)'; drop table t; --\\".to_owned(),
            max_queries: Some(u64::MAX),
            max_bytes: None,
            max_connections: None,
            block_copy: true,
            block_ddl: false,
            statement_timeout: Some(Duration::from_millis(200)),
            audit_level: AuditLevel::Spooled,
        };
        let left = Left {
            queries: Some(5),
            bytes: None,
        };
        let row = grant_row(&grant, left);
        assert!(
            row.starts_with("SELECT '7'::pg_catalog.int8 AS grant_id, 'read'::pg_catalog.text")
        );
        assert!(row.contains("'1970-01-01T00:00:01Z'::pg_catalog.timestamptz AS expires_at"));
        assert!(
            row.contains("'mon 09:00-17:00 (Europe/Berlin)?; drop table t; --?'"),
            "{row}"
        );
        assert!(row.contains("'9223372036854775807'::pg_catalog.int8 AS max_queries"));
        assert!(row.contains("'5'::pg_catalog.int8 AS queries_left"));
        assert!(row.contains("NULL::pg_catalog.int8 AS bytes_left"));
    }

    #[test]
    fn a_timeout_may_be_lowered_and_no_more() {
        let limit = Duration::from_secs(2);
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(lowered_timeout(text, limit).as_deref(), expected, "{text}");
        };
        check("set statement_timeout = 1500", None);
        check("set statement_timeout to '2s'", None);
        check("SET statement_timeout TO DEFAULT", None);
        check("select 1", None);
        check(
            "set statement_timeout=0;",
            Some("SET statement_timeout TO 2000"),
        );
        check(
            "SET LOCAL statement_timeout TO '1 h'",
            Some("SET local statement_timeout TO 2000"),
        );
        check(
            "set session statement_timeout = -1",
            Some("SET session statement_timeout TO 2000"),
        );
        check("set statement_timeout = '0'; select 1", None);
        check(
            "set \"statement_timeout\" = 3000",
            Some("SET statement_timeout TO 2000"),
        );
        check("set lock_timeout = 0", None);
    }
}
