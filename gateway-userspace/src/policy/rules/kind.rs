//! What kind of statement it is: gates that its relations, functions and objects do not show.

use std::collections::BTreeSet;

use super::relation;
use crate::{
    policy::{
        Reason, ReasonCode,
        evaluate::Weighing,
        grant::{Rule, Verb},
    },
    sql::{Access, Statement, StatementKind},
};

pub(in crate::policy) fn weigh(weighing: &mut Weighing<'_>) -> Result<(), Reason> {
    let statement = weighing.statement;
    if let Some(name) = &statement.executes {
        return Err(unresolved(&format!("the prepared statement {name}")));
    }
    match &statement.kind {
        StatementKind::Empty
        | StatementKind::Select
        | StatementKind::CopyOut { .. }
        | StatementKind::DeclareCursor { .. }
        | StatementKind::Prepare { .. }
        | StatementKind::Explain { .. }
        | StatementKind::Transaction(_)
        | StatementKind::Show { .. }
        | StatementKind::CloseCursor { .. }
        | StatementKind::Deallocate { .. }
        | StatementKind::Listen
        | StatementKind::Discard => Ok(()),
        StatementKind::Insert | StatementKind::CopyIn => expect(statement, Access::Insert),
        StatementKind::Update => expect(statement, Access::Update),
        StatementKind::Delete => expect(statement, Access::Delete),
        StatementKind::Truncate => expect(statement, Access::Truncate),
        // A MERGE whose only action is DO NOTHING writes nothing; a LOCK may be that of a read.
        StatementKind::Merge | StatementKind::Lock => {
            if statement.relations.is_empty() {
                return Err(without_effects());
            }
            Ok(())
        }
        StatementKind::Ddl => {
            if statement.ddl.is_empty() {
                return Err(without_effects());
            }
            Ok(())
        }
        StatementKind::Set => {
            if statement.settings.is_empty() {
                return Err(without_effects());
            }
            Ok(())
        }
        StatementKind::Execute { name } => {
            if statement.output.is_none()
                && statement.relations.is_empty()
                && statement.functions.is_empty()
            {
                return Err(unresolved(&format!("the prepared statement {name}")));
            }
            Ok(())
        }
        StatementKind::Fetch { name, moves } => {
            if !moves && statement.output.is_none() && weighing.admission.has_masks() {
                return Err(unresolved(&format!("the cursor {name}")));
            }
            Ok(())
        }
        StatementKind::Maintenance => {
            // What REFRESH MATERIALIZED VIEW only reads needs the right to read.
            let only_read = BTreeSet::from([Access::Select]);
            let mut maintained = statement
                .relations
                .iter()
                .filter(|used| used.access != only_read)
                .peekable();
            if maintained.peek().is_none() {
                return everything(weighing, "maintaining the whole database", false);
            }
            maintained.try_for_each(|used| relation::maintain(weighing, used))
        }
        StatementKind::Notify => everything(weighing, "NOTIFY", false),
        StatementKind::Privilege => everything(weighing, "changing roles and privileges", false),
        StatementKind::Procedural => {
            // CALL names its procedure, which its own rule decides; DO runs text that nobody reads.
            if statement.functions.is_empty() {
                everything(weighing, "DO", true)?;
            }
            Ok(())
        }
    }
}

/// What only `all: "*.*"` covers. `hidden`: its effects cannot be seen, so that it is covered
/// only where no other rule limits them.
fn everything(weighing: &mut Weighing<'_>, what: &str, hidden: bool) -> Result<(), Reason> {
    let admission = weighing.admission;
    for (grant, index, rule) in admission.deny_rules() {
        if is_everything(rule) {
            weighing.denied(what, grant, index, rule)?;
        }
    }
    if hidden && (admission.has_masks() || admission.has_denies()) {
        let reason = Reason {
            code: ReasonCode::NotPermitted,
            message: format!("{what} is not possible where mask or deny rules apply"),
            rule: "default deny".to_owned(),
            hint: "what it runs cannot be checked: send the statements inside it one by one"
                .to_owned(),
        };
        return weighing.refuse_by_default(true, reason);
    }
    let mut held = false;
    for (grant, index, approve) in admission.approve_rules() {
        if is_everything(&approve.rule) {
            weighing.hold(grant, index, approve, what, hidden);
            held = true;
        }
    }
    if held {
        return Ok(());
    }
    let mut allowed = false;
    for (grant, rule) in admission.allow_rules() {
        if is_everything(rule) {
            weighing.allowed_by(grant);
            allowed = true;
        }
    }
    if !allowed {
        let reason = weighing.default_deny(what, "- all: \"*.*\"");
        return weighing.refuse_by_default(hidden, reason);
    }
    if hidden && !admission.is_unconditional() {
        let reason = Reason {
            code: ReasonCode::NotPermitted,
            message: format!("{what} is not covered by `all` where approve rules apply"),
            rule: "default deny".to_owned(),
            hint: format!(
                "what it runs cannot be checked: send the statements one by one, or hold it with `- all: \"*.*\"` under approve in grant {}",
                admission.example_grant()
            ),
        };
        return weighing.refuse_by_default(true, reason);
    }
    Ok(())
}

pub(super) fn is_everything(rule: &Rule) -> bool {
    rule.verb == Verb::All
        && rule
            .targets
            .iter()
            .any(|target| target.object.is_everything())
}

/// A statement whose analysis does not show the effect that its kind must have is not trusted.
fn expect(statement: &Statement, access: Access) -> Result<(), Reason> {
    if statement
        .relations
        .iter()
        .any(|used| used.access.contains(&access))
    {
        Ok(())
    } else {
        Err(without_effects())
    }
}

fn without_effects() -> Reason {
    Reason {
        code: ReasonCode::NotUnderstood,
        message: "the statement's effect could not be told".to_owned(),
        rule: "default deny".to_owned(),
        hint: "write the statement in a simpler form".to_owned(),
    }
}

fn unresolved(what: &str) -> Reason {
    Reason {
        code: ReasonCode::NotUnderstood,
        message: format!("{what} is not known to this session"),
        rule: "default deny".to_owned(),
        hint: "prepare the statement or declare the cursor in this session first".to_owned(),
    }
}
