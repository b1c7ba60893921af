//! A statement taken apart, and each part put to every rule.

use std::collections::{BTreeMap, BTreeSet};

use super::{Part, ReasonView, RuleView, Standing, words};
use crate::{
    policy::{
        Verdict,
        evaluate::place,
        glob::Glob,
        grant::{ApproveRule, Grant, Rule, Verb, relation_name},
        kinship::Kinship,
        pattern::{ObjectPattern, Target, qualified, quoted},
        probe::Probe,
    },
    sql::{
        Access, ColumnRef, ColumnUse, DdlAction, Implied, RelationUse, Statement, StatementKind,
    },
};

/// What a part does, by itself: statements that do nothing else.
struct Taken {
    what: String,
    /// One for each column, or one for all if the part has no columns.
    units: Vec<(Option<String>, Statement)>,
    /// All of it.
    whole: Statement,
    /// Masks do not decide about it: they decide about the statement as a whole.
    without_masks: bool,
}

/// Every part of a statement, with the rules on it.
pub(super) fn parts(probe: &Probe<'_>, statement: &Statement, kinship: &Kinship) -> Vec<Part> {
    taken(statement)
        .into_iter()
        .map(|taken| part(probe, &taken, kinship))
        // What needs no rule and meets none is nothing to explain.
        .filter(|part| part.standing != Standing::Free || !part.rules.is_empty())
        .collect()
}

fn part(probe: &Probe<'_>, taken: &Taken, kinship: &Kinship) -> Part {
    let grants = if taken.without_masks {
        probe.unmasked()
    } else {
        probe.grants().to_vec()
    };
    let verdict = probe.verdict(grants, &taken.whole, kinship);
    let nothing = probe.verdict(
        probe.only(Vec::new(), Vec::new(), Vec::new()),
        &taken.whole,
        kinship,
    );
    let free = matches!(nothing, Verdict::Allow(_));
    let (standing, reason) = match &verdict {
        Verdict::Allow(_) if free => (Standing::Free, None),
        Verdict::Allow(_) => (Standing::Allowed, None),
        Verdict::RequireApproval { .. } => (Standing::Held, None),
        Verdict::Deny(reason) => (Standing::Denied, Some(ReasonView::from(reason))),
    };
    let columns: Vec<String> = taken
        .units
        .iter()
        .filter_map(|(column, _)| column.clone())
        .collect();
    let mut rules = Vec::new();
    let mut covered: BTreeSet<&str> = BTreeSet::new();
    for grant in probe.grants() {
        for (section, index, rule) in numbered(grant) {
            if matches!(section, Section::Allow) && free {
                continue;
            }
            let hit: Vec<&Option<String>> = taken
                .units
                .iter()
                .filter(|(_, unit)| counts(probe, &section, rule, unit, kinship))
                .map(|(column, _)| column)
                .collect();
            if hit.is_empty() {
                continue;
            }
            let hit: Vec<&str> = hit.into_iter().flatten().map(String::as_str).collect();
            let about = |target: &&Target| {
                let narrowed = narrowed(rule, target);
                let mut units = taken.units.iter();
                units.any(|(_, unit)| counts(probe, &section, &narrowed, unit, kinship))
            };
            let targets = rule.targets.iter().filter(about).cloned().collect();
            match section {
                Section::Allow | Section::Approve(_) => covered.extend(&hit),
                Section::Deny => {}
            }
            rules.push(RuleView {
                place: place(grant, section.word(), index),
                rule: written(
                    &section,
                    &Rule {
                        verb: rule.verb,
                        targets,
                    },
                ),
                columns: hit.into_iter().map(str::to_owned).collect(),
            });
        }
    }
    let missing = match standing {
        Standing::Denied => columns
            .iter()
            .filter(|column| !covered.contains(column.as_str()))
            .cloned()
            .collect(),
        Standing::Free | Standing::Allowed | Standing::Held => Vec::new(),
    };
    Part {
        what: taken.what.clone(),
        columns,
        standing,
        rules,
        missing,
        reason,
    }
}

enum Section<'a> {
    Allow,
    Approve(&'a ApproveRule),
    Deny,
}

impl Section<'_> {
    fn word(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Approve(_) => "approve",
            Self::Deny => "deny",
        }
    }
}

fn numbered(grant: &Grant) -> impl Iterator<Item = (Section<'_>, usize, &Rule)> {
    let allow = grant.allow.iter().enumerate();
    let approve = grant.approve.iter().enumerate();
    let deny = grant.deny.iter().enumerate();
    allow
        .map(|(index, rule)| (Section::Allow, index, rule))
        .chain(approve.map(|(index, held)| (Section::Approve(held), index, &held.rule)))
        .chain(deny.map(|(index, rule)| (Section::Deny, index, rule)))
}

/// The rule as far as it is about one target.
fn narrowed(rule: &Rule, target: &Target) -> Rule {
    Rule {
        verb: rule.verb,
        targets: vec![target.clone()],
    }
}

/// True if the rule counts for the unit: by itself it allows, holds or denies it.
fn counts(
    probe: &Probe<'_>,
    section: &Section<'_>,
    rule: &Rule,
    unit: &Statement,
    kinship: &Kinship,
) -> bool {
    let rules = match section {
        Section::Allow => probe.only(vec![rule.clone()], Vec::new(), Vec::new()),
        Section::Approve(held) => {
            let held = ApproveRule {
                rule: rule.clone(),
                ..(*held).clone()
            };
            probe.only(Vec::new(), vec![held], Vec::new())
        }
        Section::Deny => probe.only(vec![everything()], Vec::new(), vec![rule.clone()]),
    };
    match (section, probe.verdict(rules, unit, kinship)) {
        (Section::Allow, Verdict::Allow(_) | Verdict::RequireApproval { .. })
        | (Section::Approve(_), Verdict::RequireApproval { .. }) => true,
        (Section::Deny, Verdict::Deny(reason)) => reason.rule.ends_with(": deny[0]"),
        (Section::Allow | Section::Approve(_), Verdict::Deny(_))
        | (Section::Approve(_), Verdict::Allow(_))
        | (Section::Deny, Verdict::Allow(_) | Verdict::RequireApproval { .. }) => false,
    }
}

fn everything() -> Rule {
    Rule {
        verb: Verb::All,
        targets: vec![Target {
            object: ObjectPattern {
                schema: Glob::new("*"),
                name: Glob::new("*"),
            },
            columns: None,
        }],
    }
}

fn written(section: &Section<'_>, rule: &Rule) -> String {
    match section {
        Section::Allow | Section::Deny => rule.to_string(),
        Section::Approve(held) => match &held.group {
            Some(group) => format!("{rule}, by {} of group {group}", held.count),
            None => format!("{rule}, by {} of any group", held.count),
        },
    }
}

/// A statement that does nothing.
fn nothing(of: &Statement, kind: StatementKind) -> Statement {
    Statement {
        text: of.text.clone(),
        kind,
        relations: Vec::new(),
        functions: Vec::new(),
        implied: Implied::default(),
        ddl: Vec::new(),
        settings: Vec::new(),
        output: None,
        unlimited: false,
        executes: of.executes.clone(),
        catalog_version: of.catalog_version,
    }
}

fn taken(statement: &Statement) -> Vec<Taken> {
    let mut taken = Vec::new();
    taken.extend(of_kind(statement));
    for change in &statement.settings {
        let whole = Statement {
            settings: vec![change.clone()],
            ..nothing(statement, StatementKind::Set)
        };
        taken.push(Taken {
            what: format!("set {}", change.name),
            units: vec![(None, whole.clone())],
            whole,
            without_masks: false,
        });
    }
    for used in &statement.relations {
        let created = used.relation.oid == 0
            && statement.ddl.iter().any(|effect| {
                effect.action == DdlAction::Create
                    && effect.schema == used.relation.schema
                    && effect.name == used.relation.name
            });
        if !used.temporary && !created {
            taken.extend(of_relation(statement, used));
        }
    }
    for function in &statement.functions {
        let whole = Statement {
            functions: vec![function.clone()],
            ..nothing(statement, StatementKind::Select)
        };
        taken.push(Taken {
            what: format!("call {}", qualified(&function.schema, &function.name)),
            units: vec![(None, whole.clone())],
            whole,
            without_masks: false,
        });
    }
    for effect in &statement.ddl {
        let object = if effect.schema.is_empty() || effect.object_kind == "schema" {
            quoted(&effect.name)
        } else {
            qualified(&effect.schema, &effect.name)
        };
        let on = effect
            .on
            .as_ref()
            .map_or(String::new(), |on| format!(" on {}", relation_name(on)));
        let whole = Statement {
            ddl: vec![effect.clone()],
            ..nothing(statement, StatementKind::Ddl)
        };
        taken.push(Taken {
            what: format!(
                "{} {} {object}{on}{}",
                words::action(effect.action),
                effect.object_kind,
                if effect.cascade { " cascade" } else { "" }
            ),
            units: vec![(None, whole.clone())],
            whole,
            without_masks: false,
        });
    }
    // Overloads that cannot be told apart, and the columns of one ALTER, are each listed.
    let mut seen = BTreeSet::new();
    taken.retain(|part| seen.insert(part.what.clone()));
    taken
}

fn of_relation(statement: &Statement, used: &RelationUse) -> Vec<Taken> {
    let columns = |wanted: fn(&ColumnUse) -> bool| -> BTreeMap<ColumnRef, BTreeSet<ColumnUse>> {
        used.columns
            .iter()
            .filter(|(column, _)| column.attnum >= 0)
            .map(|(column, uses)| {
                let uses = uses.iter().filter(|by| wanted(by)).copied().collect();
                (column.clone(), uses)
            })
            .filter(|(_, uses): &(_, BTreeSet<ColumnUse>)| !uses.is_empty())
            .collect()
    };
    let read = columns(|by| !by.is_written());
    let inserted = columns(|by| *by == ColumnUse::Inserted);
    let updated = columns(|by| *by == ColumnUse::Updated);
    let mut accesses = used.access.clone();
    let utility = matches!(
        statement.kind,
        StatementKind::Ddl | StatementKind::Maintenance | StatementKind::Privilege
    );
    if !read.is_empty() || (accesses.is_empty() && !utility) {
        accesses.insert(Access::Select);
    }
    accesses
        .into_iter()
        .map(|access| {
            let columns = match access {
                Access::Select => read.clone(),
                Access::Insert => inserted.clone(),
                Access::Update => updated.clone(),
                Access::Delete | Access::Truncate | Access::Lock => BTreeMap::new(),
            };
            let doing = |columns: BTreeMap<ColumnRef, BTreeSet<ColumnUse>>| Statement {
                relations: vec![RelationUse {
                    access: BTreeSet::from([access]),
                    columns,
                    ..used.clone()
                }],
                ..nothing(statement, StatementKind::Select)
            };
            let mut units: Vec<(Option<String>, Statement)> = columns
                .iter()
                .map(|(column, uses)| {
                    let unit = doing(BTreeMap::from([(column.clone(), uses.clone())]));
                    (Some(column.column.clone()), unit)
                })
                .collect();
            let whole = doing(columns);
            if units.is_empty() {
                units.push((None, whole.clone()));
            }
            Taken {
                what: format!(
                    "{} {}",
                    words::access(access),
                    relation_name(&used.relation)
                ),
                units,
                whole,
                without_masks: true,
            }
        })
        .collect()
}

/// What the statement's kind asks for by itself.
fn of_kind(statement: &Statement) -> Vec<Taken> {
    let one = |what: String, whole: Statement| Taken {
        what,
        units: vec![(None, whole.clone())],
        whole,
        without_masks: false,
    };
    match &statement.kind {
        StatementKind::Notify | StatementKind::Privilege => {
            let what = words::kind(&statement.kind).to_owned();
            vec![one(what, nothing(statement, statement.kind.clone()))]
        }
        StatementKind::Procedural if statement.functions.is_empty() => {
            vec![one(
                "do".to_owned(),
                nothing(statement, StatementKind::Procedural),
            )]
        }
        StatementKind::Maintenance if statement.relations.is_empty() => vec![one(
            "maintain the whole database".to_owned(),
            nothing(statement, StatementKind::Maintenance),
        )],
        StatementKind::Maintenance => statement
            .relations
            .iter()
            .filter(|used| used.access != BTreeSet::from([Access::Select]))
            .map(|used| {
                let whole = Statement {
                    relations: vec![RelationUse {
                        access: BTreeSet::new(),
                        columns: BTreeMap::new(),
                        ..used.clone()
                    }],
                    ..nothing(statement, StatementKind::Maintenance)
                };
                one(format!("maintain {}", relation_name(&used.relation)), whole)
            })
            .collect(),
        StatementKind::Empty
        | StatementKind::Select
        | StatementKind::Set
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Truncate
        | StatementKind::Ddl
        | StatementKind::CopyOut { .. }
        | StatementKind::CopyIn
        | StatementKind::Transaction(_)
        | StatementKind::Show { .. }
        | StatementKind::DeclareCursor { .. }
        | StatementKind::Fetch { .. }
        | StatementKind::CloseCursor { .. }
        | StatementKind::Prepare { .. }
        | StatementKind::Execute { .. }
        | StatementKind::Deallocate { .. }
        | StatementKind::Explain { .. }
        | StatementKind::Lock
        | StatementKind::Listen
        | StatementKind::Discard
        | StatementKind::Procedural => Vec::new(),
    }
}
