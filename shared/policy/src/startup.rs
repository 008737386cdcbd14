//! Startup parameters: settings that a client sends before the first statement (PostgreSQL manual, "StartupMessage").

mod options;

use pglens_core::AccessLevel;

use crate::guard::{SettingValue, judge_setting, normalised_name};
use crate::refusal::Refusal;

pub use options::parse_options;

/// Parameters that are no settings. The data plane has its own use for each.
const NOT_SETTINGS: [&str; 2] = ["user", "database"];

/// Prefix of protocol extensions, which the two ends of a connection negotiate.
const PROTOCOL_EXTENSION_PREFIX: &str = "_pq_.";

/// Settings that no grant may make at startup: they load code into the server's process, or change who is asking.
const REFUSED: [&str; 4] = [
    "session_preload_libraries",
    "local_preload_libraries",
    "role",
    "session_authorization",
];

/// Whether a startup parameter may be forwarded to the target, as it came. `options` is looked into.
///
/// # Errors
/// The refusal for the client; the session must not begin.
pub fn judge_startup_parameter(name: &str, value: &str, level: AccessLevel) -> Result<(), Refusal> {
    let name = normalised_name(name);
    match name.as_str() {
        "options" => parse_options(value)?
            .iter()
            .try_for_each(|(name, value)| judge_setting_at_startup(name, value, level)),
        "replication" if is_off(value) => Ok(()),
        "replication" => Err(Refusal {
            rule: "startup.replication",
            code: pglens_core::ErrorCode::Unsupported,
            message: "replication connections are not supported".to_owned(),
            detail: None,
            hint: None,
        }),
        _ if NOT_SETTINGS.contains(&name.as_str()) => Ok(()),
        _ if name.starts_with(PROTOCOL_EXTENSION_PREFIX) => Ok(()),
        _ => judge_setting_at_startup(&name, value, level),
    }
}

fn judge_setting_at_startup(name: &str, value: &str, level: AccessLevel) -> Result<(), Refusal> {
    let name = normalised_name(name);
    if REFUSED.contains(&name.as_str()) {
        let refusal = Refusal::control(
            "startup.setting",
            format!("parameter \"{name}\" cannot be set at the start of a session"),
            "It would load code into the server or change who is asking.",
        );
        return Err(refusal.with_hint("No grant allows it; connect without it."));
    }
    match level {
        AccessLevel::Write => Ok(()),
        AccessLevel::Read => judge_setting(&name, SettingValue::Constant(value)),
    }
}

/// The spellings of `false` that `parse_bool` knows.
fn is_off(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, value: &str, level: AccessLevel) -> Option<&'static str> {
        judge_startup_parameter(name, value, level)
            .err()
            .map(|refusal| refusal.rule)
    }

    #[test]
    fn parameters_are_judged_by_level() {
        use AccessLevel::{Read, Write};
        let check = |name, value, read, write| {
            assert_eq!(
                (rule(name, value, Read), rule(name, value, Write)),
                (read, write),
                "{name}={value}"
            );
        };
        let (setting, startup) = (Some("read_grant.setting"), Some("startup.setting"));
        check("user", "demo", None, None);
        check("database", "demo", None, None);
        check("application_name", "psql", None, None);
        check("client_encoding", "UTF8", None, None);
        check("client_encoding", "LATIN1", setting, None);
        check("DateStyle", "ISO", None, None);
        check("TimeZone", "Europe/Berlin", None, None);
        check("extra_float_digits", "2", None, None);
        check("_pq_.some_extension", "1", None, None);
        check("default_transaction_read_only", "off", setting, None);
        check("default_transaction_read_only", "on", None, None);
        check("standard_conforming_strings", "off", setting, None);
        check("session_replication_role", "replica", setting, None);
        check("unheard_of", "x", setting, None);
        check("ROLE", "postgres", startup, startup);
        check("session_authorization", "postgres", startup, startup);
        check("session_preload_libraries", "x", startup, startup);
        check("local_preload_libraries", "x", startup, startup);
        check(
            "replication",
            "database",
            Some("startup.replication"),
            Some("startup.replication"),
        );
        check("replication", "f", None, None);
        check(
            "replication",
            "",
            Some("startup.replication"),
            Some("startup.replication"),
        );
    }

    #[test]
    fn options_are_looked_into() {
        use AccessLevel::{Read, Write};
        assert_eq!(rule("options", "-c search_path=a,b --jit=off", Read), None);
        assert_eq!(
            rule("options", "-c geqo=off -crole=postgres", Write),
            Some("startup.setting")
        );
        assert_eq!(
            rule("options", "--session-authorization=x", Write),
            Some("startup.setting")
        );
        assert_eq!(
            rule("options", "--default-transaction-read-only=off", Read),
            Some("read_grant.setting")
        );
        assert_eq!(
            rule("options", "-c Default_Transaction_Read_Only=off", Write),
            None
        );
        assert_eq!(rule("options", "-O", Write), Some("startup.options"));
    }
}
