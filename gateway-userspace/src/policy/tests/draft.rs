//! Drafts and explanations over generated work in the example's catalog: whatever was recorded,
//! the draft permits it and nothing can be left out of it; and an explanation's remedy helps.

use std::collections::BTreeSet;

use super::*;
use crate::{
    policy::{
        draft::{Actor, Draft, Observed, draft},
        explain::{Standing, VerdictView, explain},
        grant::Grant,
    },
    sql::{Catalog, Namespace, SavedCatalog, analyze, run_on_big_stack, split},
};

struct Shop {
    catalog: Catalog,
    kinship: Kinship,
    namespace: Namespace,
}

impl Shop {
    fn open() -> Self {
        let text = include_str!("../../../../docs/examples/shop/shop.catalog.json");
        let saved = SavedCatalog::parse(text).unwrap_or_else(|error| {
            panic!("{error}; here: CORDON_BLESS=1 cargo xtask test policy_tools")
        });
        let (catalog, namespace) = saved.open().unwrap_or_else(|error| panic!("{error}"));
        Self {
            kinship: Kinship::of(&catalog),
            catalog,
            namespace,
        }
    }

    fn read(&self, sql: &str) -> Statement {
        let parsed = split(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let [parsed] = parsed.as_slice() else {
            panic!("{sql} is not one statement")
        };
        analyze(parsed, &self.catalog, &self.namespace)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn draft(&self, statements: &[Statement], masked: &[String]) -> Draft {
        let observed = statements
            .iter()
            .map(|statement| Observed {
                reference: "1-1",
                statement,
                catalog: &self.catalog,
                kinship: &self.kinship,
                masked,
            })
            .collect();
        draft(&[(actor(), observed)], Some("dba"))
    }
}

fn actor() -> Actor {
    Actor {
        issuer: "github".to_owned(),
        assurance: Assurance::OidcVerified,
        claims: vec![
            ("repository_id".to_owned(), vec!["123456".to_owned()]),
            (
                "ref".to_owned(),
                vec!["refs/heads/agent/fix-1".to_owned(), "true".to_owned()],
            ),
        ],
        database: "shop".to_owned(),
        login: "agent".to_owned(),
        why: "a \"quoted\" reason: with # and \n lines".to_owned(),
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        from[usize::try_from(self.0 >> 33).expect("31 bits") % from.len()]
    }

    fn some(&mut self, from: &[&'static str]) -> Vec<&'static str> {
        let count = self.roll(&["1", "1", "2", "3"]).parse().expect("a number");
        let mut picked: Vec<&'static str> = Vec::new();
        for _ in 0..count {
            let one = self.roll(from);
            if !picked.contains(&one) {
                picked.push(one);
            }
        }
        picked
    }
}

const TABLES: [(&str, &[&str]); 5] = [
    ("customers", &["id", "name", "email", "country"]),
    ("orders", &["id", "customer_id", "note", "total"]),
    ("order_notes", &["id", "order_id", "author", "body"]),
    ("imports", &["sku", "quantity", "price"]),
    ("customer_contacts", &["id", "name", "contact"]),
];

fn sql(dice: &mut Dice) -> String {
    let names = TABLES.map(|(name, _)| name);
    let table = dice.roll(&names);
    let writable = dice.roll(&["orders", "order_notes", "imports"]);
    let of = |name: &str| {
        TABLES
            .iter()
            .find(|(table, _)| *table == name)
            .map_or(&[][..], |(_, columns)| *columns)
    };
    let columns = dice.some(of(table));
    let written = dice.some(of(writable));
    let filter = dice.roll(of(writable));
    let values = |columns: &[&str]| vec!["NULL"; columns.len()].join(", ");
    let list = |columns: &[&str]| columns.join(", ");
    match dice.roll(&[
        "select", "select", "count", "join", "insert", "copy", "update", "delete", "cte", "call",
        "lock", "ddl", "truncate", "explain", "free", "merge", "temp",
    ]) {
        "select" => format!(
            "SELECT {} FROM {table} WHERE {} IS NOT NULL ORDER BY 1",
            list(&columns),
            dice.roll(of(table))
        ),
        "count" => format!("SELECT count(*) FROM {table}"),
        "join" => "SELECT c.name, o.total FROM customers c JOIN orders o ON o.customer_id = c.id"
            .to_owned(),
        "insert" => format!(
            "INSERT INTO {writable} ({}) VALUES ({})",
            list(&written),
            values(&written)
        ),
        "copy" => format!("COPY {table} TO STDOUT").replace("customer_contacts", "imports"),
        "update" => format!(
            "UPDATE {writable} SET {} = NULL WHERE {filter} IS NULL RETURNING {filter}",
            written.first().expect("one at least")
        ),
        "delete" => format!("DELETE FROM {writable} WHERE {filter} IS NULL"),
        "cte" => format!(
            "WITH gone AS (DELETE FROM imports RETURNING sku) SELECT sku, (SELECT count(*) FROM {table}) FROM gone"
        ),
        "call" => "SELECT public.order_total(1), nextval('public.invoice_number')".to_owned(),
        "lock" => dice
            .roll(&[
                "LOCK TABLE orders IN SHARE MODE",
                "SELECT id FROM orders FOR UPDATE",
            ])
            .to_owned(),
        "ddl" => dice
            .roll(&[
                "CREATE TABLE fresh (id int REFERENCES orders (id))",
                "CREATE TABLE taken AS SELECT id FROM customers",
                "CREATE INDEX ON imports (price)",
                "ALTER TABLE owned_plain ADD COLUMN more text",
                "DROP TABLE owned_other CASCADE",
                "CREATE VIEW short AS SELECT sku FROM imports",
            ])
            .to_owned(),
        "truncate" => "TRUNCATE imports, order_notes".to_owned(),
        "explain" => format!("EXPLAIN DELETE FROM {writable}"),
        "free" => dice
            .roll(&[
                "SET TimeZone = 'UTC'",
                "BEGIN",
                "SELECT relname FROM pg_catalog.pg_class",
                "SELECT now(), upper('x')",
            ])
            .to_owned(),
        "merge" => "MERGE INTO imports USING (SELECT 'A' AS s) n ON sku = n.s WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (sku, quantity) VALUES (n.s, 1)"
            .to_owned(),
        _ => "CREATE TEMPORARY TABLE mine AS SELECT sku FROM imports".to_owned(),
    }
}

fn destroys(statement: &Statement) -> bool {
    let removes = statement.relations.iter().any(|used| {
        used.access.contains(&Access::Delete) || used.access.contains(&Access::Truncate)
    });
    let defines = statement.ddl.iter().any(|effect| !effect.temporary);
    // A plain EXPLAIN runs nothing.
    (removes || defines) && statement.kind != StatementKind::Explain { analyze: false }
}

fn permits(grants: Vec<Grant>, shop: &Shop, statements: &[Statement]) -> bool {
    let Ok(admission) = Arc::new(Policy::new(grants, Vec::new())).admit_job(&job(), "shop") else {
        return false;
    };
    statements.iter().all(|statement| {
        !matches!(
            evaluate_in(&admission, statement, &shop.kinship),
            Verdict::Deny(_)
        )
    })
}

/// The grant with one rule less, or one column less, in every way there is.
fn narrower(grant: &Grant) -> Vec<Grant> {
    let mut narrower = Vec::new();
    for at in 0..grant.allow.len() {
        let mut less = grant.clone();
        less.allow.remove(at);
        narrower.push(less);
        let columns = grant.allow[at].targets[0].columns.as_ref();
        let count = columns.map_or(0, Vec::len);
        for column in (0..count).filter(|_| count > 1) {
            let mut less = grant.clone();
            let columns = less.allow[at].targets[0].columns.as_mut();
            columns.expect("columns").remove(column);
            narrower.push(less);
        }
    }
    for at in 0..grant.approve.len() {
        let mut less = grant.clone();
        less.approve.remove(at);
        narrower.push(less);
    }
    narrower
}

#[test]
fn a_draft_permits_what_was_recorded_and_nothing_can_be_left_out_of_it() {
    run_on_big_stack(|| {
        let shop = Shop::open();
        let mut dice = Dice(7);
        let (mut rules, mut held) = (0, 0);
        for _ in 0..120 {
            let count = dice.roll(&["1", "2", "4", "7"]).parse().expect("a number");
            let texts: BTreeSet<String> = (0..count).map(|_| sql(&mut dice)).collect();
            let statements: Vec<Statement> = texts.iter().map(|text| shop.read(text)).collect();
            let draft = shop.draft(&statements, &[]);
            assert_eq!(draft, shop.draft(&statements, &[]), "the same twice");
            assert!(draft.left_out.is_empty(), "{:?}", draft.left_out);
            assert_eq!(
                draft.allowed + draft.held,
                if draft.policy.is_empty() {
                    0
                } else {
                    statements.len()
                }
            );
            if draft.policy.is_empty() {
                // Nothing in it needs a grant.
                assert!(statements.iter().all(|statement| !destroys(statement)));
                continue;
            }
            let policy = parse(&draft.policy);
            let [grant] = policy.grants() else {
                panic!("{}", draft.policy)
            };
            let admission = policy.admit_job(&job(), "shop").expect("the job is meant");
            for statement in &statements {
                let verdict = evaluate_in(&admission, statement, &shop.kinship);
                let as_expected = match verdict {
                    Verdict::Allow(_) => !destroys(statement),
                    Verdict::RequireApproval { .. } => destroys(statement),
                    Verdict::Deny(_) => false,
                };
                assert!(
                    as_expected,
                    "{}: {verdict:?}\n{}",
                    statement.text, draft.policy
                );
            }
            for less in narrower(grant) {
                assert!(
                    !permits(vec![less.clone()], &shop, &statements),
                    "{texts:#?} pass with less than\n{}\nnamely {less:#?}",
                    draft.policy
                );
                rules += 1;
            }
            held += draft.held;
        }
        assert!(
            rules > 500 && held > 50,
            "{rules} rules, {held} held: too few to mean much"
        );
    })
    .expect("no panic");
}

#[test]
fn a_remedy_lets_the_statement_pass_and_parts_agree_with_the_verdict() {
    run_on_big_stack(|| {
        let shop = Shop::open();
        let mut dice = Dice(11);
        let mut remedies = 0;
        for _ in 0..300 {
            let texts: Vec<String> = (0..3).map(|_| sql(&mut dice)).collect();
            let statements: Vec<Statement> = texts.iter().map(|text| shop.read(text)).collect();
            let draft = shop.draft(&statements[..2], &[]);
            if draft.policy.is_empty() {
                continue;
            }
            let policy = parse(&draft.policy);
            let admission = policy.admit_job(&job(), "shop").expect("the job is meant");
            for statement in &statements {
                let said = explain(&job(), &admission, statement, &shop.catalog, &shop.kinship);
                let parts = |standing| said.parts.iter().any(|part| part.standing == standing);
                let agrees = match &said.verdict {
                    VerdictView::Allow { .. } => !parts(Standing::Denied),
                    VerdictView::Hold { .. } => parts(Standing::Held) && !parts(Standing::Denied),
                    VerdictView::Deny { .. } => parts(Standing::Denied),
                };
                assert!(agrees, "{said:#?}\n{}", draft.policy);
                let VerdictView::Deny { .. } = said.verdict else {
                    assert!(said.remedy.is_none());
                    continue;
                };
                let remedy = said.remedy.as_ref().expect("a rule could allow it");
                let mut text = draft.policy.clone();
                for (section, lines, by) in [
                    ("    allow:\n", &remedy.allow, ""),
                    (
                        "    approve:\n",
                        &remedy.approve,
                        "        by: { count: 1 }\n",
                    ),
                ] {
                    let lines: Vec<String> = lines
                        .iter()
                        .map(|line| format!("      {line}\n{by}"))
                        .collect();
                    let lines = lines.concat();
                    if lines.is_empty() {
                        continue;
                    }
                    text = if text.contains(section) {
                        text.replace(section, &(section.to_owned() + &lines))
                    } else {
                        text + section + &lines
                    };
                }
                assert!(
                    permits(
                        parse(&text).grants().to_vec(),
                        &shop,
                        std::slice::from_ref(statement)
                    ),
                    "{}: {remedy:?}",
                    statement.text
                );
                remedies += 1;
            }
        }
        assert!(remedies > 100, "{remedies} remedies: too few to mean much");
    })
    .expect("no panic");
}

#[test]
fn what_was_masked_is_masked_as_strictly_as_the_statements_permit() {
    run_on_big_stack(|| {
        let shop = Shop::open();
        let masked = ["contact: partial".to_owned(), "email: null".to_owned()];
        let plain = shop.read("SELECT name, contact FROM customer_contacts");
        let draft = shop.draft(std::slice::from_ref(&plain), &masked);
        assert!(
            draft
                .policy
                .contains("- column: public.customers.email\n        with: partial\n"),
            "{}",
            draft.policy
        );
        parse(&draft.policy);
        // The stricter of two, and with conditions only where one was seen.
        let filtered = shop.read("SELECT email FROM customers WHERE email = 'x'");
        let draft = shop.draft(&[plain, filtered], &masked);
        assert!(
            draft
                .policy
                .contains("with: null\n        where: equality\n"),
            "{}",
            draft.policy
        );
        parse(&draft.policy);
        let searched = shop.read("SELECT email FROM customers WHERE email LIKE 'x%'");
        let draft = shop.draft(&[searched], &masked);
        assert!(draft.policy.contains("where: any\n"), "{}", draft.policy);
        parse(&draft.policy);
        // A mask that would refuse what ran is not kept, and that is said.
        let derived = shop.read("SELECT email, upper(email) FROM customers");
        let draft = shop.draft(&[derived], &masked);
        assert!(!draft.policy.contains("mask:"), "{}", draft.policy);
        assert_eq!(draft.unmasked, ["public.customers.email"]);
        assert_eq!((draft.allowed, draft.held), (1, 0));
    })
    .expect("no panic");
}

#[test]
fn what_only_all_could_permit_is_left_out() {
    run_on_big_stack(|| {
        let shop = Shop::open();
        let statements = [
            "VACUUM orders",
            "NOTIFY x",
            "DO 'begin end'",
            "SET role = 'a'",
            "SELECT id FROM orders",
        ]
        .map(|text| shop.read(text));
        let draft = shop.draft(&statements, &[]);
        assert_eq!((draft.allowed, draft.held, draft.left_out.len()), (1, 0, 4));
        assert!(
            draft.left_out[0].reason.contains("`- all: public.orders`"),
            "{draft:?}"
        );
        assert!(draft.left_out[3].reason.contains("role"), "{draft:?}");
        assert!(!draft.policy.contains("all:"), "{}", draft.policy);
    })
    .expect("no panic");
}

#[test]
fn names_that_yaml_or_policies_could_misread_come_back_as_they_are() {
    for name in [
        "Odd Name",
        "a.b",
        "x: y",
        "a # b",
        "star*",
        "'q'",
        "\"dq\"",
        "new\nline",
        "ü",
        "true",
        "1a",
        "tab\there",
    ] {
        let mut one = select("x", &["a"]);
        let relation = RelationRef {
            schema: name.to_owned(),
            name: name.to_owned(),
            oid: 16_384,
        };
        one.relations[0].relation = relation.clone();
        one.relations[0].columns = [(
            ColumnRef {
                relation,
                column: name.to_owned(),
                attnum: 1,
            },
            BTreeSet::from([ColumnUse::Filter]),
        )]
        .into();
        one.output = None;
        let (catalog, kinship) = (Catalog::default(), Kinship::none());
        let observed = Observed {
            reference: "1-1",
            statement: &one,
            catalog: &catalog,
            kinship: &kinship,
            masked: &[],
        };
        let draft = draft(&[(actor(), vec![observed])], None);
        assert_eq!(
            (draft.allowed, draft.left_out.len()),
            (1, 0),
            "{name:?}: {draft:#?}"
        );
        let policy = parse(&draft.policy);
        let target = &policy.grants()[0].allow[0].targets[0];
        assert!(
            target.object.matches(name, name) && target.covers_column(name),
            "{name:?}"
        );
        assert!(!target.object.matches("other", name) && !target.covers_column("other"));
        assert_eq!(
            policy.grants()[0].why.as_deref(),
            Some(actor().why.as_str())
        );
    }
}

#[test]
fn what_only_observes_is_explained_as_if_it_were_enforced() {
    run_on_big_stack(|| {
        let shop = Shop::open();
        let rules = "    mode: observe\n    allow:\n      - select: public.orders (id)\n";
        let admission = admission(rules);
        let said = |sql: &str| {
            let statement = shop.read(sql);
            explain(&job(), &admission, &statement, &shop.catalog, &shop.kinship)
        };
        let passes = said("SELECT id FROM orders");
        assert_eq!(passes.verdict.enforced(), "allow");
        let observed = said("SELECT total FROM orders");
        assert_eq!(observed.verdict.word(), "allow");
        assert_eq!(observed.verdict.enforced(), "deny");
        let reason = observed.verdict.reason().expect("why it would be denied");
        assert!(
            reason.message.contains("public.orders (total)"),
            "{reason:?}"
        );
        assert_eq!(observed.parts[0].standing, Standing::Denied);
        let remedy = observed.remedy.expect("a rule would allow it");
        assert_eq!(remedy.allow, ["- select: public.orders (total)"]);
    })
    .expect("no panic");
}
