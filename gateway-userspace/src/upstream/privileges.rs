//! What a job's grants give, as privileges of the database.
//!
//! The policy decides more finely than the database can (masks, approvals, what may be asked of a
//! column). The privileges are the same limits a second time, as far as the database knows them:
//! whatever gets past the analysis meets them. What waits for approval is among them, since it
//! runs once it is approved.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::objects::{Objects, Relation};
use crate::policy::{Grant, Rule, Target, Verb};

/// A privilege on a table, view or sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    Usage,
}

impl Privilege {
    fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
            Self::Usage => "USAGE",
        }
    }

    /// The verb that gives it on a table.
    fn verb(self) -> Option<Verb> {
        match self {
            Self::Select => Some(Verb::Select),
            Self::Insert => Some(Verb::Insert),
            Self::Update => Some(Verb::Update),
            Self::Delete => Some(Verb::Delete),
            Self::Truncate => Some(Verb::Truncate),
            Self::Usage => None,
        }
    }
}

const ON_TABLES: [Privilege; 5] = [
    Privilege::Select,
    Privilege::Insert,
    Privilege::Update,
    Privilege::Delete,
    Privilege::Truncate,
];

/// On which part of a relation: all of it, or these columns.
type Part = Option<BTreeSet<String>>;

/// Privileges, in order, so that the same ones have the same digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Privileges {
    tables: BTreeMap<(u32, Privilege), Part>,
    sequences: BTreeSet<(u32, Privilege)>,
    routines: BTreeSet<u32>,
    schemas: BTreeSet<u32>,
}

impl Privileges {
    /// What these grants of one job give, of what there is.
    pub(super) fn of<'g>(grants: impl Iterator<Item = &'g Grant>, objects: &Objects) -> Self {
        let (mut gives, mut denies) = (Vec::new(), Vec::new());
        for grant in grants {
            gives.extend(&grant.allow);
            gives.extend(grant.approve.iter().map(|held| &held.rule));
            denies.extend(&grant.deny);
        }
        let mut found = Self::default();
        let mut schemas = BTreeSet::new();
        for relation in &objects.relations {
            let before = found.len();
            if relation.sequence {
                found.sequence(relation, &gives, &denies);
            } else {
                found.table(relation, &gives, &denies);
            }
            if found.len() > before {
                schemas.insert(relation.schema.as_str());
            }
        }
        for routine in &objects.routines {
            let about = |rule: &&Rule| {
                covers(rule.verb, Verb::Call)
                    && targets(rule, &routine.schema, &routine.name)
                        .next()
                        .is_some()
            };
            if gives.iter().copied().any(|rule| about(&rule))
                && !denies.iter().copied().any(|rule| about(&rule))
            {
                found.routines.insert(routine.oid);
                schemas.insert(routine.schema.as_str());
            }
        }
        for schema in &objects.schemas {
            if schemas.contains(schema.name.as_str()) {
                found.schemas.insert(schema.oid);
            }
        }
        found
    }

    fn len(&self) -> usize {
        self.tables.len() + self.sequences.len()
    }

    fn table(&mut self, relation: &Relation, gives: &[&Rule], denies: &[&Rule]) {
        for privilege in ON_TABLES {
            let Some(verb) = privilege.verb() else {
                continue;
            };
            let Some(part) = part(relation, verb, gives, denies) else {
                continue;
            };
            if privilege == Privilege::Insert {
                // Columns that may not be named take their defaults all the same.
                let taken = relation.defaults.iter();
                self.sequences
                    .extend(taken.map(|sequence| (*sequence, Privilege::Usage)));
            }
            self.tables.insert((relation.oid, privilege), part);
        }
    }

    /// `select` reads a sequence's state, `insert` and `update` take values from it, and `all`
    /// sets it, too.
    fn sequence(&mut self, relation: &Relation, gives: &[&Rule], denies: &[&Rule]) {
        let has = |verb| part(relation, verb, gives, denies).is_some();
        if has(Verb::Select) {
            self.sequences.insert((relation.oid, Privilege::Select));
        }
        if has(Verb::Insert) || has(Verb::Update) {
            self.sequences.insert((relation.oid, Privilege::Usage));
        }
        if has(Verb::All) {
            self.sequences.insert((relation.oid, Privilege::Update));
        }
    }

    /// A text that tells them apart from all others: 16 hex digits of a SHA-256.
    pub(super) fn digest(&self) -> String {
        let digest = digest(&SHA256, format!("{self:?}").as_bytes());
        let mut text = String::new();
        for byte in digest.as_ref().iter().take(8) {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// As `make_grant_role` takes them.
    pub(super) fn to_json(&self) -> Value {
        let mut items = vec![json!({ "on": "database" })];
        items.extend(
            self.schemas
                .iter()
                .map(|oid| json!({ "on": "schema", "oid": oid })),
        );
        for ((oid, privilege), part) in &self.tables {
            items.push(json!({ "on": "table", "oid": oid, "privilege": privilege.word(), "columns": part }));
        }
        for (oid, privilege) in &self.sequences {
            items.push(json!({ "on": "sequence", "oid": oid, "privilege": privilege.word() }));
        }
        items.extend(
            self.routines
                .iter()
                .map(|oid| json!({ "on": "routine", "oid": oid })),
        );
        Value::Array(items)
    }
}

/// On which part of a relation the rules give a right; `None`: on nothing of it.
fn part(relation: &Relation, verb: Verb, gives: &[&Rule], denies: &[&Rule]) -> Option<Part> {
    let about = |rule: &&&Rule| covers(rule.verb, verb);
    let given: Vec<&Target> = gives
        .iter()
        .filter(about)
        .flat_map(|rule| targets(rule, &relation.schema, &relation.name))
        .collect();
    let denied: Vec<&Target> = denies
        .iter()
        .filter(about)
        .flat_map(|rule| targets(rule, &relation.schema, &relation.name))
        .collect();
    if given.is_empty() || denied.iter().any(|target| target.columns.is_none()) {
        return None;
    }
    if denied.is_empty() && given.iter().any(|target| target.columns.is_none()) {
        return Some(None);
    }
    let columns: BTreeSet<String> = relation
        .columns
        .iter()
        .filter(|column| given.iter().any(|target| target.covers_column(column)))
        .filter(|column| !denied.iter().any(|target| target.covers_column(column)))
        .cloned()
        .collect();
    (!columns.is_empty()).then_some(Some(columns))
}

fn targets<'r>(rule: &'r Rule, schema: &'r str, name: &'r str) -> impl Iterator<Item = &'r Target> {
    rule.targets
        .iter()
        .filter(move |target| target.object.matches(schema, name))
}

fn covers(rule: Verb, needed: Verb) -> bool {
    rule == needed || rule == Verb::All
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::objects::{Routine, Schema};
    use super::*;
    use crate::policy::Policy;

    fn objects() -> Objects {
        let table = |oid, schema: &str, name: &str, columns: &[&str]| Relation {
            schema: schema.to_owned(),
            name: name.to_owned(),
            oid,
            sequence: false,
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            defaults: Vec::new(),
        };
        let sequence = |oid, name: &str| Relation {
            sequence: true,
            ..table(oid, "public", name, &[])
        };
        Objects {
            relations: vec![
                Relation {
                    defaults: vec![20],
                    ..table(10, "public", "orders", &["id", "status", "note"])
                },
                table(11, "public", "secrets", &["name", "value"]),
                table(12, "audit", "trail", &["at"]),
                sequence(20, "orders_id_seq"),
                sequence(21, "invoice_number"),
            ],
            routines: vec![Routine {
                schema: "public".to_owned(),
                name: "order_total".to_owned(),
                oid: 30,
            }],
            schemas: vec![
                Schema {
                    name: "public".to_owned(),
                    oid: 1,
                },
                Schema {
                    name: "audit".to_owned(),
                    oid: 2,
                },
            ],
        }
    }

    fn privileges(rules: &str) -> Privileges {
        let text = format!(
            "version: 1\ngrants:\n  - name: g\n    who: {{ issuer: i }}\n    database: d\n    role: {{ per_job: true }}\n{rules}"
        );
        let policy = Policy::from_sources(&[(PathBuf::from("t.yaml"), text)]).unwrap();
        Privileges::of(policy.grants().iter(), &objects())
    }

    fn columns<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    #[test]
    fn rules_become_the_privileges_that_they_name_and_no_others() {
        let found = privileges(
            "    allow:\n      - select: public.orders\n      - update: public.orders (status, note)\n      - call: public.order_total\n",
        );
        assert_eq!(
            found.tables.into_iter().collect::<Vec<_>>(),
            [
                ((10, Privilege::Select), None),
                ((10, Privilege::Update), Some(columns(["status", "note"]))),
            ]
        );
        assert_eq!(found.routines, [30].into());
        assert_eq!(found.schemas, [1].into());
        assert!(found.sequences.is_empty());
    }

    #[test]
    fn inserts_come_with_the_sequences_of_their_defaults_and_held_rules_count() {
        let found = privileges(
            "    allow:\n      - insert: public.orders (status)\n    approve:\n      - delete: public.orders\n        by: { count: 1 }\n",
        );
        assert_eq!(found.sequences, [(20, Privilege::Usage)].into());
        assert!(found.tables.contains_key(&(10, Privilege::Delete)));
        assert_eq!(
            found.tables[&(10, Privilege::Insert)],
            Some(columns(["status"]))
        );
    }

    #[test]
    fn what_is_denied_is_left_out() {
        let found = privileges(
            "    allow:\n      - select: public.*\n    deny:\n      - select: [public.secrets, public.orders (note)]\n",
        );
        assert_eq!(found.tables.get(&(11, Privilege::Select)), None);
        assert_eq!(
            found.tables[&(10, Privilege::Select)],
            Some(columns(["id", "status"]))
        );
        assert!(!found.schemas.contains(&2));
    }

    #[test]
    fn the_digest_changes_with_the_privileges_alone() {
        let one = privileges("    allow:\n      - select: public.orders\n");
        let same = privileges("    allow:\n      - select: [public.orders, public.orders]\n");
        let other = privileges("    allow:\n      - select: public.orders (id)\n");
        assert_eq!(one.digest(), same.digest());
        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.digest().len(), 16);
    }
}
