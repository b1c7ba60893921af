use super::*;

#[test]
fn data_definition_is_denied_unless_a_rule_names_the_object() {
    let admission = admission(
        "    allow: [{ select: \"*.*\" }, { ddl: app.* }]\n    approve: [{ ddl: public.*, by: { group: dba, count: 2 } }]\n",
    );
    allowed(
        &admission,
        &defining(ddl(DdlAction::Create, "table", "app.t")),
    );
    let (requirement, reason) = held(
        &admission,
        &defining(ddl(DdlAction::Drop, "table", "public.orders")),
    );
    assert_eq!(requirement.quorums[0].count, 2);
    assert_eq!(
        reason.message,
        "dropping table public.orders needs approval by 2 of group dba"
    );
    let reason = denied(
        &admission,
        &defining(ddl(DdlAction::Alter, "table", "hr.staff")),
    );
    assert_eq!(reason.message, "altering table hr.staff is not granted");
    assert_eq!(reason.hint, "add `- ddl: hr.staff` to allow in grant g");
    allowed(
        &admission,
        &defining(DdlEffect {
            temporary: true,
            ..ddl(DdlAction::Create, "table", "pg_temp_3.t")
        }),
    );
}

#[test]
fn objects_of_a_table_need_the_right_on_the_table() {
    let admission = admission(
        "    allow: [{ ddl: [app.orders, app.idx_*] }]\n    deny: [{ ddl: app.frozen }]\n",
    );
    let index = |table: &str| {
        defining(DdlEffect {
            on: Some(relation_ref(table)),
            ..ddl(DdlAction::Create, "index", "app.idx_1")
        })
    };
    allowed(&admission, &index("app.orders"));
    let reason = denied(&admission, &index("app.other"));
    assert!(reason.hint.contains("- ddl: app.other"), "{}", reason.hint);
    assert_eq!(denied(&admission, &index("app.frozen")).rule, "g: deny[0]");
}

#[test]
fn objects_outside_schemas_need_everything() {
    let extension = || {
        defining(DdlEffect {
            schema: String::new(),
            ..ddl(DdlAction::Create, "extension", "dblink")
        })
    };
    denied(&admission("    allow: [{ ddl: public.* }]\n"), &extension());
    allowed(&admission("    allow: [{ ddl: \"*.*\" }]\n"), &extension());
}

#[test]
fn f11_cascade_is_not_allowed_by_the_name_of_one_object() {
    let cascade = || {
        defining(DdlEffect {
            cascade: true,
            ..ddl(DdlAction::Drop, "table", "public.a")
        })
    };
    let reason = denied(&admission("    allow: [{ ddl: public.a }]\n"), &cascade());
    assert!(reason.hint.contains("CASCADE"), "{}", reason.hint);
    allowed(&admission("    allow: [{ ddl: \"*.*\" }]\n"), &cascade());
    held(
        &admission("    approve: [{ ddl: public.a, by: {} }]\n"),
        &cascade(),
    );
}

#[test]
fn f11_definition_that_could_undo_a_mask_or_deny_needs_a_human() {
    let masked = "    allow: [{ ddl: \"*.*\" }]\n    mask: [{ column: public.customers.email, with: redact }]\n";
    let denying = "    allow: [{ all: \"*.*\" }]\n    deny: [{ select: public.customers }]\n";
    for rules in [masked, denying] {
        let admission = admission(rules);
        // Rename swap, renamed column, moved schema.
        for (kind, name) in [
            ("table", "public.customers"),
            ("column", "public.customers"),
            ("schema", "public.public"),
        ] {
            let reason = denied(&admission, &defining(ddl(DdlAction::Alter, kind, name)));
            assert!(
                reason.hint.contains("hold it for a human"),
                "{}",
                reason.hint
            );
        }
        // Code reads for others.
        for kind in [
            "function",
            "trigger",
            "rule",
            "operator",
            "event trigger",
            "something new",
        ] {
            denied(
                &admission,
                &defining(ddl(DdlAction::Create, kind, "public.x")),
            );
        }
        allowed(
            &admission,
            &defining(ddl(DdlAction::Create, "table", "public.customers")),
        );
        allowed(
            &admission,
            &defining(ddl(DdlAction::Alter, "table", "public.orders")),
        );
        allowed(
            &admission,
            &defining(ddl(DdlAction::Alter, "index", "public.customers_email")),
        );
    }
    let approved = format!("{masked}    approve: [{{ ddl: \"*.*\", by: {{}} }}]\n");
    held(
        &admission(&approved),
        &defining(ddl(DdlAction::Alter, "table", "public.customers")),
    );
}

#[test]
fn m9_a_table_made_from_a_query_needs_the_right_to_read_and_to_create() {
    let mut create = defining(ddl(DdlAction::Create, "table", "app.copy"));
    let mut made = used("app.copy", &[Access::Insert], &[]);
    made.relation.oid = 0;
    create.relations = vec![
        made.clone(),
        used(
            "public.orders",
            &[Access::Select],
            &[("id", &[ColumnUse::Source])],
        ),
    ];
    allowed(
        &admission("    allow: [{ ddl: app.* }, { select: public.orders }]\n"),
        &create,
    );
    denied(&admission("    allow: [{ ddl: app.* }]\n"), &create);
    denied(
        &admission("    allow: [{ select: public.orders }]\n"),
        &create,
    );
    // Only what the statement itself creates has no oid.
    made.relation.name = "other".to_owned();
    create.relations.push(made);
    denied(
        &admission("    allow: [{ ddl: app.* }, { select: public.orders }]\n"),
        &create,
    );
}
