use super::*;
use ColumnUse::{Derived, Filter, Inserted, Output, Source, Updated};

const RULES: &str = "    allow:
      - select: [public.orders, \"public.customers (id, email)\"]
      - select: public.customers (country)
      - insert: public.notes
      - update: public.orders (status, note)
    approve:
      - { delete: public.orders, by: { group: dba } }
      - { update: public.orders (price), by: { group: dba, count: 2 } }
    deny:
      - select: public.secrets
      - select: public.orders (margin)
";

#[test]
fn what_nothing_allows_is_denied_and_the_line_that_would_allow_it_is_named() {
    let admission = admission(RULES);
    let reason = denied(&admission, &select("users", &["id", "Odd Name"]));
    assert_eq!(reason.code, ReasonCode::NotPermitted);
    assert_eq!(reason.sqlstate(), "42501");
    assert_eq!(
        reason.message,
        "reading public.users (\"Odd Name\", id) is not granted"
    );
    assert_eq!(reason.rule, "default deny");
    assert_eq!(
        reason.hint,
        "add `- select: public.users (\"Odd Name\", id)` to allow in grant g"
    );
}

#[test]
fn every_column_read_must_be_covered_by_the_grants_together() {
    let admission = admission(RULES);
    assert_eq!(
        allowed(&admission, &select("orders", &["id", "anything"])).grants,
        ["g"]
    );
    allowed(
        &admission,
        &select("customers", &["id", "email", "country"]),
    );
    let reason = denied(&admission, &select("customers", &["id", "ssn"]));
    assert_eq!(
        reason.message,
        "reading public.customers (ssn) is not granted"
    );
    for by in [Output, Derived, Filter, Source] {
        let statement = statement(
            StatementKind::Select,
            vec![used(
                "customers",
                &[Access::Select],
                &[("id", &[Output]), ("ssn", &[by])],
            )],
        );
        denied(&admission, &statement);
        let mut unlisted = statement.clone();
        unlisted.relations[0].access.clear();
        denied(&admission, &unlisted);
    }
}

#[test]
fn reading_rows_without_columns_needs_any_right_to_read() {
    let admission = admission(RULES);
    let count = |name: &str| {
        statement(
            StatementKind::Select,
            vec![used(name, &[Access::Select], &[])],
        )
    };
    allowed(&admission, &count("customers"));
    allowed(&admission, &select("customers", &["ctid"]));
    denied(&admission, &count("notes"));
    denied(&admission, &count("users"));
    denied(&admission, &select("users", &["ctid"]));
    let mut unlisted = count("users");
    unlisted.relations[0].access.clear();
    denied(&admission, &unlisted);
}

#[test]
fn f1_names_are_compared_as_resolved_with_their_schema_and_case() {
    let admission = admission(RULES);
    denied(&admission, &select("other.orders", &["id"]));
    denied(&admission, &select("public.Orders", &["id"]));
}

#[test]
fn deny_outweighs_allow_and_approve() {
    let admission = admission(
        "    allow: [{ all: \"*.*\" }]\n    approve: [{ delete: public.secrets, by: {} }]\n    deny: [{ all: public.secrets }]\n",
    );
    allowed(&admission, &select("orders", &["id"]));
    let reason = denied(&admission, &select("secrets", &["id"]));
    assert_eq!(
        (reason.message.as_str(), reason.rule.as_str()),
        ("reading public.secrets is denied", "g: deny[0]")
    );
    assert!(
        reason.hint.contains("- all: public.secrets"),
        "{}",
        reason.hint
    );
    denied(
        &admission,
        &statement(
            StatementKind::Delete,
            vec![used("secrets", &[Access::Delete], &[])],
        ),
    );
}

#[test]
fn a_deny_of_columns_denies_these_columns_only() {
    let admission = admission(RULES);
    allowed(&admission, &select("orders", &["id"]));
    let reason = denied(&admission, &select("orders", &["id", "margin"]));
    assert_eq!(reason.message, "reading public.orders (margin) is denied");
    assert_eq!(reason.rule, "g: deny[1]");
}

#[test]
fn writing_needs_its_own_right_for_every_column() {
    let admission = admission(RULES);
    let update = |columns: &[&str], reads: &[&str]| {
        let mut uses: Vec<(&str, &[ColumnUse])> = columns
            .iter()
            .map(|column| (*column, &[Updated][..]))
            .collect();
        uses.extend(reads.iter().map(|column| (*column, &[Filter][..])));
        statement(
            StatementKind::Update,
            vec![used("orders", &[Access::Update, Access::Select], &uses)],
        )
    };
    allowed(&admission, &update(&["status"], &["id"]));
    let reason = denied(&admission, &update(&["status", "total"], &["id"]));
    assert_eq!(
        reason.message,
        "updating public.orders (total) is not granted"
    );
    assert_eq!(
        reason.hint,
        "add `- update: public.orders (total)` to allow in grant g"
    );
    denied(&admission, &update(&["status"], &["margin"]));
    let insert = |name: &str| {
        statement(
            StatementKind::Insert,
            vec![used(name, &[Access::Insert], &[("a", &[Inserted])])],
        )
    };
    allowed(&admission, &insert("notes"));
    denied(&admission, &insert("orders"));
    // RETURNING reads.
    let returning = statement(
        StatementKind::Insert,
        vec![used(
            "notes",
            &[Access::Insert],
            &[("a", &[Inserted, Output])],
        )],
    );
    assert_eq!(
        denied(&admission, &returning).message,
        "reading public.notes (a) is not granted"
    );
    denied(
        &admission,
        &statement(
            StatementKind::Truncate,
            vec![used("orders", &[Access::Truncate], &[])],
        ),
    );
}

#[test]
fn f5_row_locks_need_a_right_to_update_something() {
    let admission = admission(RULES);
    let for_update = |name: &str| {
        statement(
            StatementKind::Select,
            vec![used(
                name,
                &[Access::Select, Access::Update],
                &[("id", &[Output])],
            )],
        )
    };
    allowed(&admission, &for_update("orders"));
    denied(&admission, &for_update("customers"));
}

#[test]
fn what_an_approve_rule_names_is_held_and_allowed_by_the_approval() {
    let admission = admission(RULES);
    let mut delete = statement(
        StatementKind::Delete,
        vec![used(
            "orders",
            &[Access::Delete, Access::Select],
            &[("id", &[Filter])],
        )],
    );
    let (requirement, reason) = held(&admission, &delete);
    assert_eq!(
        requirement,
        ApprovalRequirement {
            rule: "g: approve[0]".to_owned(),
            quorums: vec![quorum(Some("dba"), 1)],
            hold: std::time::Duration::from_mins(15),
            hold_in_transaction: std::time::Duration::from_mins(2),
            on_hold: OnHold::Wait,
        }
    );
    assert_eq!(
        reason.message,
        "deleting from public.orders needs approval by 1 of group dba"
    );
    assert_eq!(
        (reason.code, reason.sqlstate()),
        (ReasonCode::NotApproved, "57014")
    );
    delete.unlimited = true;
    assert!(
        held(&admission, &delete).1.message.contains("every row"),
        "f11"
    );
    // What the approval does not cover stays denied.
    let elsewhere = statement(
        StatementKind::Delete,
        vec![used("notes", &[Access::Delete], &[])],
    );
    denied(&admission, &elsewhere);
    let reads = statement(
        StatementKind::Delete,
        vec![
            used("orders", &[Access::Delete, Access::Select], &[]),
            used("users", &[Access::Select], &[("id", &[Filter])]),
        ],
    );
    denied(&admission, &reads);
}

#[test]
fn an_upsert_needs_each_right_for_the_columns_that_it_writes_that_way() {
    let upsert = statement(
        StatementKind::Insert,
        vec![used(
            "stock",
            &[Access::Insert, Access::Update],
            &[
                ("sku", &[Inserted]),
                ("quantity", &[Inserted, Updated]),
                ("checked", &[Updated]),
            ],
        )],
    );
    let rules = |insert: &str, update: &str| {
        admission(&format!(
            "    allow:\n      - insert: public.stock ({insert})\n      - update: public.stock ({update})\n"
        ))
    };
    allowed(&rules("sku, quantity", "quantity, checked"), &upsert);
    let reason = denied(&rules("sku", "quantity, checked, sku"), &upsert);
    assert_eq!(
        reason.message,
        "inserting into public.stock (quantity) is not granted"
    );
    let reason = denied(&rules("sku, quantity, checked", "quantity"), &upsert);
    assert_eq!(
        reason.message,
        "updating public.stock (checked) is not granted"
    );
}

#[test]
fn columns_of_an_approve_rule_hold_only_where_they_are_written() {
    let admission = admission(RULES);
    let update = |column: &str| {
        statement(
            StatementKind::Update,
            vec![used("orders", &[Access::Update], &[(column, &[Updated])])],
        )
    };
    allowed(&admission, &update("status"));
    assert_eq!(held(&admission, &update("price")).0.quorums[0].count, 2);
    denied(&admission, &update("total"));
}

fn quorum(group: Option<&str>, count: u32) -> Quorum {
    Quorum {
        group: group.map(str::to_owned),
        count,
    }
}

#[test]
fn several_approve_rules_must_all_be_met() {
    let rules = |second: &str| {
        format!(
            "    allow: [{{ select: public.a }}]\n    approve:\n      - {{ delete: public.a, by: {{ group: dba }} }}\n      - {{ delete: public.*, by: {second} }}\n"
        )
    };
    let delete = statement(
        StatementKind::Delete,
        vec![used("a", &[Access::Delete], &[])],
    );
    let dba = || quorum(Some("dba"), 1);
    for (second, quorums) in [
        ("{ group: dba, count: 3 }", vec![quorum(Some("dba"), 3)]),
        // Anybody: one of the group is that already.
        ("{ count: 1 }", vec![dba()]),
        ("{ count: 3 }", vec![dba(), quorum(None, 3)]),
        (
            "{ group: security, count: 2 }",
            vec![dba(), quorum(Some("security"), 2)],
        ),
    ] {
        let (requirement, _) = held(&admission(&rules(second)), &delete);
        assert_eq!(requirement.quorums, quorums, "{second}");
        assert_eq!(requirement.rule, "g: approve[0], g: approve[1]");
    }
    let (_, reason) = held(&admission(&rules("{ group: security, count: 2 }")), &delete);
    assert_eq!(
        reason.message,
        "deleting from public.a needs approval by 1 of group dba and 2 of group security"
    );
}

#[test]
fn an_explain_that_runs_nothing_is_not_held_but_needs_the_rights() {
    let admission = admission(RULES);
    let explain = |name: &str, analyze| {
        statement(
            StatementKind::Explain { analyze },
            vec![used(name, &[Access::Delete], &[])],
        )
    };
    allowed(&admission, &explain("orders", false));
    held(&admission, &explain("orders", true));
    denied(&admission, &explain("notes", false));
}

#[test]
fn the_catalog_may_be_read_but_for_what_carries_values_or_secrets() {
    let plain = admission("    allow: [{ all: \"*.*\" }]\n");
    for name in [
        "pg_catalog.pg_class",
        "pg_catalog.pg_settings",
        "pg_catalog.pg_authid",
        "information_schema.columns",
        "pg_catalog.pg_stat_user_tables",
    ] {
        allowed(&plain, &select(name, &["oid"]));
    }
    for name in [
        "pg_catalog.pg_statistic",
        "pg_catalog.pg_stats",
        "pg_catalog.pg_stats_ext",
        "pg_catalog.pg_stat_activity",
        "pg_catalog.pg_user_mapping",
        "pg_catalog.pg_largeobject",
        "pg_catalog.pg_hba_file_rules",
        "pg_catalog.pg_file_settings",
        "pg_catalog.pg_stat_statements",
        "information_schema.user_mapping_options",
        "pg_toast.pg_toast_1",
    ] {
        let reason = denied(&plain, &select(name, &["x"]));
        assert!(reason.hint.contains(name), "m16 {name}: {}", reason.hint);
    }
    for (name, column) in [
        ("pg_authid", "rolpassword"),
        ("pg_shadow", "passwd"),
        ("pg_subscription", "subconninfo"),
        ("pg_user_mappings", "umoptions"),
    ] {
        denied(&plain, &select(&format!("pg_catalog.{name}"), &[column]));
    }
    // What every role of the server may see, and every dump shows.
    for (name, column) in [
        ("pg_foreign_server", "srvoptions"),
        ("pg_foreign_data_wrapper", "fdwoptions"),
        ("pg_foreign_table", "ftoptions"),
        ("pg_user_mappings", "usename"),
    ] {
        allowed(&plain, &select(&format!("pg_catalog.{name}"), &[column]));
    }
    let named = admission("    allow: [{ select: [pg_catalog.pg_stats, pg_catalog.pg_authid] }]\n");
    allowed(
        &named,
        &select("pg_catalog.pg_stats", &["most_common_vals"]),
    );
    allowed(&named, &select("pg_catalog.pg_authid", &["rolpassword"]));
    denied(&named, &select("pg_catalog.pg_stat_activity", &["query"]));
}

#[test]
fn statements_of_other_sessions_need_a_rule_that_names_the_view() {
    let wide = admission("    allow: [{ select: public.* }]\n");
    allowed(&wide, &select("public.orders", &["id"]));
    denied(&wide, &select("public.pg_stat_statements", &["query"]));
    let named = admission("    allow: [{ select: public.pg_stat_statements }]\n");
    allowed(&named, &select("public.pg_stat_statements", &["query"]));
}

#[test]
fn the_catalog_may_not_be_written_under_star() {
    let all = admission("    allow: [{ all: \"*.*\" }]\n");
    let update = statement(
        StatementKind::Update,
        vec![used(
            "pg_catalog.pg_class",
            &[Access::Update],
            &[("relname", &[Updated])],
        )],
    );
    denied(&all, &update);
}

#[test]
fn rules_about_everything_leave_the_catalog_readable_and_named_ones_do_not() {
    let admission = admission(
        "    allow: [{ select: public.a }]\n    deny: [{ select: [\"*.*\", pg_catalog.pg_proc] }]\n",
    );
    allowed(&admission, &select("pg_catalog.pg_class", &["oid"]));
    denied(&admission, &select("pg_catalog.pg_proc", &["prosrc"]));
    denied(&admission, &select("public.a", &["x"]));
}

#[test]
fn temporary_tables_belong_to_the_session() {
    let admission = admission(RULES);
    for access in [
        Access::Select,
        Access::Insert,
        Access::Update,
        Access::Delete,
        Access::Truncate,
        Access::Lock,
    ] {
        allowed(
            &admission,
            &statement(
                StatementKind::Select,
                vec![used("pg_temp_3.t", &[access], &[("a", &[Updated])])],
            ),
        );
    }
}

#[test]
fn m15_rules_on_a_parent_or_child_table_hold_for_its_family() {
    let parent = ("public", "events");
    let family = Kinship::from_children(
        [
            (parent, ("public", "events_1")),
            (parent, ("public", "events_2")),
        ]
        .into_iter(),
    );
    let decide =
        |rules: &str, statement: &Statement| evaluate_in(&admission(rules), statement, &family);
    let masked = "    allow: [{ select: public.* }]\n    mask: [{ column: public.events.email, with: redact }]\n";
    let Verdict::Allow(obligations) = decide(masked, &select("events_1", &["id", "email"])) else {
        panic!("allowed")
    };
    assert_eq!(
        obligations.redactions,
        [Redaction {
            column: 1,
            mask: crate::masking::MaskKind::Redact,
            path: None,
        }]
    );
    let child = "    allow: [{ select: public.* }]\n    deny: [{ select: public.events_1 }]\n    mask: [{ column: public.events_2.email, with: redact }]\n";
    assert!(
        matches!(
            decide(child, &select("events", &["email"])),
            Verdict::Deny(_)
        ),
        "a parent shows its children's rows"
    );
    assert!(matches!(
        decide(child, &select("events_1", &["id"])),
        Verdict::Deny(_)
    ));
    let Verdict::Allow(obligations) = decide(child, &select("events_2", &["email"])) else {
        panic!("siblings are apart")
    };
    assert_eq!(obligations.redactions.len(), 1);
    let held = "    allow: [{ all: public.* }]\n    approve: [{ delete: public.events, by: {} }]\n";
    let delete = statement(
        StatementKind::Delete,
        vec![used("events_1", &[Access::Delete], &[])],
    );
    assert!(matches!(
        decide(held, &delete),
        Verdict::RequireApproval { .. }
    ));
    // A right on the parent is none on the child by itself.
    assert!(matches!(
        decide(
            "    allow: [{ select: public.events }]\n",
            &select("events_1", &["id"])
        ),
        Verdict::Deny(_)
    ));
}

#[test]
fn m15_what_a_views_owner_may_read_needs_no_grant_but_stays_denied_held_and_masked() {
    let through_view = |rights: Rights| {
        let mut statement = select("v", &["id"]);
        let mut table = used("t", &[Access::Select], &[("id", &[Output])]);
        table.rights = rights;
        statement.relations.push(table);
        statement
    };
    let view_only = "    allow: [{ select: public.v }]\n";
    allowed(&admission(view_only), &through_view(Rights::Owner(10)));
    denied(&admission(view_only), &through_view(Rights::Invoker));
    denied(&admission(view_only), &through_view(Rights::Session));
    denied(
        &admission(&format!("{view_only}    deny: [{{ select: public.t }}]\n")),
        &through_view(Rights::Owner(10)),
    );
    held(
        &admission(&format!(
            "{view_only}    approve: [{{ select: public.t, by: {{}} }}]\n"
        )),
        &through_view(Rights::Owner(10)),
    );
    let mut filtered = through_view(Rights::Owner(10));
    filtered.relations[1] = used("t", &[Access::Select], &[("ssn", &[Filter])]);
    filtered.relations[1].rights = Rights::Owner(10);
    denied(
        &admission(&format!(
            "{view_only}    mask: [{{ column: public.t.ssn, with: redact }}]\n"
        )),
        &filtered,
    );
    // Values and other sessions' SQL in the catalog stay guarded behind views.
    for name in ["pg_catalog.pg_stats", "public.pg_stat_statements"] {
        let mut statement = through_view(Rights::Owner(10));
        statement.relations[1] = used(name, &[Access::Select], &[("x", &[Output])]);
        statement.relations[1].rights = Rights::Owner(10);
        denied(&admission(view_only), &statement);
    }
}
