use super::*;
use crate::sql::TransactionControl;

#[test]
fn what_touches_no_data_is_allowed_to_everybody() {
    let admission = admission(
        "    allow: [{ select: public.a }]\n    mask: [{ column: a.b.c, with: redact }]\n",
    );
    for kind in [
        StatementKind::Empty,
        StatementKind::Select,
        StatementKind::Transaction(TransactionControl::Begin),
        StatementKind::Show {
            name: "server_version".to_owned(),
        },
        StatementKind::CloseCursor { name: None },
        StatementKind::Deallocate { name: None },
        StatementKind::Listen,
        StatementKind::Discard,
        StatementKind::Fetch {
            name: "c".to_owned(),
            moves: true,
        },
    ] {
        allowed(&admission, &statement(kind, Vec::new()));
    }
    allowed(&admission, &call("pg_catalog.lower", FunctionClass::Pure));
    allowed(
        &admission,
        &call("pg_catalog.pg_get_viewdef", FunctionClass::Catalog),
    );
}

#[test]
fn what_only_all_covers_is_denied_without_it() {
    let narrow = admission("    allow: [{ select: \"*.*\" }]\n");
    let wide = admission("    allow: [{ all: \"*.*\" }]\n");
    let schema = admission("    allow: [{ all: public.* }]\n");
    for kind in [
        StatementKind::Maintenance,
        StatementKind::Notify,
        StatementKind::Privilege,
        StatementKind::Procedural,
    ] {
        let reason = denied(&narrow, &statement(kind.clone(), Vec::new()));
        assert!(reason.hint.contains("- all: \"*.*\""), "{}", reason.hint);
        denied(&schema, &statement(kind.clone(), Vec::new()));
        allowed(&wide, &statement(kind, Vec::new()));
    }
    let analyze = |name: &str| statement(StatementKind::Maintenance, vec![used(name, &[], &[])]);
    allowed(&schema, &analyze("orders"));
    denied(&schema, &analyze("hr.staff"));
    denied(&narrow, &analyze("orders"));
    let mut refresh = analyze("totals");
    refresh.relations[0].access = [Access::Insert].into();
    refresh.relations.push(used(
        "hr.staff",
        &[Access::Select],
        &[("id", &[ColumnUse::Source])],
    ));
    denied(&schema, &refresh);
    let reading = admission("    allow: [{ all: public.* }, { select: hr.staff }]\n");
    allowed(&reading, &refresh);
}

#[test]
fn f8_functions_with_effects_are_denied_unless_named() {
    let narrow =
        admission("    allow: [{ select: \"*.*\" }, { call: [public.order_total, util.*] }]\n");
    allowed(&narrow, &call("public.order_total", FunctionClass::Other));
    allowed(&narrow, &call("util.anything", FunctionClass::Other));
    for name in [
        "pg_catalog.pg_read_file",
        "pg_catalog.set_config",
        "public.lower",
        "pg_catalog.pg_sleep",
    ] {
        let reason = denied(&narrow, &call(name, FunctionClass::Other));
        assert_eq!(reason.message, format!("calling {name} is not granted"));
        assert_eq!(
            reason.hint,
            format!("add `- call: {name}` to allow in grant g")
        );
    }
    let denying = admission(
        "    allow: [{ all: \"*.*\" }]\n    deny: [{ call: [pg_catalog.pg_sleep, pg_catalog.version] }]\n",
    );
    denied(&denying, &call("pg_catalog.pg_sleep", FunctionClass::Other));
    denied(&denying, &call("pg_catalog.version", FunctionClass::Pure));
    allowed(&denying, &call("pg_catalog.lower", FunctionClass::Pure));
}

#[test]
fn every_candidate_of_an_overload_must_be_allowed() {
    let admission = admission("    allow: [{ call: public.f }]\n");
    let mut statement = call("public.f", FunctionClass::Other);
    allowed(&admission, &statement);
    statement
        .functions
        .push(function("other", "f", FunctionClass::Other));
    denied(&admission, &statement);
}

#[test]
fn f9_do_blocks_are_covered_by_all_only_where_no_rule_limits_it() {
    let procedural = || statement(StatementKind::Procedural, Vec::new());
    for limits in [
        "    deny: [{ select: public.s }]\n",
        "    mask: [{ column: a.b.c, with: redact }]\n",
        "    approve: [{ delete: public.a, by: {} }]\n",
    ] {
        denied(
            &admission(&format!("    allow: [{{ all: \"*.*\" }}]\n{limits}")),
            &procedural(),
        );
    }
    held(
        &admission("    approve: [{ all: \"*.*\", by: {} }]\n"),
        &procedural(),
    );
    let mut call = procedural();
    call.functions = vec![function("public", "proc", FunctionClass::Other)];
    allowed(&admission("    allow: [{ call: public.proc }]\n"), &call);
    denied(&admission("    allow: [{ call: public.other }]\n"), &call);
}

#[test]
fn an_approve_rule_for_everything_holds_everything_but_catalog_reads() {
    let admission = admission("    approve: [{ all: \"*.*\", by: { group: dba } }]\n");
    held(&admission, &select("orders", &["id"]));
    held(&admission, &call("public.f", FunctionClass::Other));
    held(
        &admission,
        &defining(ddl(DdlAction::Drop, "table", "orders")),
    );
    held(&admission, &statement(StatementKind::Privilege, Vec::new()));
    allowed(&admission, &select("pg_catalog.pg_class", &["oid"]));
    allowed(&admission, &call("pg_catalog.lower", FunctionClass::Pure));
}

#[test]
fn a_statement_whose_effect_does_not_show_is_denied() {
    let admission = admission("    allow: [{ all: \"*.*\" }]\n");
    for kind in [
        StatementKind::Insert,
        StatementKind::Update,
        StatementKind::Delete,
        StatementKind::Merge,
        StatementKind::Truncate,
        StatementKind::CopyIn,
        StatementKind::Lock,
        StatementKind::Ddl,
        StatementKind::Execute {
            name: "p".to_owned(),
        },
    ] {
        assert_eq!(
            denied(&admission, &statement(kind, Vec::new())).code,
            ReasonCode::NotUnderstood
        );
    }
}

#[test]
fn m20_fetch_and_execute_are_decided_by_what_they_run() {
    let admission = admission(
        "    allow: [{ select: public.t }]\n    mask: [{ column: public.t.email, with: redact }]\n",
    );
    let mut fetch = select("t", &["id", "email"]);
    fetch.kind = StatementKind::Fetch {
        name: "c".to_owned(),
        moves: false,
    };
    assert_eq!(allowed(&admission, &fetch).redactions.len(), 1);
    fetch.relations.clear();
    assert_eq!(allowed(&admission, &fetch).redactions.len(), 1);
    fetch.output = None;
    denied(&admission, &fetch);
    let mut execute = select("t", &["email"]);
    execute.kind = StatementKind::Execute {
        name: "p".to_owned(),
    };
    assert_eq!(allowed(&admission, &execute).redactions.len(), 1);
}

#[test]
fn locking_needs_a_right_to_write() {
    let lock = |name: &str| statement(StatementKind::Lock, vec![used(name, &[Access::Lock], &[])]);
    let admission = admission("    allow: [{ select: public.* }, { update: public.a (x) }]\n");
    allowed(&admission, &lock("a"));
    let of_a_read = statement(StatementKind::Lock, vec![used("b", &[Access::Select], &[])]);
    allowed(&admission, &of_a_read);
    let reason = denied(&admission, &lock("b"));
    assert!(
        reason.hint.contains("- update: public.b"),
        "{}",
        reason.hint
    );
}

#[test]
fn every_reason_code_has_its_sqlstate() {
    let codes = [
        (ReasonCode::NotPermitted, "42501"),
        (ReasonCode::NotUnderstood, "0A000"),
        (ReasonCode::Syntax, "42601"),
        (ReasonCode::NotApproved, "57014"),
        (ReasonCode::NotAttributed, "28000"),
        (ReasonCode::NotMaskable, "42501"),
        (ReasonCode::Changed, "40001"),
        (ReasonCode::Fault, "58000"),
    ];
    for (code, sqlstate) in codes {
        assert_eq!(code.sqlstate(), sqlstate);
    }
}
