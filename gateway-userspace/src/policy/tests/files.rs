use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::{
    masking::{Bucket, Detector, MaskKind},
    policy::grant::{DetectRule, MaskRule},
};

/// The problems of one file, each as `line:column: message`.
fn problems(text: &str) -> Vec<String> {
    match Policy::from_sources(&[(PathBuf::from("p.yaml"), text.to_owned())]) {
        Ok(_) => Vec::new(),
        Err(error) => error
            .problems()
            .iter()
            .map(|problem| {
                let text = problem.to_string();
                let first = text.lines().next().unwrap_or_default();
                first.trim_start_matches("p.yaml:").to_owned()
            })
            .collect(),
    }
}

#[track_caller]
fn problem(text: &str) -> String {
    let mut found = problems(text);
    assert_eq!(found.len(), 1, "{found:?}\n{text}");
    found.remove(0)
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap_or_else(|error| panic!("{error}"));
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_example_policy_loads() {
    let text = include_str!("../../../../docs/examples/policy.yaml");
    let policy = parse(text);
    let [grant, narrowing, observing] = policy.grants() else {
        panic!("three grants")
    };
    assert_eq!(grant.name, "agent-orders");
    assert_eq!(
        grant.role,
        Some(GrantRole::Login("orders_agent".to_owned()))
    );
    assert_eq!(grant.hold().as_secs(), 900);
    assert_eq!(
        (
            grant.allow.len(),
            grant.approve.len(),
            grant.deny.len(),
            grant.mask.len()
        ),
        (6, 4, 1, 2)
    );
    assert_eq!(
        grant
            .approve
            .iter()
            .map(|rule| rule.count)
            .collect::<Vec<_>>(),
        [1, 1, 2, 1]
    );
    let MaskRule::Columns(first) = &grant.mask[0] else {
        panic!("a mask on a column")
    };
    assert_eq!(first.mask, MaskKind::Partial);
    assert_eq!(
        policy.approver_groups().into_iter().collect::<Vec<_>>(),
        ["dba", "security"]
    );
    assert_eq!(grant.limits.rows, Some(1_000_000));
    assert_eq!(
        (narrowing.role.as_ref(), narrowing.limits.rows),
        (None, Some(1_000))
    );
    assert_eq!(observing.mode, Mode::Observe);
    assert_eq!(policy.issuers().into_iter().collect::<Vec<_>>(), ["github"]);
    assert_eq!(
        policy.roles().into_iter().collect::<Vec<_>>(),
        [("shop", None), ("shop", grant.role.as_ref())]
    );
}

#[test]
fn a_role_per_job_is_read_and_what_it_cannot_hold_is_refused() {
    let per_job =
        |rules: &str| grant(rules).replace("role: { login: agent }", "role: { per_job: true }");
    let select = "    allow:\n      - select: public.a\n";
    let policy = parse(&per_job(select));
    assert_eq!(policy.grants()[0].role, Some(GrantRole::PerJob));
    assert_ne!(policy.digest(), parse(&grant(select)).digest());
    let admission = policy.admit_job(&job(), "shop").unwrap();
    assert_eq!(admission.role().login(), None);
    for (text, part) in [
        (
            per_job("    allow:\n      - ddl: public.*\n"),
            "cannot hold `ddl`",
        ),
        (
            per_job("    approve:\n      - ddl: public.*\n        by: { count: 1 }\n"),
            "cannot hold `ddl`",
        ),
        (
            per_job(&format!("    mode: observe\n{select}")),
            "while observing",
        ),
        (
            grant(select).replace("{ login: agent }", "{ per_job: false }"),
            "`per_job` can only be true",
        ),
        (
            grant(select).replace("{ login: agent }", "{ login: a, per_job: true }"),
            "do not go together",
        ),
        (
            grant(select).replace("{ login: agent }", "{}"),
            "the role is missing",
        ),
    ] {
        assert!(problem(&text).contains(part), "{}", problem(&text));
    }
}

#[test]
fn unknown_keys_are_refused_with_their_place_and_the_nearest_word() {
    let text = grant("    alow:\n      - select: public.a\n");
    assert!(
        problem(&text)
            .starts_with("7:5: unknown key `alow`; did you mean `allow`? Known here: name, why")
    );
    let text = grant("    allow:\n      - selct: public.a\n");
    assert!(
        problem(&text).starts_with("8:9: unknown key `selct`; did you mean `select`?"),
        "{}",
        problem(&text)
    );
    let text = grant("    mask:\n      - column: a.b.c\n        whith: redact\n");
    assert!(problem(&text).starts_with("9:9: unknown key `whith`; did you mean `with`?"));
    let text = grant("    mode: obserev\n    deny: [{ all: \"*.*\" }]\n");
    assert!(problem(&text).contains("did you mean `observe`?"));
    let text = grant("    mask:\n      - column: a.b.c\n        with: null\n        what: x\n");
    assert!(
        problem(&text)
            .contains("10:9: unknown key `what`; known here: column, path, detect, with, where")
    );
}

#[test]
fn misspelt_values_are_refused_with_their_place_and_the_nearest_word() {
    let text = grant("    mask:\n      - column: a.b.c\n        with: redcat\n");
    assert_eq!(
        problem(&text),
        "9:15: `with: redcat` is not known; did you mean `redact`? Known: redact, null, partial, email, last4, token, bucket, digits"
    );
    let text = grant("    mask:\n      - { column: a.b.c, with: redact, where: equalty }\n");
    assert!(problem(&text).contains("did you mean `equality`?"));
    let text = grant("    mask:\n      - { column: a.b.c, with: redact, where: non }\n");
    assert!(problem(&text).contains("did you mean `none`"));
    let text = grant("    deny: [{ all: \"*.*\" }]\n")
        .replace("issuer: github", "issuer: github, assurance: oidc_verified");
    assert!(problem(&text).contains("did you mean `oidc-verified`"));
}

#[test]
fn a_mask_with_null_means_the_mask_null() {
    for word in ["null", "\"null\""] {
        let policy = parse(&grant(&format!(
            "    mask:\n      - {{ column: a.b.c, with: {word} }}\n"
        )));
        let MaskRule::Columns(mask) = &policy.grants()[0].mask[0] else {
            panic!("a mask on a column")
        };
        assert_eq!(mask.mask, MaskKind::Null);
    }
    let text = grant("    mask:\n      - { column: a.b.c, with: '' }\n");
    assert!(problem(&text).contains("`with: ` is not known"));
}

#[test]
fn masks_take_parameters_and_paths() {
    let policy = parse(&grant(
        "    mask:\n      - { column: a.b.c, with: bucket year }\n      - { column: a.b.d, with: digits keep 4 }\n      - { column: a.b.e, path: '$.address.street', with: redact, where: any }\n",
    ));
    let masks: Vec<(MaskKind, Option<String>)> = policy.grants()[0]
        .mask
        .iter()
        .filter_map(|rule| match rule {
            MaskRule::Columns(rule) => {
                Some((rule.mask, rule.path.as_ref().map(ToString::to_string)))
            }
            MaskRule::Detect(_) => None,
        })
        .collect();
    assert_eq!(
        masks,
        [
            (MaskKind::Bucket(Bucket::Year), None),
            (MaskKind::Digits { keep: 4 }, None),
            (MaskKind::Redact, Some("$.address.street".to_owned())),
        ]
    );
    for (rule, part) in [
        ("{ column: a.b.c, with: bucket }", "`bucket` takes"),
        ("{ column: a.b.c, with: bucket week }", "`bucket` takes"),
        ("{ column: a.b.c, with: redact 4 }", "takes no parameter"),
        ("{ column: a.b.c, with: digit }", "did you mean `digits`?"),
        (
            "{ column: a.b.c, path: address, with: redact }",
            "starts with `$`",
        ),
        ("{ path: $.a, with: redact }", "`column` is missing"),
    ] {
        let problem = problem(&grant(&format!("    mask:\n      - {rule}\n")));
        assert!(problem.contains(part), "{rule}: {problem}");
    }
}

#[test]
fn detectors_are_named_and_masked_by_what_makes_texts() {
    let policy = parse(&grant(
        "    mask:\n      - { detect: [email, credit_card], with: token }\n      - { detect: birth_date, with: bucket year }\n",
    ));
    assert_eq!(
        policy.grants()[0].mask,
        [
            MaskRule::Detect(DetectRule {
                detectors: vec![Detector::Email, Detector::CreditCard],
                mask: MaskKind::Token
            }),
            MaskRule::Detect(DetectRule {
                detectors: vec![Detector::BirthDate],
                mask: MaskKind::Bucket(Bucket::Year)
            })
        ]
    );
    for (rule, part) in [
        ("{ detect: [], with: token }", "lists nothing"),
        ("{ detect: [e-mail], with: token }", "did you mean `email`?"),
        (
            "{ detect: email, with: null }",
            "cannot stand for a part of a text",
        ),
        (
            "{ detect: email, with: bucket 10 }",
            "cannot stand for a part of a text",
        ),
        (
            "{ detect: email, column: a.b.c, with: token }",
            "do not go together",
        ),
        (
            "{ detect: email, where: any, with: token }",
            "do not go together",
        ),
        ("{ detect: email }", "`with` is missing"),
    ] {
        let problem = problem(&grant(&format!("    mask:\n      - {rule}\n")));
        assert!(problem.contains(part), "{rule}: {problem}");
    }
}

#[test]
fn patterns_that_cannot_be_read_are_refused_with_their_place() {
    let text = grant("    allow:\n      - select: [public.a, orders]\n");
    assert!(
        problem(&text).starts_with(
            "8:28: `orders` has 1 part(s); write schema.name, for example public.orders"
        )
    );
    let text = grant("    allow:\n      - select: [public.a (x, y)]\n");
    let found = problems(&text);
    assert!(found[0].contains("put quotes around it"), "{found:?}");
    let text = grant("    allow:\n      - delete: public.a (x)\n");
    assert!(problem(&text).contains("`delete` takes no columns; write public.a"));
    let text = grant("    mask:\n      - { column: public.a, with: redact }\n");
    assert!(problem(&text).contains("schema.table.column"));
    let text = grant("    allow:\n      - select: []\n");
    assert!(problem(&text).contains("`select` lists nothing"));
}

#[test]
fn rules_have_exactly_one_verb() {
    let text = grant("    allow:\n      - select: public.a\n        insert: public.a\n");
    assert!(problem(&text).contains("a rule has one verb"));
    let text = grant("    allow:\n      - {}\n");
    assert!(problem(&text).contains("a rule needs one verb: select, insert"));
}

#[test]
fn approve_rules_say_who_decides() {
    let text = grant("    approve:\n      - delete: public.a\n");
    assert!(problem(&text).contains("`by` is missing"));
    let text = grant("    approve:\n      - { delete: public.a, by: { group: dba, count: 0 } }\n");
    assert!(problem(&text).contains("`count` is between 1 and 20"));
    let text =
        grant("    approve:\n      - { delete: public.a, by: { group: dba, count: two } }\n");
    assert_eq!(problems(&text).len(), 1);
    let policy = parse(&grant(
        "    approve:\n      - { delete: public.a, by: {} }\n",
    ));
    assert_eq!(
        (
            policy.grants()[0].approve[0].group.as_ref(),
            policy.grants()[0].approve[0].count
        ),
        (None, 1)
    );
}

#[test]
fn grants_that_cannot_mean_anything_are_refused() {
    assert!(problem(&grant("")).contains("the grant has no rule"));
    assert!(problem("version: 1\ngrants: []\n").contains("there is no grant"));
    assert_eq!(problems("version: 2\ngrants:\n").len(), 2);
    let text =
        grant("    allow:\n      - select: public.a\n").replace("    role: { login: agent }\n", "");
    assert!(problem(&text).contains("`role` is missing"));
    let text =
        grant("    allow:\n      - select: public.a\n").replace("name: g\n", "name: 'a b'\n");
    assert!(problem(&text).contains("a grant's name"));
    let text =
        grant("    allow:\n      - select: public.a\n").replace("database: shop", "database: '*'");
    assert!(problem(&text).contains("without wildcards"));
    let text = grant("    allow:\n      - select: public.a\n")
        .replace("issuer: github", "issuer: github, claims: { ref: [] }");
    assert!(problem(&text).contains("claim `ref` lists no value"));
    let text = grant("    limits: { hold: 15 }\n    allow:\n      - select: public.a\n");
    assert!(problem(&text).contains("for example 15m"));
    for (limit, problem_text) in [
        ("session: 5", "for example 30m"),
        ("session: 31d", "between 1s and 30d"),
        ("statement: 50ms", "between 100ms and 24h"),
        ("rows: 0", "between 1 and"),
        ("rows: 1_000", "digits alone"),
        ("rows: 1e6", "digits alone"),
        ("rows: 10k", "digits alone"),
        ("bytes: 64 MB", "for example 64MiB"),
        ("bytes: [1]", "for example 64MiB"),
        ("session_rows: -1", "digits alone"),
        ("session_bytes: 1PB", "for example 64MiB"),
        ("statements_per_minute: 100001", "between 1 and 100000"),
    ] {
        let text = grant(&format!("    limits: {{ {limit} }}\n"));
        assert!(problem(&text).contains(problem_text), "{}", problem(&text));
    }
    let text = grant("    limits: { hold: 25h }\n    allow:\n      - select: public.a\n");
    assert!(problem(&text).contains("between 1s and 24h"));
    let text = grant("    allow:\n      - select: public.a\n").replace("version: 1", "version: 3");
    assert!(problem(&text).starts_with("1:10: version 3 is not known"));
}

#[test]
fn several_problems_are_reported_at_once() {
    let text = grant("    limits: { hold: x }\n    allow:\n      - select: a\n      - insert: b\n");
    assert_eq!(problems(&text).len(), 3);
    // Unknown and missing keys, wrong shapes and wrong words of several grants and files alike.
    let text = "version: 1
grants:
  - name: a
    who: { isuer: github }
    database: [shop]
    limits: { rows: many, bites: 1 }
    allow: nothing
    mask:
      - { column: a.b, with: redcat, when: none }
  - deny: [{ all: \"*.*\" }]
";
    let found = problems(text);
    let places: Vec<&str> = found
        .iter()
        .map(|problem| problem.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        places,
        [
            "4:12", "5:15", "6:21", "6:27", "7:12", "9:19", "9:30", "9:38", "10:5", "10:5", "10:5"
        ],
        "{found:#?}"
    );
    let sources = [("a.yaml", text), ("b.yaml", "version: 9\n")]
        .map(|(name, text)| (PathBuf::from(name), text.to_owned()));
    let error = Policy::from_sources(&sources).expect_err("wrong");
    let last = error.problems().last().expect("problems");
    assert_eq!(last.file, PathBuf::from("b.yaml"));
    assert_eq!(error.problems().len(), found.len() + 2);
}

#[test]
fn a_problem_shows_its_line_and_what_is_meant() {
    let text = grant("    allow:\n      - selct: public.a\n");
    let error = Policy::from_sources(&[(PathBuf::from("shop.yaml"), text)]).expect_err("wrong");
    assert_eq!(
        error.to_string(),
        "shop.yaml:8:9: unknown key `selct`; did you mean `select`? Known here: select, insert, \
         update, delete, truncate, call, ddl, set, all\n\
         \u{20} 8 |       - selct: public.a\n\
         \u{20}   |         ^"
    );
}

#[test]
fn a_long_line_is_cut_around_its_problem_and_wide_letters_count_double() {
    let long = format!(
        "version: 1\ngrants: [{{ name: a, why: {}, wo: 1 }}]\n",
        "x".repeat(200)
    );
    let error = Policy::from_sources(&[(PathBuf::from("a.yaml"), long)]).expect_err("wrong");
    let text = error.to_string();
    assert!(text.lines().all(|line| line.len() < 250), "{text}");
    let excerpt = |text: &str, position| {
        Excerpt::of(text, position).map(|excerpt| (excerpt.text, excerpt.indent))
    };
    assert_eq!(
        excerpt("a\n\u{65e5}\u{672c}: x\tb\n", (2, 5)),
        Some(("\u{65e5}\u{672c}: x b".to_owned(), 6))
    );
    assert_eq!(excerpt("a\n", (7, 1)), None);
    assert_eq!(excerpt("a\n", (1, 99)), Some(("a".to_owned(), 1)));
}

#[test]
fn numbers_that_can_be_read_in_two_ways_need_quotes() {
    let claims = |value: &str| {
        grant("    deny: [{ all: \"*.*\" }]\n").replace(
            "issuer: github",
            &format!("issuer: github, claims: {{ a: {value} }}"),
        )
    };
    for value in ["0x10", "1.0", "1e3", "+5"] {
        assert!(
            problem(&claims(value)).contains("can be read in several ways; put it in quotes"),
            "{value}"
        );
        assert!(
            problems(&claims(&format!("\"{value}\""))).is_empty(),
            "{value}"
        );
    }
    for value in ["10", "0123", "true", "3.5", "-1", "[1, two, '3']"] {
        assert!(
            problems(&claims(value)).is_empty(),
            "{value}: {:?}",
            problems(&claims(value))
        );
    }
    assert!(problem(&claims("null")).contains("`a` is empty"));
}

#[test]
fn yaml_that_is_none_has_a_place_too() {
    assert!(problem("version: 1\ngrants: [\n").contains(':'));
    assert!(problem(&grant("    allow: nothing\n")).starts_with("7:12: "));
    assert!(
        problem(&grant(
            "    allow:\n      - select: public.a\n    allow:\n      - select: public.b\n"
        ))
        .contains("twice")
    );
    assert!(!problems("").is_empty());
    let two = grant("    deny: [{ all: \"*.*\" }]\n") + "---\nversion: 1\n";
    assert_eq!(
        problems(&two).len(),
        1,
        "a second document is not passed over"
    );
    let merged = grant("    <<: { deny: [] }\n    deny: [{ all: \"*.*\" }]\n");
    assert_eq!(problems(&merged).len(), 1, "merge keys are refused");
}

#[test]
fn names_of_grants_are_unique_across_files() {
    let dir = folder();
    write(
        dir.path(),
        "a.yaml",
        &grant("    deny: [{ all: \"*.*\" }]\n"),
    );
    write(
        dir.path(),
        "b.yaml",
        &grant("    deny: [{ all: \"*.*\" }]\n"),
    );
    let error = Policy::load(dir.path())
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        error.contains("b.yaml:3:11: the name `g` is taken by the grant in"),
        "{error}"
    );
    assert!(error.contains("a.yaml:3"), "{error}");
}

#[test]
fn every_yaml_file_of_the_folder_counts_and_nothing_else() {
    let dir = folder();
    write(
        dir.path(),
        "b.yaml",
        &grant("    deny: [{ all: \"*.*\" }]\n"),
    );
    write(
        dir.path(),
        "a.yaml",
        &grant("    deny: [{ all: \"*.*\" }]\n").replace("name: g", "name: first"),
    );
    write(dir.path(), "README.md", "not a policy");
    write(dir.path(), ".swap.yaml", "not a policy: [");
    let policy = Policy::load(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = policy
        .grants()
        .iter()
        .map(|grant| grant.name.as_str())
        .collect();
    assert_eq!(names, ["first", "g"]);
    write(
        dir.path(),
        "c.yml",
        &grant("    deny: [{ all: \"*.*\" }]\n"),
    );
    let error = Policy::load(dir.path())
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(error.contains("rename it to c.yaml"), "{error}");
}

#[test]
fn one_bad_file_keeps_the_whole_folder_out() {
    let dir = folder();
    write(
        dir.path(),
        "a.yaml",
        &grant("    deny: [{ all: \"*.*\" }]\n"),
    );
    write(dir.path(), "b.yaml", "version: 1\ngrant: []\n");
    let error = Policy::load(dir.path())
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        error.contains("b.yaml:2:1: unknown key `grant`; did you mean `grants`?"),
        "{error}"
    );
}

#[test]
fn empty_missing_and_open_folders_are_refused() {
    let dir = folder();
    let message = |path: &Path| {
        Policy::load(path)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert!(message(dir.path()).contains("no *.yaml file"));
    assert!(message(&dir.path().join("missing")).contains("cannot be read"));
    write(
        dir.path(),
        "a.yaml",
        &grant("    deny: [{ all: \"*.*\" }]\n"),
    );
    let file = dir.path().join("a.yaml");
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .unwrap_or_else(|error| panic!("{error}"));
    };
    open(&file, 0o666);
    assert!(message(dir.path()).contains("chmod o-w"));
    open(&file, 0o644);
    assert!(Policy::load(dir.path()).is_ok());
    open(dir.path(), 0o777);
    assert!(message(dir.path()).contains("chmod o-w"));
}

#[test]
fn the_digest_follows_the_content_and_nothing_else() {
    let text = grant(
        "    allow:\n      - select: [public.a, public.b]\n    mask:\n      - { column: a.b.c, with: redact }\n",
    );
    let digest = parse(&text).digest();
    let same = format!(
        "# a comment\n{}",
        text.replace(
            "[public.a, public.b]",
            "\n          - public.a\n          - \"public.b\""
        )
    );
    assert_eq!(parse(&same).digest(), digest);
    for (from, to) in [
        ("public.b", "public.c"),
        ("public.b", "public.\\\"*\\\""),
        ("with: redact", "with: token"),
        ("with: redact", "with: redact, where: any"),
        ("with: redact", "with: redact, where: equality"),
        ("    allow:", "    mode: observe\n    allow:"),
        ("    allow:", "    limits: { hold: 1m }\n    allow:"),
        ("    allow:", "    limits: { session: 1m }\n    allow:"),
        ("    allow:", "    limits: { statement: 1m }\n    allow:"),
        ("    allow:", "    limits: { rows: 5 }\n    allow:"),
        ("    allow:", "    limits: { bytes: 5 }\n    allow:"),
        ("    allow:", "    limits: { session_rows: 5 }\n    allow:"),
        ("    allow:", "    limits: { session_bytes: 5 }\n    allow:"),
        (
            "    allow:",
            "    limits: { statements_per_minute: 5 }\n    allow:",
        ),
        ("select", "insert"),
        ("issuer: github", "issuer: gitlab"),
        ("issuer: github", "issuer: github, groups: [x]"),
        ("issuer: github", "issuer: github, claims: { a: b }"),
        (
            "issuer: github",
            "issuer: github, assurance: runner-asserted",
        ),
        ("login: agent", "login: other"),
        ("name: g", "name: h"),
    ] {
        let changed = text
            .replace("[public.a, public.b]", "[public.a, \"public.b\"]")
            .replace(from, to);
        assert_ne!(parse(&changed).digest(), digest, "{from} -> {to}");
    }
    assert_ne!(Policy::empty().digest(), digest);
}
