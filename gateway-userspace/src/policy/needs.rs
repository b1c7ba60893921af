//! The rules that a statement needs, as narrow as rules can be.
//!
//! Candidates are taken from what the statement does; which of them it really needs, the
//! evaluator says: a rule stays only if the statement would not pass without it. So this cannot
//! part from how statements are decided.

use std::collections::BTreeSet;

use super::{
    glob::Glob,
    grant::{ApproveRule, Rule, Verb},
    pattern::{ObjectPattern, Target},
};
use crate::sql::{
    Access, Catalog, ColumnRef, ColumnUse, DdlAction, DdlEffect, FunctionClass, RelationRef,
    RelationUse, Statement, StatementKind,
};

/// One rule with one target: a verb on an object, narrowed to columns where the verb takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub verb: Verb,
    /// Schema and name; `None`: everything.
    pub object: Option<(String, String)>,
    /// By their place in the table; `None`: the verb takes none.
    pub columns: Option<BTreeSet<(i16, String)>>,
}

impl Need {
    fn on(verb: Verb, schema: &str, name: &str) -> Self {
        Self {
            verb,
            object: Some((schema.to_owned(), name.to_owned())),
            columns: None,
        }
    }

    fn everything(verb: Verb) -> Self {
        Self {
            verb,
            object: None,
            columns: None,
        }
    }

    /// What is about everything comes last among its verb's: it is the first to be left out.
    fn order(&self) -> (Verb, bool, &Option<(String, String)>) {
        (self.verb, self.object.is_none(), &self.object)
    }

    /// What it removes or redefines cannot be brought back by another statement.
    pub(super) fn is_destructive(&self) -> bool {
        match self.verb {
            Verb::Delete | Verb::Truncate | Verb::Ddl | Verb::All => true,
            Verb::Select | Verb::Insert | Verb::Update | Verb::Call | Verb::Set => false,
        }
    }

    pub(super) fn rule(&self) -> Rule {
        let object = match &self.object {
            Some((schema, name)) => ObjectPattern {
                schema: Glob::literal(schema),
                name: Glob::literal(name),
            },
            None => ObjectPattern {
                schema: Glob::new("*"),
                name: Glob::new("*"),
            },
        };
        let columns = self.columns.as_ref().map(|columns| {
            columns
                .iter()
                .map(|(_, name)| Glob::literal(name))
                .collect()
        });
        Rule {
            verb: self.verb,
            targets: vec![Target { object, columns }],
        }
    }

    pub(super) fn approve_rule(&self, group: Option<&str>) -> ApproveRule {
        ApproveRule {
            rule: self.rule(),
            group: group.map(str::to_owned),
            count: 1,
            on_hold: None,
        }
    }

    /// Takes over the columns of another need for the same verb and object.
    pub(super) fn merge(&mut self, other: Self) {
        match (&mut self.columns, other.columns) {
            (Some(columns), Some(more)) => columns.extend(more),
            (columns, _) => *columns = None,
        }
    }
}

/// Every rule that a statement could need.
pub(super) fn candidates(statement: &Statement, catalog: &Catalog) -> Vec<Need> {
    let mut needs = Vec::new();
    let maintains = statement.kind == StatementKind::Maintenance;
    for used in statement
        .relations
        .iter()
        .filter(|used| !used.temporary && !is_created(statement, &used.relation))
    {
        let RelationRef { schema, name, .. } = &used.relation;
        let narrowed = |verb, columns: BTreeSet<(i16, String)>| Need {
            columns: if columns.is_empty() {
                first_column(catalog, &used.relation)
            } else {
                Some(columns)
            },
            ..Need::on(verb, schema, name)
        };
        for access in accesses(used) {
            match access {
                Access::Select => needs.push(narrowed(Verb::Select, read(used))),
                Access::Insert => {
                    needs.push(narrowed(Verb::Insert, written(used, ColumnUse::Inserted)));
                }
                Access::Update => {
                    needs.push(narrowed(Verb::Update, written(used, ColumnUse::Updated)));
                }
                Access::Delete => needs.push(Need::on(Verb::Delete, schema, name)),
                Access::Truncate => needs.push(Need::on(Verb::Truncate, schema, name)),
                Access::Lock => needs.push(narrowed(Verb::Update, BTreeSet::new())),
            }
        }
        if maintains {
            needs.push(Need::on(Verb::All, schema, name));
        }
    }
    for function in &statement.functions {
        if function.class == FunctionClass::Other {
            needs.push(Need::on(Verb::Call, &function.schema, &function.name));
        }
    }
    for effect in statement.ddl.iter().filter(|effect| !effect.temporary) {
        needs.push(definition(effect));
    }
    for change in &statement.settings {
        if let Some((prefix, name)) = change.name.split_once('.') {
            needs.push(Need::on(Verb::Set, prefix, name));
        }
    }
    if has_verbless_effect(statement) {
        needs.push(Need::everything(Verb::All));
    }
    join(needs)
}

/// The needs with those for one verb and object made one, in order.
pub(super) fn join(needs: impl IntoIterator<Item = Need>) -> Vec<Need> {
    let mut joined: Vec<Need> = Vec::new();
    for need in needs {
        match joined
            .iter_mut()
            .find(|have| have.verb == need.verb && have.object == need.object)
        {
            Some(have) => have.merge(need),
            None => joined.push(need),
        }
    }
    joined.sort_by(|one, other| one.order().cmp(&other.order()));
    joined
}

/// Leaves out every need, and every column, without which `passes` still holds; the broadest
/// first. `passes` is told which need the trial is about.
pub(super) fn minimise(mut needs: Vec<Need>, passes: impl Fn(&[Need], &Need) -> bool) -> Vec<Need> {
    needs.sort_by(|one, other| one.order().cmp(&other.order()));
    for at in (0..needs.len()).rev() {
        let need = needs.remove(at);
        if !passes(&needs, &need) {
            needs.insert(at, need);
        }
    }
    for at in 0..needs.len() {
        let columns = needs
            .get(at)
            .and_then(|need| need.columns.clone())
            .unwrap_or_default();
        for column in columns.iter().rev() {
            let mut trial = needs.clone();
            let Some(need) = trial.get_mut(at) else { break };
            let about = need.clone();
            if let Some(left) = &mut need.columns
                // An empty list would be no list, and no list means every column.
                && left.len() > 1
                && left.remove(column)
                && passes(&trial, &about)
            {
                needs = trial;
            }
        }
    }
    needs
}

/// What is done to a relation; one that is only mentioned counts as read.
fn accesses(used: &RelationUse) -> BTreeSet<Access> {
    let mut accesses = used.access.clone();
    if accesses.is_empty() || !read(used).is_empty() {
        accesses.insert(Access::Select);
    }
    accesses
}

fn read(used: &RelationUse) -> BTreeSet<(i16, String)> {
    columns(used, |uses| uses.iter().any(|by| !by.is_written()))
}

fn written(used: &RelationUse, how: ColumnUse) -> BTreeSet<(i16, String)> {
    columns(used, |uses| uses.contains(&how))
}

/// System columns come with any right.
fn columns(
    used: &RelationUse,
    wanted: impl Fn(&BTreeSet<ColumnUse>) -> bool,
) -> BTreeSet<(i16, String)> {
    used.columns
        .iter()
        .filter(|(column, uses)| column.attnum >= 0 && wanted(uses))
        .map(|(ColumnRef { column, attnum, .. }, _)| (*attnum, column.clone()))
        .collect()
}

/// Where no column is named (`SELECT count(*)`), the right to any of them is enough.
fn first_column(catalog: &Catalog, relation: &RelationRef) -> Option<BTreeSet<(i16, String)>> {
    let relation = catalog.relation(&relation.schema, &relation.name)?;
    let column = relation.columns.first()?;
    Some(BTreeSet::from([(column.attnum, column.name.clone())]))
}

fn is_created(statement: &Statement, relation: &RelationRef) -> bool {
    relation.oid == 0
        && statement.ddl.iter().any(|effect| {
            effect.action == DdlAction::Create
                && effect.schema == relation.schema
                && effect.name == relation.name
        })
}

fn definition(effect: &DdlEffect) -> Need {
    match &effect.on {
        Some(on) => Need::on(Verb::Ddl, &on.schema, &on.name),
        None if effect.schema.is_empty() => Need::everything(Verb::Ddl),
        None => Need::on(Verb::Ddl, &effect.schema, &effect.name),
    }
}

/// True for kinds that may need a right which names no object.
fn has_verbless_effect(statement: &Statement) -> bool {
    match &statement.kind {
        StatementKind::Set
        | StatementKind::Maintenance
        | StatementKind::Notify
        | StatementKind::Privilege
        | StatementKind::Procedural => true,
        StatementKind::Empty
        | StatementKind::Select
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
        | StatementKind::Discard => false,
    }
}
