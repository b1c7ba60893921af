//! Reading and writing of relations.

use std::collections::BTreeSet;

use super::system::{Guarded, guarded, shows_statements};
use crate::{
    policy::{
        Reason, ReasonCode,
        evaluate::{Weighing, line},
        grant::{Verb, relation_name},
        pattern::{Target, quoted},
    },
    sql::{Access, ColumnUse, DdlAction, RelationRef, RelationUse, Rights, StatementKind},
};

/// More columns than this are not listed in messages.
const MAX_LISTED: usize = 8;

pub(in crate::policy) fn weigh<'a>(
    weighing: &mut Weighing<'a>,
    used: &'a RelationUse,
) -> Result<(), Reason> {
    // Temporary tables are the session's own; what may flow into them is decided by `protect`.
    if used.temporary || is_created_here(weighing, &used.relation) {
        return Ok(());
    }
    for access in accesses(weighing, used) {
        match access {
            Access::Select => select(weighing, used)?,
            Access::Insert => {
                need(
                    weighing,
                    used,
                    Verb::Insert,
                    &written(used, ColumnUse::Inserted),
                )?;
            }
            Access::Update => {
                need(
                    weighing,
                    used,
                    Verb::Update,
                    &written(used, ColumnUse::Updated),
                )?;
            }
            Access::Delete => need(weighing, used, Verb::Delete, &[])?,
            Access::Truncate => need(weighing, used, Verb::Truncate, &[])?,
            Access::Lock => lock(weighing, used)?,
        }
    }
    Ok(())
}

/// True if a rule's target is about this relation, with its schema named as far as it must be.
pub(in crate::policy) fn reaches(target: &Target, used: &RelationUse) -> bool {
    // `*.*` means the database's own tables: it neither opens guarded parts of the catalog nor
    // holds or denies the catalog reads that every driver makes.
    (!used.system || !target.object.schema.is_any())
        && target
            .object
            .matches(&used.relation.schema, &used.relation.name)
}

fn accesses(weighing: &Weighing<'_>, used: &RelationUse) -> BTreeSet<Access> {
    let mut accesses = used.access.clone();
    if reads(used).next().is_some() {
        accesses.insert(Access::Select);
    }
    // Utility statements list relations without access; their own rule decides about them. For
    // anything else a relation that is only mentioned counts as read.
    let utility = matches!(
        weighing.statement.kind,
        StatementKind::Ddl | StatementKind::Maintenance | StatementKind::Privilege
    );
    if accesses.is_empty() && !utility {
        accesses.insert(Access::Select);
    }
    accesses
}

fn is_created_here(weighing: &Weighing<'_>, relation: &RelationRef) -> bool {
    relation.oid == 0
        && weighing.statement.ddl.iter().any(|effect| {
            effect.action == DdlAction::Create
                && effect.schema == relation.schema
                && effect.name == relation.name
        })
}

/// Columns read in any way. System columns (`ctid`, `xmin`) carry no values and come with any
/// right to read.
fn reads(used: &RelationUse) -> impl Iterator<Item = &str> {
    used.columns
        .iter()
        .filter(|(column, uses)| column.attnum >= 0 && uses.iter().any(|by| !by.is_written()))
        .map(|(column, _)| column.column.as_str())
}

/// Columns that are written in one way.
fn written(used: &RelationUse, how: ColumnUse) -> Vec<&str> {
    used.columns
        .iter()
        .filter(|(_, uses)| uses.contains(&how))
        .map(|(column, _)| column.column.as_str())
        .collect()
}

fn select<'a>(weighing: &mut Weighing<'a>, used: &'a RelationUse) -> Result<(), Reason> {
    let columns: Vec<&str> = reads(used).collect();
    if !used.system {
        return need(weighing, used, Verb::Select, &columns);
    }
    let must_be_granted = match guarded(&used.relation.schema, &used.relation.name) {
        Guarded::No => false,
        Guarded::Whole => true,
        Guarded::Columns(secret) => columns.iter().any(|column| secret.contains(column)),
    };
    if must_be_granted {
        return need(weighing, used, Verb::Select, &columns);
    }
    refuse_denied(weighing, used, Verb::Select, &columns)?;
    hold_approvals(weighing, used, Verb::Select, &columns);
    Ok(())
}

/// Deny, then approve, then allow, for one access with the columns it touches.
fn need<'a>(
    weighing: &mut Weighing<'a>,
    used: &'a RelationUse,
    verb: Verb,
    columns: &[&'a str],
) -> Result<(), Reason> {
    refuse_denied(weighing, used, verb, columns)?;
    let mut targets = hold_approvals(weighing, used, verb, columns);
    if is_owners(used) {
        return Ok(());
    }
    let admission = weighing.admission;
    for (grant, rule) in admission
        .allow_rules()
        .filter(|(_, rule)| covers_verb(rule.verb, verb))
    {
        let mut helps = false;
        for target in rule.targets.iter().filter(|target| grants(target, used)) {
            helps |=
                columns.is_empty() || columns.iter().any(|column| target.covers_column(column));
            targets.push(target);
        }
        if helps {
            weighing.allowed_by(grant);
        }
    }
    let missing: Vec<&str> = columns
        .iter()
        .filter(|column| !targets.iter().any(|target| target.covers_column(column)))
        .copied()
        .collect();
    if !targets.is_empty() && missing.is_empty() {
        return Ok(());
    }
    let name = relation_name(&used.relation);
    // Without any right on the relation the columns are not the point, unless a list is what is
    // safest to suggest.
    let list = if verb.takes_columns() {
        column_list(&missing)
    } else {
        String::new()
    };
    let what = format!("{} {name}{list}", doing(verb));
    let reason = weighing.default_deny(&what, &line(verb.word(), &format!("{name}{list}")));
    let unseen = used.system || shows_statements(&used.relation.name);
    weighing.refuse_by_default(unseen, reason)
}

/// True if the server asks the owner of a view, and not the job, for the right: the grant on the
/// view is enough. What carries values of others by itself stays guarded behind views too.
fn is_owners(used: &RelationUse) -> bool {
    match used.rights {
        Rights::Session | Rights::Invoker => false,
        Rights::Owner(_) => !used.system && !shows_statements(&used.relation.name),
    }
}

fn refuse_denied(
    weighing: &mut Weighing<'_>,
    used: &RelationUse,
    verb: Verb,
    columns: &[&str],
) -> Result<(), Reason> {
    let admission = weighing.admission;
    for (grant, index, rule) in admission
        .deny_rules()
        .filter(|(_, _, rule)| covers_verb(rule.verb, verb))
    {
        for target in &rule.targets {
            if !reaches_family(weighing, target, used) {
                continue;
            }
            let hit: Vec<&str> = columns
                .iter()
                .filter(|column| target.covers_column(column))
                .copied()
                .collect();
            // Which columns of a view are read, the analysis says of its tables only.
            let unknown = weighing.kinship.view_columns(&used.relation).is_some();
            if target.columns.is_none() || !hit.is_empty() || unknown {
                let list = if target.columns.is_some() {
                    column_list(&hit)
                } else {
                    String::new()
                };
                let what = format!("{} {}{list}", doing(verb), relation_name(&used.relation));
                weighing.denied(&what, grant, index, rule)?;
            }
        }
    }
    Ok(())
}

/// Notes the approve rules hit; returns their targets, which allow what they hold.
fn hold_approvals<'a>(
    weighing: &mut Weighing<'a>,
    used: &RelationUse,
    verb: Verb,
    columns: &[&str],
) -> Vec<&'a Target> {
    let admission = weighing.admission;
    let mut allowing = Vec::new();
    for (grant, index, approve) in admission
        .approve_rules()
        .filter(|(_, _, approve)| covers_verb(approve.rule.verb, verb))
    {
        for target in &approve.rule.targets {
            let hit = target.columns.is_none()
                || weighing.kinship.view_columns(&used.relation).is_some()
                || columns.iter().any(|column| target.covers_column(column));
            if !hit || !reaches_family(weighing, target, used) {
                continue;
            }
            let what = format!("{} {}", doing(verb), relation_name(&used.relation));
            weighing.hold(grant, index, approve, &what, used.system);
            if grants(target, used) {
                allowing.push(target);
            }
        }
    }
    allowing
}

fn reaches_family(weighing: &Weighing<'_>, target: &Target, used: &RelationUse) -> bool {
    reaches(target, used)
        || weighing
            .kinship
            .of_relation(&used.relation)
            .iter()
            .any(|(schema, name)| target.object.matches(schema, name))
}

/// True if an allow or approve target gives a right on this very relation.
fn grants(target: &Target, used: &RelationUse) -> bool {
    let must_name = !used.system && shows_statements(&used.relation.name);
    reaches(target, used) && (!must_name || target.object.name.as_literal().is_some())
}

fn covers_verb(rule: Verb, needed: Verb) -> bool {
    rule == needed || rule == Verb::All
}

/// The server asks for a write privilege for every lock but the weakest, which the analysis reports
/// as a read.
fn lock<'a>(weighing: &mut Weighing<'a>, used: &'a RelationUse) -> Result<(), Reason> {
    let admission = weighing.admission;
    let name = relation_name(&used.relation);
    let what = format!("locking {name}");
    for (grant, index, rule) in admission.deny_rules() {
        if rule.verb == Verb::All
            && rule
                .targets
                .iter()
                .any(|target| reaches_family(weighing, target, used))
        {
            weighing.denied(&what, grant, index, rule)?;
        }
    }
    let writes = |verb: Verb| match verb {
        Verb::Insert | Verb::Update | Verb::Delete | Verb::Truncate | Verb::All => true,
        Verb::Select | Verb::Call | Verb::Ddl | Verb::Set => false,
    };
    for (grant, index, approve) in admission.approve_rules() {
        let hit = |target: &Target| reaches_family(weighing, target, used);
        if approve.rule.verb == Verb::All && approve.rule.targets.iter().any(hit) {
            weighing.hold(grant, index, approve, &what, false);
            return Ok(());
        }
    }
    for (grant, rule) in admission
        .allow_rules()
        .filter(|(_, rule)| writes(rule.verb))
    {
        if rule.targets.iter().any(|target| grants(target, used)) {
            weighing.allowed_by(grant);
            return Ok(());
        }
    }
    let reason = Reason {
        code: ReasonCode::NotPermitted,
        message: format!("{what} is not granted"),
        rule: "default deny".to_owned(),
        hint: format!(
            "LOCK needs the right to write: add `{}` to allow in grant {}",
            line("update", &name),
            admission.example_grant()
        ),
    };
    weighing.refuse_by_default(false, reason)
}

fn column_list(columns: &[&str]) -> String {
    if columns.is_empty() || columns.len() > MAX_LISTED {
        return String::new();
    }
    let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    format!(" ({})", columns.join(", "))
}

fn doing(verb: Verb) -> &'static str {
    match verb {
        Verb::Select => "reading",
        Verb::Insert => "inserting into",
        Verb::Update => "updating",
        Verb::Delete => "deleting from",
        Verb::Truncate => "truncating",
        Verb::Call => "calling",
        Verb::Ddl => "changing the definition of",
        Verb::Set => "setting",
        Verb::All => "maintaining",
    }
}

/// VACUUM, ANALYZE and their like: only `all` covers them.
pub(super) fn maintain<'a>(
    weighing: &mut Weighing<'a>,
    used: &'a RelationUse,
) -> Result<(), Reason> {
    // ANALYZE of a temporary table is the session's own affair.
    if used.temporary {
        return Ok(());
    }
    need(weighing, used, Verb::All, &[])
}
