//! SET, RESET and `set_config`. A setting may be changed only if the statements after it still
//! read, for the server, as they read for the policy.

use super::kind::is_everything;
use crate::{
    policy::{
        Reason, ReasonCode,
        evaluate::{Weighing, line},
        grant::{Rule, Verb},
        pattern::qualified,
    },
    sql::{SettingChange, SettingValue},
};

/// What SET may do with a setting.
enum Standing {
    /// Free.
    Harmless,
    /// Only these values, given in the form that the server compares: letters and digits.
    Only(&'static [&'static str], &'static str),
    /// Whose rights apply: only those of the login, which are what it has.
    Rights,
    /// Never: it changes how SQL is read or what is checked.
    Never,
    /// Of an application or an extension: `set` rules name it.
    Custom,
    /// Not reviewed: only under `all: "*.*"`.
    Unreviewed,
}

/// Decides a change of a setting.
pub(in crate::policy) fn weigh(
    weighing: &mut Weighing<'_>,
    change: &SettingChange,
) -> Result<(), Reason> {
    let name = change.name.as_str();
    let value = match &change.value {
        // What the session began with; whatever the job was allowed to set since is undone.
        SettingValue::Default => return Ok(()),
        SettingValue::To(value) => Some(value.as_str()),
        SettingValue::Parameter(_) => None,
    };
    let never = |message: String, hint: String| {
        Err(Reason {
            code: ReasonCode::NotPermitted,
            message,
            rule: "default deny".to_owned(),
            hint,
        })
    };
    match standing(name) {
        Standing::Harmless => Ok(()),
        Standing::Only(accepted, written) => {
            let plain: Option<String> = value.map(|value| {
                value
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .map(|c| c.to_ascii_lowercase())
                    .collect()
            });
            if plain.is_some_and(|plain| accepted.contains(&plain.as_str())) {
                return Ok(());
            }
            never(
                format!("setting {name} to anything but {written} is not possible through Cordon"),
                format!("leave {name} at {written}: statements are checked as they read under it"),
            )
        }
        Standing::Rights => {
            let login = weighing.admission.login();
            // NONE is the role that the session logged in as.
            if value == Some(login) || (name == "role" && value == Some("none")) {
                return Ok(());
            }
            never(
                format!("changing the setting {name} is not possible through Cordon"),
                format!("the job works with the rights of {login} alone: leave {name} as it is"),
            )
        }
        Standing::Never => never(
            format!("changing the setting {name} is not possible through Cordon"),
            format!(
                "leave {name} as it is: it changes what statements mean or whose rights they have"
            ),
        ),
        Standing::Custom => by_rule(weighing, name, Some(name)),
        Standing::Unreviewed => by_rule(weighing, name, None),
    }
}

/// Deny, then approve, then allow. `custom`: the name that `set` rules may match.
fn by_rule(weighing: &mut Weighing<'_>, name: &str, custom: Option<&str>) -> Result<(), Reason> {
    let parts = custom.and_then(|name| name.split_once('.'));
    let names = |rule: &Rule| match rule.verb {
        Verb::Set => parts.is_some_and(|(prefix, name)| {
            let mut targets = rule.targets.iter();
            targets.any(|target| target.object.matches(prefix, name))
        }),
        Verb::All => is_everything(rule),
        Verb::Select
        | Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Truncate
        | Verb::Call
        | Verb::Ddl => false,
    };
    let what = format!("changing the setting {name}");
    let admission = weighing.admission;
    for (grant, index, rule) in admission.deny_rules() {
        if names(rule) {
            weighing.denied(&what, grant, index, rule)?;
        }
    }
    let mut allowed = false;
    for (grant, index, approve) in admission.approve_rules() {
        if names(&approve.rule) {
            weighing.hold(grant, index, approve, &what, false);
            allowed = true;
        }
    }
    for (grant, rule) in admission.allow_rules() {
        if names(rule) {
            weighing.allowed_by(grant);
            allowed = true;
        }
    }
    if allowed {
        return Ok(());
    }
    let reason = match parts {
        Some((prefix, name)) => {
            let mut reason = weighing.default_deny(&what, &line("set", &qualified(prefix, name)));
            reason
                .hint
                .push_str(", if nothing that row-level security or functions read from it is meant to bind this job");
            reason
        }
        None => weighing.default_deny(&what, "- all: \"*.*\""),
    };
    weighing.refuse_by_default(false, reason)
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
        // Followed by the session, which looks at its value.
        | "search_path"
        | "default_transaction_isolation"
        | "default_transaction_read_only"
        | "default_transaction_deferrable"
        // SET TRANSACTION, SET SESSION CHARACTERISTICS: modes of transactions, nothing else.
        | "transaction"
        | "session characteristics"
        | "transaction snapshot"
        // SET CONSTRAINTS: when they are checked.
        | "constraints"
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
        | "lc_time"
        // How much work a statement may take.
        | "backend_flush_after"
        | "client_connection_check_interval"
        | "commit_siblings"
        | "debug_parallel_query"
        | "default_statistics_target"
        | "effective_io_concurrency"
        | "force_parallel_mode"
        | "gin_fuzzy_search_limit"
        | "gin_pending_list_limit"
        | "logical_decoding_work_mem"
        | "maintenance_io_concurrency"
        | "max_parallel_maintenance_workers"
        | "max_parallel_workers"
        | "min_parallel_index_scan_size"
        | "min_parallel_table_scan_size"
        | "parallel_leader_participation"
        | "parallel_setup_cost"
        | "parallel_tuple_cost"
        | "recursive_worktable_factor"
        | "temp_buffers"
        | "tcp_keepalives_count"
        | "tcp_keepalives_idle"
        | "tcp_keepalives_interval"
        | "tcp_user_timeout"
        | "vacuum_cost_delay"
        | "vacuum_cost_limit"
        // How values and definitions are written, and warnings about text.
        | "default_text_search_config"
        | "escape_string_warning"
        | "exit_on_error"
        | "quote_all_identifiers"
        | "restrict_nonsystem_relation_kind"
        | "seed"
        | "stats_fetch_consistency"
        | "timezone_abbreviations"
        | "xmlbinary"
        // Where and how new objects are stored, and when bodies of functions are checked.
        | "check_function_bodies"
        | "default_table_access_method"
        | "default_tablespace"
        | "default_toast_compression"
        | "temp_tablespaces" => Standing::Harmless,
        "client_encoding" => Standing::Only(&["utf8", "unicode"], "UTF8"),
        "standard_conforming_strings" => Standing::Only(&["on", "true", "yes", "1"], "on"),
        "role" | "session_authorization" => Standing::Rights,
        "session_replication_role"
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
        name if name.contains('.') => Standing::Custom,
        _ => Standing::Unreviewed,
    }
}
