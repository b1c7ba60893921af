use std::time::Duration;

use super::*;

fn limits(files: &[&str]) -> Limits {
    let sources: Vec<(PathBuf, String)> = files
        .iter()
        .enumerate()
        .map(|(index, text)| {
            (
                PathBuf::from(format!("{index}.yaml")),
                text.replace("name: g", &format!("name: g{index}")),
            )
        })
        .collect();
    let policy = match Policy::from_sources(&sources) {
        Ok(policy) => Arc::new(policy),
        Err(error) => panic!("{error}"),
    };
    match policy.admit_job(&job(), "shop") {
        Ok(admission) => admission.limits().clone(),
        Err(reason) => panic!("{reason:?}"),
    }
}

const ALLOW: &str = "    allow: [{ select: public.t }]\n";

#[test]
fn a_grant_without_limits_limits_nothing() {
    assert_eq!(limits(&[&grant(ALLOW)]), Limits::default());
    assert!(!Limits::default().limits_results());
}

#[test]
fn of_each_kind_the_narrowest_of_all_grants_holds_and_names_its_rule() {
    let first = grant(&format!(
        "    limits: {{ session: 30m, statement: 90s, rows: 1000, bytes: 64MiB, session_rows: 5 }}\n{ALLOW}"
    ));
    let second = grant(&format!(
        "    limits: {{ session: 1h, statement: 1m30s, rows: 10, session_bytes: 1GB, statements_per_minute: 60 }}\n{ALLOW}"
    ));
    // A grant of another database or another job limits nothing here.
    let other = grant(&format!("    limits: {{ rows: 1 }}\n{ALLOW}"))
        .replace("database: shop", "database: other");
    let limits = limits(&[&first, &second, &other]);
    let shown = |rule: &Arc<str>| rule.to_string();
    let session = limits.session.as_ref().expect("session");
    assert_eq!(
        (session.most, shown(&session.rule).as_str()),
        (Duration::from_mins(30), "g0: limits.session")
    );
    let statement = limits.statement.as_ref().expect("statement");
    assert_eq!(
        (statement.most, shown(&statement.rule).as_str()),
        (Duration::from_secs(90), "g0: limits.statement")
    );
    let counts = [
        (&limits.rows, 10, "g1: limits.rows"),
        (&limits.bytes, 64 << 20, "g0: limits.bytes"),
        (&limits.session_rows, 5, "g0: limits.session_rows"),
        (
            &limits.session_bytes,
            1_000_000_000,
            "g1: limits.session_bytes",
        ),
        (
            &limits.statements_per_minute,
            60,
            "g1: limits.statements_per_minute",
        ),
    ];
    for (limit, most, rule) in counts {
        let limit = limit.as_ref().expect(rule);
        assert_eq!((limit.most, shown(&limit.rule).as_str()), (most, rule));
    }
    assert!(limits.limits_results());
    let shown: Vec<String> = limits
        .in_force()
        .iter()
        .map(|limit| format!("{} {}", limit.kind.word(), limit.written()))
        .collect();
    assert_eq!(
        shown,
        [
            "session 30m",
            "statement 1m30s",
            "rows 10",
            "bytes 67108864",
            "session_rows 5",
            "session_bytes 1000000000",
            "statements_per_minute 60",
        ]
    );
}

#[test]
fn a_limit_says_what_was_reached_and_what_would_allow_more() {
    let limits = limits(&[&grant(&format!(
        "    limits: {{ session: 30m, statement: 500ms, rows: 1, bytes: 1kB, session_rows: 5, session_bytes: 1kB, statements_per_minute: 60 }}\n{ALLOW}"
    ))]);
    let reasons: Vec<Reason> = limits
        .in_force()
        .iter()
        .map(|limit| limit.reason(None))
        .collect();
    let said: Vec<(&str, &str)> = reasons
        .iter()
        .map(|reason| (reason.sqlstate(), reason.message.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("57P01", "the session has lasted 30m, the longest it may"),
            ("57014", "the statement ran longer than 500ms"),
            ("54000", "the result has more than 1 row"),
            ("54000", "the result has more than 1000 bytes"),
            ("54000", "the results of this session have more than 5 rows"),
            (
                "54000",
                "the results of this session have more than 1000 bytes"
            ),
            (
                "53400",
                "the job has sent 60 statements to this database within 60 seconds, the most it may"
            ),
        ]
    );
    for (reason, limit) in reasons.iter().zip(limits.in_force()) {
        assert_eq!(reason.rule, format!("g0: limits.{}", limit.kind.word()));
        let raise = format!("or raise limits.{} in grant g0", limit.kind.word());
        assert!(reason.hint.ends_with(&raise), "{}", reason.hint);
    }
    let rate = limits.in_force().pop().expect("the last");
    let hint = rate.reason(Some(Duration::from_millis(11_001))).hint;
    assert!(hint.starts_with("retry in 12 s; "), "{hint}");
}

#[test]
fn a_grant_that_only_limits_needs_neither_role_nor_rules() {
    let only = grant("    limits: { rows: 7 }\n").replace("    role: { login: agent }\n", "");
    let limits = limits(&[&grant(ALLOW), &only]);
    assert_eq!(limits.rows.map(|limit| limit.most), Some(7));
}

#[test]
fn what_is_held_is_refused_if_a_rule_or_its_grant_says_so_and_held_shorter_in_a_transaction() {
    let requirement = |grant: &str, first: &str, second: &str| {
        let rules = format!(
            "{grant}    approve:\n      - {{ delete: public.a, by: {{ group: dba }}{first} }}\n      - {{ delete: public.*, by: {{ count: 1 }}{second} }}\n"
        );
        let delete = statement(
            StatementKind::Delete,
            vec![used("a", &[Access::Delete], &[])],
        );
        held(&admission(&rules), &delete)
    };
    let refuse = "    on_hold: refuse\n";
    for (grant, first, second, expected) in [
        ("", "", "", OnHold::Wait),
        ("", ", on_hold: wait", ", on_hold: refuse", OnHold::Refuse),
        (refuse, "", ", on_hold: wait", OnHold::Refuse),
        (refuse, ", on_hold: wait", ", on_hold: wait", OnHold::Wait),
    ] {
        let (requirement, reason) = requirement(grant, first, second);
        assert_eq!(requirement.on_hold, expected, "{grant}{first}{second}");
        let again = reason.hint.contains("again");
        assert_eq!(again, expected == OnHold::Refuse, "{}", reason.hint);
    }
    for (limits, hold, in_transaction) in [
        ("", 900, 120),
        ("    limits: { hold: 1m }\n", 60, 60),
        ("    limits: { hold_in_transaction: 10m }\n", 900, 600),
        ("    limits: { hold: 5s, hold_in_transaction: 1m }\n", 5, 5),
    ] {
        let (requirement, _) = requirement(limits, "", "");
        assert_eq!(
            (
                requirement.hold.as_secs(),
                requirement.hold_in_transaction.as_secs()
            ),
            (hold, in_transaction),
            "{limits}"
        );
    }
    let wrong = grant("    on_hold: later\n    allow: [{ select: public.a }]\n");
    let error = Policy::from_sources(&[("p.yaml".into(), wrong)]).expect_err("no such word");
    assert!(error.to_string().contains("wait, refuse"), "{error}");
}
