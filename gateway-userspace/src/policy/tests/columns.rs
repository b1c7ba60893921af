use super::*;
use crate::masking::MaskKind;
use ColumnUse::{Derived, Equality, Filter, Inserted, Output, Source, Updated};

const RULES: &str = "    allow: [{ all: \"*.*\" }]
    mask:
      - { column: public.customers.email, with: partial }
      - { column: \"*.*.ssn\", with: redact }
      - { column: public.customers.phone, with: last4, where: any }
";

fn using(column: &str, uses: &[ColumnUse]) -> Statement {
    let mut statement = statement(
        StatementKind::Select,
        vec![used(
            "customers",
            &[Access::Select],
            &[("id", &[Output]), (column, uses)],
        )],
    );
    statement.output = Some(vec![plain("customers", "id")]);
    statement
}

#[test]
fn protected_columns_of_the_result_are_masked_wherever_they_stand() {
    let admission = admission(RULES);
    let obligations = allowed(
        &admission,
        &select("customers", &["id", "email", "name", "ssn"]),
    );
    assert_eq!(
        obligations.redactions,
        [
            Redaction {
                column: 1,
                mask: MaskKind::Partial,
                path: None,
            },
            Redaction {
                column: 3,
                mask: MaskKind::Redact,
                path: None,
            }
        ]
    );
    assert_eq!(obligations.grants, ["g"]);
    assert!(
        allowed(&admission, &select("customers", &["id"]))
            .redactions
            .is_empty()
    );
    assert_eq!(
        allowed(&admission, &select("hr.staff", &["ssn"]))
            .redactions
            .len(),
        1
    );
    assert!(
        allowed(&admission, &select("customers", &["Email"]))
            .redactions
            .is_empty(),
        "another column"
    );
}

#[test]
fn m1_an_alias_does_not_unmask() {
    let mut statement = select("customers", &["email"]);
    statement.output = Some(vec![OutputColumn {
        name: "harmless".to_owned(),
        ..plain("customers", "email")
    }]);
    assert_eq!(allowed(&admission(RULES), &statement).redactions.len(), 1);
}

#[test]
fn m2_merged_columns_take_the_strictest_mask_of_their_origins() {
    let admission = admission(RULES);
    let mut statement = select("customers", &["email", "ssn", "name"]);
    let origins = ["email", "ssn", "name"].map(|column| column_ref("customers", column));
    statement.output = Some(vec![OutputColumn {
        name: "x".to_owned(),
        origins: origins.into(),
        direct: false,
        merged: true,
    }]);
    assert_eq!(
        allowed(&admission, &statement).redactions,
        [Redaction {
            column: 0,
            mask: MaskKind::Redact,
            path: None,
        }]
    );
}

#[test]
fn the_strictest_of_several_masks_on_a_column_holds() {
    let order = ["email", "partial", "last4", "token", "redact", "null"];
    for (index, weaker) in order.iter().enumerate() {
        for stronger in order.iter().skip(index + 1) {
            let mask = |word: &str| format!("{{ column: public.t.c, with: {word} }}");
            let kinds = |first: &str, second: &str| {
                let rules = format!(
                    "    allow: [{{ select: public.t }}]\n    mask: [{}, {}]\n",
                    mask(first),
                    mask(second)
                );
                allowed(&admission(&rules), &select("t", &["c"])).redactions
            };
            let alone = |word: &str| {
                let rules = format!(
                    "    allow: [{{ select: public.t }}]\n    mask: [{}]\n",
                    mask(word)
                );
                allowed(&admission(&rules), &select("t", &["c"])).redactions
            };
            assert_eq!(kinds(weaker, stronger), alone(stronger));
            assert_eq!(kinds(stronger, weaker), alone(stronger));
        }
    }
}

#[test]
fn m1_m7_m17_what_is_derived_from_a_protected_column_is_denied() {
    let admission = admission(RULES);
    let reason = denied(&admission, &using("email", &[Derived]));
    assert_eq!(
        (reason.code, reason.sqlstate()),
        (ReasonCode::NotMaskable, "42501")
    );
    assert_eq!(reason.rule, "g: mask[0]");
    assert!(
        reason.message.contains("public.customers.email") && reason.hint.contains("plain column")
    );
    // By the output's lineage alone, should the uses not say so.
    let mut statement = using("email", &[]);
    statement.relations[0].columns.clear();
    statement.output = Some(vec![OutputColumn {
        name: "row".to_owned(),
        origins: [
            column_ref("customers", "id"),
            column_ref("customers", "email"),
        ]
        .into(),
        direct: false,
        merged: false,
    }]);
    assert_eq!(denied(&admission, &statement).code, ReasonCode::NotMaskable);
}

#[test]
fn a_value_that_reaches_the_result_at_an_unknown_place_is_denied() {
    let admission = admission(RULES);
    assert_eq!(
        denied(&admission, &using("email", &[Output])).code,
        ReasonCode::NotMaskable
    );
    let mut without_output = using("email", &[Output]);
    without_output.output = None;
    denied(&admission, &without_output);
    // Seen as a plain column and, elsewhere, in an expression.
    let mut both = select("customers", &["email"]);
    both.relations = vec![used(
        "customers",
        &[Access::Select],
        &[("email", &[Output, Derived])],
    )];
    denied(&admission, &both);
}

#[test]
fn m3_m4_a_protected_column_decides_nothing_unless_its_mask_says_so() {
    let admission = admission(RULES);
    let reason = denied(&admission, &using("email", &[Filter]));
    assert_eq!(
        (reason.code, reason.rule.as_str()),
        (ReasonCode::NotPermitted, "g: mask[0]")
    );
    assert!(reason.hint.contains("where: any"), "{}", reason.hint);
    allowed(&admission, &using("phone", &[Filter]));
    denied(&admission, &using("phone", &[Derived]));
    // The strictest of all rules on the column holds.
    let both = RULES.replace(
        "    mask:\n",
        "    mask:\n      - { column: public.*.phone, with: email }\n",
    );
    assert_eq!(
        denied(&super::admission(&both), &using("phone", &[Filter])).rule,
        "g: mask[0]"
    );
}

#[test]
fn m3_a_column_that_may_be_looked_up_may_not_be_searched() {
    let rules = "    allow: [{ all: \"*.*\" }]
    mask:
      - { column: public.customers.email, with: partial, where: equality }
      - { column: public.customers.phone, with: last4, where: any }
      - { column: public.customers.ssn, with: redact }
      - { column: public.customers.both, with: last4, where: any }
      - { column: public.customers.both, with: email, where: equality }
";
    let admission = admission(rules);
    allowed(&admission, &using("email", &[Equality]));
    allowed(&admission, &using("phone", &[Equality, Filter]));
    allowed(&admission, &using("both", &[Equality]));
    for (column, uses, rule) in [
        ("email", &[Filter][..], "g: mask[0]"),
        ("email", &[Equality, Filter], "g: mask[0]"),
        ("email", &[Equality, Derived], "g: mask[0]"),
        ("email", &[Equality, Source], "g: mask[0]"),
        ("ssn", &[Equality], "g: mask[2]"),
        ("both", &[Filter], "g: mask[4]"),
    ] {
        let reason = denied(&admission, &using(column, uses));
        assert_eq!(reason.rule, rule, "{column} {uses:?}");
    }
    let reason = denied(&admission, &using("email", &[Filter]));
    assert!(reason.hint.contains("= ANY"), "{}", reason.hint);
    // A plain output column comes masked beside the look-up.
    let mut found = select("customers", &["email"]);
    found.relations = vec![used(
        "customers",
        &[Access::Select],
        &[("email", &[Output, Equality])],
    )];
    assert_eq!(allowed(&admission, &found).redactions.len(), 1);
    for analyze in [false, true] {
        let mut explain = using("email", &[Equality]);
        explain.kind = StatementKind::Explain { analyze };
        denied(&admission, &explain);
    }
}

#[test]
fn m9_a_protected_column_is_not_copied_anywhere_but_may_be_written() {
    let admission = admission(RULES);
    for target in ["notes", "pg_temp_3.t"] {
        let copy = statement(
            StatementKind::Insert,
            vec![
                used(target, &[Access::Insert], &[("a", &[Inserted])]),
                used("customers", &[Access::Select], &[("email", &[Source])]),
            ],
        );
        assert_eq!(
            denied(&admission, &copy).code,
            ReasonCode::NotMaskable,
            "{target}"
        );
    }
    let update = statement(
        StatementKind::Update,
        vec![used(
            "customers",
            &[Access::Update],
            &[("email", &[Updated])],
        )],
    );
    assert!(allowed(&admission, &update).redactions.is_empty());
    let mut create = defining(ddl(DdlAction::Create, "table", "copy"));
    create.relations = vec![used(
        "customers",
        &[Access::Select],
        &[("email", &[Output])],
    )];
    create.output = Some(vec![plain("customers", "email")]);
    assert_eq!(denied(&admission, &create).code, ReasonCode::NotMaskable);
}

#[test]
fn a_view_may_show_a_protected_column_because_its_readers_are_led_back_to_it() {
    let admission = admission(RULES);
    let mut create = defining(ddl(DdlAction::Create, "view", "v"));
    let uses: [(&str, &[ColumnUse]); 2] = [("email", &[Output, Derived]), ("ssn", &[Filter])];
    create.relations = vec![used("customers", &[Access::Select], &uses)];
    allowed(&admission, &create);
    create.ddl.push(ddl(DdlAction::Create, "table", "t"));
    denied(&admission, &create);
}

fn copy_out(not_text: bool, source: Option<&str>) -> StatementKind {
    StatementKind::CopyOut {
        not_text,
        options: Some(Vec::new()),
        source: source.map(str::to_owned),
    }
}

#[test]
fn m10_copy_out_of_a_protected_column_is_masked_or_denied() {
    let admission = admission(RULES);
    for not_text in [false, true] {
        let mut copy = select("customers", &["id", "email"]);
        copy.kind = copy_out(not_text, None);
        assert_eq!(denied(&admission, &copy).code, ReasonCode::NotMaskable);
        copy.kind = copy_out(not_text, Some("select id, email from customers"));
        assert_eq!(allowed(&admission, &copy).redactions.len(), 1);
        copy.output = None;
        assert_eq!(denied(&admission, &copy).code, ReasonCode::NotMaskable);
        let mut harmless = select("customers", &["id"]);
        harmless.kind = copy_out(not_text, None);
        allowed(&admission, &harmless);
    }
}

#[test]
fn m16_explain_tells_nothing_about_protected_values() {
    let admission = admission(RULES);
    for analyze in [false, true] {
        let mut explain = select("customers", &["email"]);
        explain.kind = StatementKind::Explain { analyze };
        assert!(allowed(&admission, &explain).redactions.is_empty());
        for column in ["email", "phone"] {
            let mut explain = using(column, &[Filter]);
            explain.kind = StatementKind::Explain { analyze };
            denied(&admission, &explain);
        }
    }
}

#[test]
fn m8_functions_that_hide_what_they_read_must_be_named_where_masks_apply() {
    let masked = admission(RULES);
    let reason = denied(
        &masked,
        &call("pg_catalog.query_to_xml", FunctionClass::Other),
    );
    assert!(
        reason.hint.contains("- call: pg_catalog.query_to_xml"),
        "{}",
        reason.hint
    );
    denied(&masked, &call("public.leak", FunctionClass::Other));
    allowed(&masked, &call("pg_catalog.nextval", FunctionClass::Other));
    denied(&masked, &call("public.nextval", FunctionClass::Other));
    denied(&masked, &statement(StatementKind::Procedural, Vec::new()));
    let named = RULES
        .replace(
            "    mask:",
            "      - { call: public.order_total }\n    mask:",
        )
        .replace("[{ all: \"*.*\" }]", "\n      - { all: \"*.*\" }");
    allowed(
        &admission(&named),
        &call("public.order_total", FunctionClass::Other),
    );
}

#[test]
fn masks_with_a_star_leave_the_catalog_alone() {
    let admission = admission(
        "    allow: [{ select: public.t }]\n    mask: [{ column: \"*.*.*\", with: redact }]\n",
    );
    assert!(
        allowed(&admission, &select("pg_catalog.pg_class", &["relname"]))
            .redactions
            .is_empty()
    );
    assert_eq!(
        allowed(&admission, &select("t", &["a"])).redactions.len(),
        1
    );
}

#[test]
fn m15_a_mask_or_deny_on_columns_of_a_view_does_not_pass_unnoticed() {
    // As the analysis gives it: the view without columns, the table with those it shows.
    let mut statement = select("people", &["mail"]);
    statement.relations.push(used("v", &[Access::Select], &[]));
    let mut catalog = Kinship::none();
    catalog.add_view("public", "v", vec!["id".to_owned(), "email".to_owned()]);
    let decide = |rules: &str| {
        let rules = format!("    allow: [{{ select: public.* }}]\n{rules}");
        evaluate_in(&admission(&rules), &statement, &catalog)
    };
    let Verdict::Deny(reason) = decide("    mask: [{ column: public.v.email, with: redact }]\n")
    else {
        panic!("denied")
    };
    assert_eq!(reason.code, ReasonCode::NotMaskable);
    assert!(
        reason.hint.contains("tables that the view reads"),
        "{}",
        reason.hint
    );
    let on_table = decide("    mask: [{ column: public.people.mail, with: redact }]\n");
    assert!(matches!(on_table, Verdict::Allow(obligations) if obligations.redactions.len() == 1));
    let other = decide(
        "    mask: [{ column: \"*.*.ssn\", with: redact }, { column: public.v.x, with: redact }]\n",
    );
    assert!(matches!(other, Verdict::Allow(_)));
    assert!(matches!(
        decide("    deny: [{ select: public.v (email) }]\n"),
        Verdict::Deny(_)
    ));
    let held = decide("    approve: [{ select: public.v (email), by: {} }]\n");
    assert!(matches!(held, Verdict::RequireApproval { .. }));
}
