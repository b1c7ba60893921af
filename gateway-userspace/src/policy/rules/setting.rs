//! SET and RESET. A setting may be changed only if the statements after it still read, for the
//! server, as they read for the policy.

use crate::policy::{Reason, ReasonCode};

/// What SET may do with a setting.
enum Standing {
    /// Free.
    Harmless,
    /// Only this value, given in the form that the server compares: letters and digits.
    Only(&'static [&'static str], &'static str),
    /// Never: it changes how SQL is read, whose rights apply, or what is checked.
    Never,
    /// Not reviewed: only under `all: "*.*"`.
    Unreviewed,
}

/// Why a setting may not be set.
pub(super) enum Unsettable {
    /// Whatever a policy says.
    Never(Reason),
    /// By this policy.
    NotGranted(Reason),
}

/// Decides `SET name = value`; `everything` if `all: "*.*"` applies.
pub(super) fn weigh(
    name: &str,
    value: Option<&str>,
    everything: bool,
    grant: &str,
) -> Result<(), Unsettable> {
    let reason = |message: String, hint: String| Reason {
        code: ReasonCode::NotPermitted,
        message,
        rule: "default deny".to_owned(),
        hint,
    };
    let never = |message, hint| Err(Unsettable::Never(reason(message, hint)));
    match standing(name) {
        Standing::Harmless => Ok(()),
        Standing::Only(accepted, written) => match value {
            // RESET returns to what the session began with, which the session pins.
            None => Ok(()),
            Some(value) => {
                let plain: String = value
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .map(|c| c.to_ascii_lowercase())
                    .collect();
                if accepted.contains(&plain.as_str()) {
                    return Ok(());
                }
                never(
                    format!(
                        "setting {name} to anything but {written} is not possible through Cordon"
                    ),
                    format!(
                        "leave {name} at {written}: statements are checked as they read under it"
                    ),
                )
            }
        },
        // RESET returns to what the session began with: nothing else could have been set.
        Standing::Never if value.is_none() => Ok(()),
        Standing::Never => never(
            format!("changing the setting {name} is not possible through Cordon"),
            format!(
                "leave {name} as it is: it changes what statements mean or whose rights they have"
            ),
        ),
        Standing::Unreviewed if everything => Ok(()),
        Standing::Unreviewed => Err(Unsettable::NotGranted(reason(
            format!("changing the setting {name} is not granted"),
            format!("leave the setting out, or add `- all: \"*.*\"` to allow in grant {grant}"),
        ))),
    }
}

fn standing(name: &str) -> Standing {
    match name {
        "all"
        | "application_name"
        | "statement_timeout"
        | "lock_timeout"
        | "idle_in_transaction_session_timeout"
        | "idle_session_timeout"
        | "transaction_timeout"
        | "timezone"
        | "datestyle"
        | "intervalstyle"
        | "extra_float_digits"
        | "bytea_output"
        | "client_min_messages"
        | "search_path"
        | "default_transaction_isolation"
        | "default_transaction_read_only"
        | "default_transaction_deferrable"
        // SET TRANSACTION, SET SESSION CHARACTERISTICS: modes of transactions, nothing else.
        | "transaction"
        | "session characteristics"
        | "transaction snapshot"
        // Off makes the server refuse what policies would filter; neither value gives a right.
        | "row_security"
        | "transaction_isolation"
        | "transaction_read_only"
        | "transaction_deferrable"
        | "jit"
        | "work_mem"
        | "hash_mem_multiplier"
        | "maintenance_work_mem"
        | "random_page_cost"
        | "seq_page_cost"
        | "cpu_tuple_cost"
        | "cpu_index_tuple_cost"
        | "cpu_operator_cost"
        | "effective_cache_size"
        | "geqo"
        | "join_collapse_limit"
        | "from_collapse_limit"
        | "plan_cache_mode"
        | "constraint_exclusion"
        | "cursor_tuple_fraction"
        | "max_parallel_workers_per_gather"
        | "synchronize_seqscans"
        | "synchronous_commit"
        | "xmloption"
        | "lc_monetary"
        | "lc_numeric"
        | "lc_time" => Standing::Harmless,
        "client_encoding" => Standing::Only(&["utf8", "unicode"], "UTF8"),
        "standard_conforming_strings" => Standing::Only(&["on", "true", "yes", "1"], "on"),
        "role"
        | "session_authorization"
        | "session_replication_role"
        | "allow_system_table_mods"
        | "backslash_quote"
        | "array_nulls"
        | "transform_null_equals"
        | "lo_compat_privileges"
        | "local_preload_libraries"
        | "session_preload_libraries"
        | "dynamic_library_path"
        | "zero_damaged_pages"
        | "ignore_system_indexes"
        | "ignore_checksum_failure" => Standing::Never,
        name if name.starts_with("jit_")
            || name.starts_with("enable_")
            || name.starts_with("geqo_") =>
        {
            Standing::Harmless
        }
        _ => Standing::Unreviewed,
    }
}

#[cfg(test)]
mod tests {
    use super::weigh;

    fn allowed(name: &str, value: Option<&str>, everything: bool) -> bool {
        weigh(name, value, everything, "g").is_ok()
    }

    #[test]
    fn settings_of_drivers_pass() {
        for name in [
            "application_name",
            "timezone",
            "search_path",
            "extra_float_digits",
            "enable_seqscan",
            "geqo_seed",
            "all",
            "transaction",
            "session characteristics",
            "row_security",
        ] {
            assert!(allowed(name, Some("x"), false), "{name}");
            assert!(allowed(name, None, false), "{name}");
        }
    }

    #[test]
    fn m13_settings_that_change_how_sql_is_read_keep_their_value() {
        for value in ["UTF8", "utf-8", "'UTF8'", "Unicode"] {
            assert!(allowed("client_encoding", Some(value), false), "{value}");
        }
        for value in ["LATIN1", "SQL_ASCII", "SJIS", "", "utf8x"] {
            assert!(!allowed("client_encoding", Some(value), true), "{value}");
        }
        assert!(allowed("standard_conforming_strings", Some("on"), false));
        for value in ["off", "false", "no", "0", "of"] {
            assert!(
                !allowed("standard_conforming_strings", Some(value), true),
                "{value}"
            );
        }
    }

    #[test]
    fn settings_that_change_whose_rights_apply_are_refused_even_under_all() {
        for name in ["role", "session_authorization", "session_replication_role"] {
            assert!(!allowed(name, Some("none"), true), "{name}");
            assert!(allowed(name, None, false), "{name}");
        }
    }

    #[test]
    fn settings_that_nobody_reviewed_need_all() {
        for name in [
            "app.user_id",
            "log_statement",
            "jitter",
            "default_tablespace",
        ] {
            assert!(!allowed(name, Some("1"), false), "{name}");
            assert!(allowed(name, Some("1"), true), "{name}");
        }
    }
}
