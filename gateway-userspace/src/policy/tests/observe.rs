use super::*;

/// Two grants for the job: one with a role that observes, and a second one as given.
fn observing(rules: &str, second: &str) -> Admission {
    let text = format!(
        "{}  - name: floor\n    who: {{ issuer: github }}\n    database: shop\n{second}",
        grant(&format!("    mode: observe\n{rules}"))
    );
    match parse(&text).admit_job(&job(), "shop") {
        Ok(admission) => admission,
        Err(reason) => panic!("{reason:?}"),
    }
}

fn observer(rules: &str) -> Admission {
    admission(&format!("    mode: observe\n{rules}"))
}

#[track_caller]
fn observed(admission: &Admission, statement: &Statement) -> Observed {
    match allowed(admission, statement).observed {
        Some(observed) => observed,
        None => panic!("nothing was observed"),
    }
}

const ALLOW: &str = "    allow: [{ select: public.t }]\n";

#[test]
fn what_nothing_grants_passes_and_is_noted() {
    let admission = observer(ALLOW);
    assert!(admission.observes());
    assert_eq!(allowed(&admission, &select("t", &["a"])).observed, None);
    let noted = observed(&admission, &select("u", &["a"]));
    assert!(!noted.held);
    assert_eq!(noted.reason.rule, "default deny");
    assert!(noted.reason.message.contains("reading public.u"));
    assert!(noted.reason.hint.contains("- select: public.u"));
    observed(&admission, &call("public.f", FunctionClass::Other));
    observed(&admission, &defining(ddl(DdlAction::Drop, "table", "t")));
    observed(
        &admission,
        &statement(StatementKind::Procedural, Vec::new()),
    );
    observed(&admission, &statement(StatementKind::Privilege, Vec::new()));
}

#[test]
fn deny_and_approve_rules_of_an_observing_grant_are_noted() {
    let rules = format!(
        "{ALLOW}    approve: [{{ delete: public.t, by: {{ group: dba }} }}]\n    deny: [{{ select: public.secrets }}]\n"
    );
    let admission = observer(&rules);
    let denied = observed(&admission, &select("secrets", &["a"]));
    assert_eq!(
        (denied.held, denied.reason.rule.as_str()),
        (false, "g: deny[0]")
    );
    let delete = statement(
        StatementKind::Delete,
        vec![used("t", &[Access::Delete], &[])],
    );
    let held = observed(&admission, &delete);
    assert_eq!(
        (held.held, held.reason.rule.as_str(), held.reason.code),
        (true, "g: approve[0]", ReasonCode::NotApproved)
    );
    // A refusal outweighs a hold, whatever comes first.
    let both = statement(
        StatementKind::Delete,
        vec![
            used("t", &[Access::Delete], &[]),
            used("u", &[Access::Select], &[("a", &[ColumnUse::Filter])]),
        ],
    );
    assert!(!observed(&admission, &both).held);
}

#[test]
fn rules_of_a_grant_that_is_enforced_hold_beside_one_that_observes() {
    let admission = observing(
        &format!("{ALLOW}    approve: [{{ delete: public.t, by: {{}} }}]\n"),
        "    deny: [{ select: public.secrets }]\n",
    );
    assert_eq!(
        denied(&admission, &select("secrets", &["a"])).rule,
        "floor: deny[0]"
    );
    observed(&admission, &select("u", &["a"]));
    // Also where the observed refusal comes first.
    let mut both = select("u", &["a"]);
    both.relations.extend(select("secrets", &["a"]).relations);
    assert_eq!(denied(&admission, &both).rule, "floor: deny[0]");
    // What is done inside cannot be seen, and could reach what is denied.
    denied(&admission, &call("public.f", FunctionClass::Other));
    denied(
        &admission,
        &statement(StatementKind::Procedural, Vec::new()),
    );
    observed(
        &admission,
        &call("pg_catalog.nextval", FunctionClass::Other),
    );
}

#[test]
fn a_second_grant_with_a_role_that_is_enforced_ends_the_observing() {
    let admission = observing(
        ALLOW,
        "    role: { login: agent }\n    allow: [{ select: public.v }]\n",
    );
    assert!(!admission.observes());
    allowed(&admission, &select("v", &["a"]));
    allowed(&admission, &select("t", &["a"]));
    denied(&admission, &select("u", &["a"]));
}

#[test]
fn masks_hold_under_observation() {
    let admission = observer(&format!(
        "{ALLOW}    approve:\n      - {{ call: public.f, by: {{}} }}\n      - {{ ddl: public.*, by: {{}} }}\n    mask: [{{ column: public.*.email, with: redact }}]\n"
    ));
    // Masked where no rule lets it be read.
    let obligations = allowed(&admission, &select("u", &["email"]));
    assert_eq!(obligations.redactions.len(), 1);
    assert!(obligations.observed.is_some());
    // Refused where it cannot be masked.
    let mut derived = select("u", &["id"]);
    derived.relations = vec![used(
        "u",
        &[Access::Select],
        &[("email", &[ColumnUse::Derived])],
    )];
    assert_eq!(denied(&admission, &derived).code, ReasonCode::NotMaskable);
    // Refused or held where it could come out unseen.
    denied(&admission, &call("public.leak", FunctionClass::Other));
    held(&admission, &call("public.f", FunctionClass::Other));
    denied(
        &admission,
        &statement(StatementKind::Procedural, Vec::new()),
    );
    denied(
        &admission,
        &select("pg_catalog.pg_stats", &["histogram_bounds"]),
    );
    denied(
        &admission,
        &select("monitor.pg_stat_statements", &["query"]),
    );
    held(&admission, &defining(ddl(DdlAction::Alter, "table", "u")));
    denied(
        &admission,
        &defining(ddl(DdlAction::Create, "function", "other.f")),
    );
    // Data definition that undoes no mask is only noted.
    observed(
        &admission,
        &defining(ddl(DdlAction::Create, "index", "other.i")),
    );
    assert!(observed(&admission, &defining(ddl(DdlAction::Create, "table", "n"))).held);
}

#[test]
fn what_is_not_understood_is_refused_under_observation() {
    let admission = observer(ALLOW);
    let nothing = statement(StatementKind::Insert, Vec::new());
    assert_eq!(denied(&admission, &nothing).code, ReasonCode::NotUnderstood);
    let unknown = statement(
        StatementKind::Execute {
            name: "p".to_owned(),
        },
        Vec::new(),
    );
    assert_eq!(denied(&admission, &unknown).code, ReasonCode::NotUnderstood);
    denied(&admission, &set("role", "x"));
    denied(&admission, &set("client_encoding", "x"));
    observed(&admission, &set("app.user", "x"));
}
