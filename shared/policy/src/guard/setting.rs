//! Settings that a read grant may change: an allow-list, because a setting can undo the guard in many ways.
//!
//! Settings of extensions (names with a dot) are refused until somebody knows what they do.

use crate::refusal::Refusal;

/// What a setting is set to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SettingValue<'a> {
    /// A value that is in the text.
    Constant(&'a str),
    /// Back to what the session began with.
    Default,
    /// Something only the server can evaluate.
    Opaque,
}

/// Settings whose every value is harmless: how values are shown and read, how queries are planned, when they are given
/// up. Sorted, for the search.
const HARMLESS: &[&str] = &[
    "application_name",
    "array_nulls",
    "backend_flush_after",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_min_messages",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "deadlock_timeout",
    "default_statistics_target",
    "default_text_search_config",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "effective_cache_size",
    "effective_io_concurrency",
    "escape_string_warning",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "geqo_effort",
    "geqo_generations",
    "geqo_pool_size",
    "geqo_seed",
    "geqo_selection_bias",
    "geqo_threshold",
    "gin_fuzzy_search_limit",
    "hash_mem_multiplier",
    "icu_validation_level",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "join_collapse_limit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "recursive_worktable_factor",
    "restrict_nonsystem_relation_kind",
    "row_security",
    "search_path",
    "seed",
    "seq_page_cost",
    "statement_timeout",
    "stats_fetch_consistency",
    "synchronize_seqscans",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "temp_buffers",
    "timezone",
    "timezone_abbreviations",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_timeout",
    "transform_null_equals",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// The planner's switches, of every version.
const HARMLESS_PREFIX: &str = "enable_";

/// Spellings of UTF-8 that `pg_char_to_encoding` knows, without punctuation.
const UTF8_NAMES: &[&str] = &["utf8", "unicode"];

/// The name as PostgreSQL looks settings up: without regard to case.
pub(crate) fn normalised_name(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Whether a read grant may give the setting this value.
pub(crate) fn judge_setting(name: &str, value: SettingValue<'_>) -> Result<(), Refusal> {
    let name = normalised_name(name);
    match name.as_str() {
        harmless if is_harmless(harmless) => Ok(()),
        // The parser reads UTF-8, and `\'` ends a string for it: what the server reads must be the same.
        "client_encoding" => judge_value(&name, "UTF8", value, is_utf8, Defaults::Harmless),
        "standard_conforming_strings" => judge_value(&name, "on", value, is_on, Defaults::Refused),
        "default_transaction_read_only" | "transaction_read_only" => {
            judge_value(&name, "on", value, is_on, Defaults::Refused)
        }
        _ => Err(refused(
            &name,
            "The setting is not on the list of those known to be harmless.",
        )),
    }
}

/// Whether the setting may have any value.
pub(crate) fn is_harmless_setting(name: &str) -> bool {
    is_harmless(&normalised_name(name))
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.binary_search(&name).is_ok() || name.starts_with(HARMLESS_PREFIX)
}

/// Whether going back to what the session began with is harmless too.
#[derive(Clone, Copy)]
enum Defaults {
    Harmless,
    Refused,
}

fn judge_value(
    name: &str,
    wanted: &str,
    value: SettingValue<'_>,
    is_wanted: fn(&str) -> bool,
    defaults: Defaults,
) -> Result<(), Refusal> {
    match (value, defaults) {
        (SettingValue::Constant(text), _) if is_wanted(text) => Ok(()),
        (SettingValue::Default, Defaults::Harmless) => Ok(()),
        _ => Err(refused(
            name,
            &format!("The only value it may be given is {wanted}."),
        )),
    }
}

fn is_utf8(value: &str) -> bool {
    let letters: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    UTF8_NAMES.contains(&letters.to_ascii_lowercase().as_str())
}

fn is_on(value: &str) -> bool {
    ["on", "true", "yes", "1", "t", "y"].contains(&value.to_ascii_lowercase().as_str())
}

fn refused(name: &str, detail: &str) -> Refusal {
    Refusal::read_grant(
        "read_grant.setting",
        format!("setting \"{name}\" cannot be changed under a read grant"),
        detail,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_for_its_search() {
        assert!(HARMLESS.is_sorted());
    }

    #[test]
    fn settings_are_judged_by_name_and_value() {
        use SettingValue::{Constant, Default, Opaque};
        let allowed = |name, value| judge_setting(name, value).is_ok();
        assert!(allowed("Search_Path", Opaque));
        assert!(allowed("enable_seqscan", Constant("off")));
        assert!(allowed("client_encoding", Constant("utf-8")));
        assert!(allowed("client_encoding", Default));
        assert!(!allowed("client_encoding", Constant("SJIS")));
        assert!(!allowed("client_encoding", Opaque));
        assert!(allowed("transaction_read_only", Constant("ON")));
        assert!(!allowed("transaction_read_only", Default));
        assert!(!allowed("TRANSACTION_READ_ONLY", Constant("off")));
        assert!(!allowed("standard_conforming_strings", Constant("off")));
        assert!(!allowed("role", Constant("postgres")));
        assert!(!allowed("session_replication_role", Default));
        assert!(!allowed("pg_stat_statements.track", Constant("none")));
    }
}
