use super::*;

fn admit(who: &str) -> Result<Admission, Reason> {
    let text = grant("    allow:\n      - select: public.a\n").replace("{ issuer: github }", who);
    parse(&text).admit_job(&job(), "shop")
}

fn hint(who: &str) -> String {
    admit(who)
        .err()
        .map(|reason| reason.hint)
        .unwrap_or_default()
}

#[test]
fn a_job_is_admitted_by_every_condition_together() {
    for who in [
        "{ issuer: github }",
        "{ issuer: github, assurance: runner-asserted }",
        "{ issuer: github, claims: { repository_id: \"123456\" } }",
        "{ issuer: github, claims: { repository_id: 123456 } }",
        "{ issuer: github, claims: { ref: [refs/heads/main, refs/heads/agent/*] } }",
        "{ issuer: github, claims: { run_attempt: 3, ref_protected: true } }",
        "{ issuer: github, claims: { environments: staging } }",
        "{ issuer: github, groups: [frontend, backend] }",
        "{ issuer: github, groups: [] }",
    ] {
        assert!(admit(who).is_ok(), "{who}: {:?}", admit(who));
    }
}

#[test]
fn one_condition_that_fails_is_enough_and_is_named_without_the_values_of_the_policy() {
    let hint_of = |who| {
        let hint = hint(who);
        assert!(!hint.contains("secret"), "{hint}");
        hint
    };
    assert_eq!(
        hint_of("{ issuer: gitlab }"),
        "grant g: the job's issuer is github, not gitlab"
    );
    assert_eq!(
        hint_of("{ issuer: github, claims: { repository_id: secret1, ref: secret2 } }"),
        "grant g: the job's claim repository_id is \"123456\", which it does not list"
    );
    assert_eq!(
        hint_of("{ issuer: github, claims: { missing: \"*\" } }"),
        "grant g: the job's token has no claim missing"
    );
    assert!(hint_of("{ issuer: github, claims: { nested: \"*\" } }").contains("claim nested"));
    assert!(hint_of("{ issuer: github, claims: { nothing: \"*\" } }").contains("claim nothing"));
    assert!(hint_of("{ issuer: github, claims: { ref: refs/heads/agent } }").contains("claim ref"));
    assert_eq!(
        hint_of("{ issuer: github, groups: [secret] }"),
        "grant g: the job is in none of its groups"
    );
}

#[test]
fn the_least_assurance_is_a_verified_token_unless_the_policy_says_less() {
    let asserted = JobIdentity::fixture(
        "github",
        Assurance::RunnerAsserted,
        Vec::new(),
        BTreeMap::new(),
    );
    let text = grant("    allow:\n      - select: public.a\n");
    assert!(
        parse(&text)
            .admit_job(&asserted, "shop")
            .is_err_and(|reason| reason.hint.contains("assurance"))
    );
    let text = text.replace(
        "issuer: github",
        "issuer: github, assurance: runner-asserted",
    );
    assert!(parse(&text).admit_job(&asserted, "shop").is_ok());
}

#[test]
fn a_database_without_a_grant_is_said_to_have_none() {
    let policy = parse(&grant("    allow:\n      - select: public.a\n"));
    let Err(reason) = policy.admit_job(&job(), "other") else {
        panic!("not admitted")
    };
    assert_eq!(reason.code, ReasonCode::NotPermitted);
    assert_eq!(
        reason.message,
        "no grant gives this job access to database other"
    );
    assert!(reason.hint.contains("no grant names database other"));
    assert!(Arc::new(Policy::empty()).admit_job(&job(), "shop").is_err());
}

const TWO: &str = "version: 1
grants:
  - name: a
    who: { issuer: github }
    database: shop
    role: { login: agent }
    limits: { hold: 10m }
    allow: [{ select: public.a }]
  - name: b
    who: { issuer: github }
    database: shop
    role: { login: agent }
    limits: { hold: 5m }
    allow: [{ select: public.b }]
  - name: elsewhere
    who: { issuer: github }
    database: other
    role: { login: agent }
    allow: [{ select: public.c }]
  - name: limits
    who: { issuer: github }
    database: shop
    deny: [{ select: public.secrets }]
";

#[test]
fn all_matching_grants_apply_together() {
    let Ok(admission) = parse(TWO).admit_job(&job(), "shop") else {
        panic!("admitted")
    };
    assert_eq!(
        admission
            .grants()
            .map(|grant| grant.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b", "limits"]
    );
    assert_eq!(
        (
            admission.login(),
            admission.database(),
            admission.hold().as_secs()
        ),
        ("agent", "shop", 300)
    );
    assert_eq!(allowed(&admission, &select("a", &["x"])).grants, ["a"]);
    assert_eq!(allowed(&admission, &select("b", &["x"])).grants, ["b"]);
    assert_eq!(
        denied(&admission, &select("secrets", &["x"])).rule,
        "limits: deny[0]"
    );
    denied(&admission, &select("c", &["x"]));
}

#[test]
fn grants_must_agree_on_the_login() {
    let text = TWO.replacen("login: agent", "login: owner", 1);
    let Err(reason) = parse(&text).admit_job(&job(), "shop") else {
        panic!("not admitted")
    };
    assert_eq!(reason.code, ReasonCode::NotPermitted);
    assert!(
        reason
            .hint
            .contains("grant a logs in as owner, grant b as agent"),
        "{}",
        reason.hint
    );
}

#[test]
fn grants_that_only_deny_and_mask_admit_nobody() {
    let text = grant("    deny: [{ all: \"*.*\" }]\n").replace("    role: { login: agent }\n", "");
    let Err(reason) = parse(&text).admit_job(&job(), "shop") else {
        panic!("not admitted")
    };
    assert!(
        reason.hint.contains("only deny and mask"),
        "{}",
        reason.hint
    );
}
