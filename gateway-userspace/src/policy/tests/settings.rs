//! SET, RESET and `set_config`.

use super::*;

const READER: &str = "    allow: [{ select: \"*.*\" }]\n";
const ALL: &str = "    allow: [{ all: \"*.*\" }]\n";

#[test]
fn settings_of_drivers_and_dumps_pass() {
    let admission = admission(READER);
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
        "check_function_bodies",
        "default_table_access_method",
        "constraints",
    ] {
        allowed(&admission, &set(name, "x"));
        allowed(&admission, &setting(name, SettingValue::Default));
    }
}

#[test]
fn m13_settings_that_change_how_sql_is_read_keep_their_value() {
    let (reader, all) = (admission(READER), admission(ALL));
    for value in ["UTF8", "utf-8", "'UTF8'", "Unicode"] {
        allowed(&reader, &set("client_encoding", value));
    }
    for value in ["LATIN1", "SQL_ASCII", "SJIS", "", "utf8x"] {
        denied(&all, &set("client_encoding", value));
    }
    allowed(&reader, &set("standard_conforming_strings", "on"));
    for value in ["off", "false", "no", "0", "of"] {
        denied(&all, &set("standard_conforming_strings", value));
    }
}

#[test]
fn a_parameter_sets_only_what_may_have_any_value() {
    let all = admission(ALL);
    for name in [
        "client_encoding",
        "standard_conforming_strings",
        "role",
        "session_replication_role",
    ] {
        denied(&all, &setting(name, SettingValue::Parameter(1)));
    }
    for name in ["statement_timeout", "app.tenant", "log_statement"] {
        allowed(&all, &setting(name, SettingValue::Parameter(1)));
    }
}

#[test]
fn rights_are_those_of_the_login_even_under_all() {
    // The tests' grants log in as `agent`.
    for admission in [admission(READER), admission(ALL)] {
        for name in ["role", "session_authorization"] {
            for value in ["postgres", "Agent", "agent ", "", "default"] {
                denied(&admission, &set(name, value));
            }
            allowed(&admission, &set(name, "agent"));
            allowed(&admission, &setting(name, SettingValue::Default));
        }
        allowed(&admission, &set("role", "none"));
        denied(&admission, &set("session_authorization", "none"));
        denied(&admission, &set("session_replication_role", "none"));
    }
}

#[test]
fn settings_that_nobody_reviewed_need_all() {
    let (reader, all) = (admission(READER), admission(ALL));
    for name in ["log_statement", "jitter", "password_encryption"] {
        let reason = denied(&reader, &set(name, "1"));
        assert!(reason.hint.contains("- all: \"*.*\""), "{}", reason.hint);
        allowed(&all, &set(name, "1"));
    }
}

#[test]
fn a_custom_setting_needs_a_rule_that_names_it() {
    let reason = denied(&admission(READER), &set("app.user_id", "1"));
    assert_eq!(
        reason.message,
        "changing the setting app.user_id is not granted"
    );
    assert!(
        reason
            .hint
            .starts_with("add `- set: app.user_id` to allow in grant g"),
        "{}",
        reason.hint
    );
    let granted = admission("    allow: [{ set: [app.*, other.flag] }]\n");
    for name in ["app.user_id", "app.a.b", "other.flag"] {
        allowed(&granted, &set(name, "1"));
    }
    for name in ["application.user", "other.flags", "appx.y", "log_statement"] {
        denied(&granted, &set(name, "1"));
    }
    allowed(&admission(ALL), &set("app.user_id", "1"));
    // Of a schema of that name, not of settings.
    denied(
        &admission("    allow: [{ all: app.* }]\n"),
        &set("app.user_id", "1"),
    );
}

#[test]
fn custom_settings_can_be_held_and_denied() {
    held(
        &admission("    approve: [{ set: app.tenant, by: {} }]\n"),
        &set("app.tenant", "1"),
    );
    let rules = "    allow: [{ all: \"*.*\" }]\n    deny: [{ set: app.tenant }]\n";
    denied(&admission(rules), &set("app.tenant", "1"));
    allowed(&admission(rules), &set("app.other", "1"));
    // Back to what the session began with.
    allowed(
        &admission(rules),
        &setting("app.tenant", SettingValue::Default),
    );
}

#[test]
fn every_setting_of_a_statement_is_decided() {
    let admission = admission(READER);
    let mut both = set("application_name", "x");
    both.kind = StatementKind::Select;
    allowed(&admission, &both);
    both.settings.extend(set("app.tenant", "1").settings);
    denied(&admission, &both);
    denied(&admission, &statement(StatementKind::Set, Vec::new()));
}
