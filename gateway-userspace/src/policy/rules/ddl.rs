//! Data definition.

use crate::{
    policy::{
        Reason, ReasonCode,
        evaluate::{Weighing, line, place},
        grant::{Grant, Mode, Rule, Verb},
        pattern::{ObjectPattern, qualified, quoted},
    },
    sql::{DdlAction, DdlEffect},
};

pub(in crate::policy) fn weigh(
    weighing: &mut Weighing<'_>,
    effect: &DdlEffect,
) -> Result<(), Reason> {
    if effect.temporary {
        return Ok(());
    }
    let admission = weighing.admission;
    let what = describe(effect);
    for (grant, index, rule) in admission
        .deny_rules()
        .filter(|(_, _, rule)| about_ddl(rule))
    {
        if rule
            .targets
            .iter()
            .any(|target| touches(&target.object, effect))
        {
            weighing.denied(&what, grant, index, rule)?;
        }
    }
    let undermined = undermined(weighing, effect);
    // What could undo a mask, or a deny rule that is enforced, must not pass unseen.
    let unseen = undermined
        .as_ref()
        .is_some_and(|(grant, section, _)| *section == "mask" || grant.mode == Mode::Enforce);
    let mut held = false;
    for (grant, index, approve) in admission
        .approve_rules()
        .filter(|(_, _, approve)| about_ddl(&approve.rule))
    {
        if approve
            .rule
            .targets
            .iter()
            .any(|target| touches(&target.object, effect))
        {
            weighing.hold(grant, index, approve, &what, unseen);
            held = true;
        }
    }
    if held {
        return Ok(());
    }
    let mut allowed = false;
    let mut only_without_cascade = false;
    for (grant, rule) in admission.allow_rules().filter(|(_, rule)| about_ddl(rule)) {
        for target in rule
            .targets
            .iter()
            .filter(|target| is_about(&target.object, effect))
        {
            // CASCADE takes objects along that nothing names.
            if effect.cascade && !target.object.is_everything() {
                only_without_cascade = true;
            } else {
                allowed = true;
                weighing.allowed_by(grant);
            }
        }
    }
    let target = match &effect.on {
        Some(on) => qualified(&on.schema, &on.name),
        None if effect.schema.is_empty() => "*.*".to_owned(),
        None => qualified(&effect.schema, &effect.name),
    };
    if !allowed && only_without_cascade {
        let reason = Reason {
            code: ReasonCode::NotPermitted,
            message: format!("{what} with CASCADE is not granted"),
            rule: "default deny".to_owned(),
            hint: format!(
                "CASCADE may drop objects that no rule names: leave it out, or hold it with `{}` under approve in grant {}",
                line("ddl", &target),
                admission.example_grant()
            ),
        };
        weighing.refuse_by_default(unseen, reason)?;
    } else if !allowed {
        let reason = weighing.default_deny(&what, &line("ddl", &target));
        weighing.refuse_by_default(unseen, reason)?;
    }
    let Some((grant, section, index)) = undermined else {
        return Ok(());
    };
    let reason = Reason {
        code: ReasonCode::NotPermitted,
        message: format!(
            "{what} could undo a mask or deny rule, which `allow` alone does not cover"
        ),
        rule: place(grant, section, index),
        hint: format!(
            "hold it for a human: add `{}` with `by:` to approve in grant {}",
            line("ddl", &target),
            admission.example_grant()
        ),
    };
    if unseen {
        return Err(reason);
    }
    weighing.refuse_by(grant, reason)
}

fn about_ddl(rule: &Rule) -> bool {
    match rule.verb {
        Verb::Ddl | Verb::All => true,
        Verb::Select
        | Verb::Insert
        | Verb::Update
        | Verb::Delete
        | Verb::Truncate
        | Verb::Call
        | Verb::Set => false,
    }
}

/// For deny and approve: the object or the table it belongs to.
fn touches(pattern: &ObjectPattern, effect: &DdlEffect) -> bool {
    pattern.matches(&effect.schema, &effect.name) || is_about(pattern, effect)
}

/// For allow: the table that an index or trigger belongs to is what counts.
fn is_about(pattern: &ObjectPattern, effect: &DdlEffect) -> bool {
    match &effect.on {
        Some(on) => pattern.matches(&on.schema, &on.name),
        None => pattern.matches(&effect.schema, &effect.name),
    }
}

/// The mask or deny rule that this effect could make void: by renaming what it names, by moving
/// it, or by code that reads for others.
fn undermined<'a>(
    weighing: &Weighing<'a>,
    effect: &DdlEffect,
) -> Option<(&'a Grant, &'static str, usize)> {
    let admission = weighing.admission;
    if !admission.has_masks() && !admission.has_denies() {
        return None;
    }
    let harmless = matches!(
        effect.object_kind.as_str(),
        "index" | "sequence" | "statistics"
    );
    let data = matches!(
        effect.object_kind.as_str(),
        "table"
            | "view"
            | "materialized view"
            | "schema"
            | "type"
            | "domain"
            | "column"
            | "constraint"
    );
    let renames = match effect.action {
        DdlAction::Alter => true,
        DdlAction::Create | DdlAction::Drop => false,
    };
    if harmless || (data && !renames) {
        return None;
    }
    // Functions, triggers, rules, operators, policies: what they do is hidden from every rule.
    let code = !data;
    let names = |object: &ObjectPattern| {
        code || touches(object, effect)
            || (effect.object_kind == "schema" && object.schema.matches(&effect.schema))
    };
    admission
        .mask_rules()
        .find(|(_, _, rule)| rule.columns.iter().any(|column| names(&column.object)))
        .map(|(grant, index, _)| (grant, "mask", index))
        .or_else(|| {
            admission
                .deny_rules()
                .find(|(_, _, rule)| rule.targets.iter().any(|target| names(&target.object)))
                .map(|(grant, index, _)| (grant, "deny", index))
        })
}

fn describe(effect: &DdlEffect) -> String {
    let action = match effect.action {
        DdlAction::Create => "creating",
        DdlAction::Alter => "altering",
        DdlAction::Drop => "dropping",
    };
    let name = if effect.schema.is_empty() || effect.object_kind == "schema" {
        quoted(&effect.name)
    } else {
        qualified(&effect.schema, &effect.name)
    };
    match &effect.on {
        Some(on) => format!(
            "{action} {} {name} on {}",
            effect.object_kind,
            qualified(&on.schema, &on.name)
        ),
        None => format!("{action} {} {name}", effect.object_kind),
    }
}
