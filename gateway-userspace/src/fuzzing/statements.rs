//! Any text at all may come as a statement: it is understood or refused, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use crate::{
    identity::{Assurance, JobIdentity},
    policy::{Admission, Kinship, Policy, Verdict, evaluate_in},
    sql::{
        Catalog, ColumnUse, FunctionClass, Namespace, SavedCatalog, Statement, StatementKind,
        analyze, split,
    },
};

/// Where statements are read, and by whose rules they are judged.
struct Shop {
    catalog: Catalog,
    namespace: Namespace,
    kinship: Kinship,
    /// Nothing is allowed.
    closed: Admission,
    /// Everything is, but these columns are protected.
    masked: Admission,
}

const PROTECTED: [&str; 2] = ["email", "ssn"];

fn admission(rules: &str) -> Admission {
    let text = format!(
        "version: 1\ngrants:\n  - name: g\n    who: {{ issuer: i }}\n    database: shop\n    role: {{ login: l }}\n{rules}"
    );
    let policy = Policy::from_sources(&[(PathBuf::from("fuzz.yaml"), text)]).expect("a policy");
    let job = JobIdentity::supposed(
        "i".to_owned(),
        Assurance::OidcVerified,
        Vec::new(),
        BTreeMap::new(),
    );
    Arc::new(policy).admit_job(&job, "shop").expect("admitted")
}

fn shop() -> &'static Shop {
    static SHOP: OnceLock<Shop> = OnceLock::new();
    SHOP.get_or_init(|| {
        let saved = include_str!("../../../docs/examples/shop/shop.catalog.json");
        let (catalog, namespace) = SavedCatalog::parse(saved)
            .and_then(|saved| saved.open())
            .expect("the saved catalog of the example");
        Shop {
            kinship: Kinship::of(&catalog),
            catalog,
            namespace,
            closed: admission("    deny: [{ truncate: 'nothing.here' }]\n"),
            masked: admission(
                "    allow: [{ all: '*.*' }]\n    mask: [{ column: ['*.*.email', '*.*.ssn'], with: redact }]\n",
            ),
        }
    })
}

/// Understands a text as the gateway does, and checks what must hold of the result whatever the
/// text. Wants a deep stack, as the gateway's parser threads have.
///
/// # Panics
/// If something does not hold.
pub fn sql_analyze(text: &str) {
    let Ok(statements) = split(text) else { return };
    let shop = shop();
    for parsed in &statements {
        let again = split(parsed.text()).expect("a statement that was cut out parses");
        assert!(
            again.len() <= 1 && again.iter().all(|one| one.text() == parsed.text()),
            "a statement that was cut out is more than one"
        );
        let outcome = analyze(parsed, &shop.catalog, &shop.namespace);
        assert_eq!(
            outcome,
            analyze(parsed, &shop.catalog, &shop.namespace),
            "analysis is not deterministic"
        );
        if let Ok(statement) = outcome {
            consistent(&statement);
            closed(&statement, shop);
            masked(&statement, shop);
        }
    }
}

/// Lineage leads to what is reported.
fn consistent(statement: &Statement) {
    let known: BTreeSet<_> = statement
        .relations
        .iter()
        .map(|used| &used.relation)
        .collect();
    for column in statement.output.iter().flatten() {
        for origin in &column.origins {
            assert!(
                known.contains(&origin.relation),
                "{origin:?} is an origin, its relation is not reported"
            );
        }
    }
    for used in &statement.relations {
        for column in used.columns.keys() {
            assert_eq!(
                column.relation, used.relation,
                "a column of another relation"
            );
        }
    }
}

/// Default deny.
fn closed(statement: &Statement, shop: &Shop) {
    let Verdict::Allow(_) = evaluate_in(&shop.closed, statement, &shop.kinship) else {
        return;
    };
    for used in &statement.relations {
        assert!(
            used.system || used.temporary,
            "{:?} is allowed by nothing",
            used.relation
        );
    }
    assert!(
        statement
            .functions
            .iter()
            .all(|function| function.class != FunctionClass::Other),
        "a function is allowed by nothing"
    );
    assert!(
        statement.ddl.iter().all(|effect| effect.temporary),
        "a definition is allowed by nothing"
    );
    assert!(
        !matches!(
            statement.kind,
            StatementKind::Privilege | StatementKind::Procedural | StatementKind::Maintenance
        ),
        "{:?} is allowed by nothing",
        statement.kind
    );
}

/// A protected column comes out masked, or not at all.
fn masked(statement: &Statement, shop: &Shop) {
    let Verdict::Allow(obligations) = evaluate_in(&shop.masked, statement, &shop.kinship) else {
        return;
    };
    // The definition of a view shows nothing; whoever reads it is judged by its lineage.
    if statement
        .ddl
        .iter()
        .any(|effect| effect.object_kind == "view")
    {
        return;
    }
    let protected = |used: &str| PROTECTED.contains(&used);
    for (index, column) in statement.output.iter().flatten().enumerate() {
        let hidden = column
            .origins
            .iter()
            .any(|origin| protected(&origin.column));
        assert!(
            !hidden || obligations.redactions.iter().any(|one| one.column == index),
            "output column {index} is not masked"
        );
    }
    for (column, uses) in statement.relations.iter().flat_map(|used| &used.columns) {
        assert!(
            !protected(&column.column)
                || uses.iter().all(|one| matches!(
                    one,
                    ColumnUse::Output | ColumnUse::Inserted | ColumnUse::Updated | ColumnUse::Named
                )),
            "{column:?} is protected, and used as {uses:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fuzzing::{mutate_sql, sql_seeds},
        sql::run_on_big_stack,
    };

    #[test]
    fn what_must_hold_holds_for_the_seeds_and_their_mutations() {
        for (number, seed) in sql_seeds().enumerate() {
            let texts = (0..12)
                .map(|round| mutate_sql(seed, (number * 12 + round) as u64))
                .chain([seed.to_owned()]);
            for text in texts {
                let shown = text.clone();
                run_on_big_stack(move || sql_analyze(&text))
                    .unwrap_or_else(|error| panic!("{error}: {shown}"));
            }
        }
    }

    #[test]
    fn most_seeds_are_understood() {
        let (mut understood, mut all) = (0, 0);
        for seed in sql_seeds() {
            all += 1;
            let ok = run_on_big_stack(move || {
                let shop = shop();
                split(seed).is_ok_and(|statements| {
                    statements
                        .iter()
                        .all(|parsed| analyze(parsed, &shop.catalog, &shop.namespace).is_ok())
                })
            });
            understood += usize::from(ok.is_ok_and(|ok| ok));
        }
        assert!(understood * 2 > all, "{understood} of {all}");
    }
}
