//! Protected columns: where they may appear, and which output columns are masked.

use std::collections::BTreeSet;

use crate::{
    masking::{CopyFormat, Detector, JsonPath, MaskKind, Redaction, is_birth_date},
    policy::{
        Reason, ReasonCode,
        evaluate::{Weighing, place},
        grant::{FilterUse, Grant, column_name, relation_name},
        pattern::quoted,
    },
    sql::{ColumnRef, ColumnUse, DdlAction, OutputColumn, StatementKind},
};

/// What the rules on one column say together.
struct Protection<'a> {
    /// On all of each value.
    mask: Option<MaskKind>,
    /// On parts of each value.
    parts: Vec<(&'a JsonPath, MaskKind)>,
    filter: FilterUse,
    grant: &'a Grant,
    index: usize,
}

/// Returns the output columns to mask, or why the statement cannot run.
pub(in crate::policy) fn weigh(weighing: &Weighing<'_>) -> Result<Vec<Redaction>, Reason> {
    if !weighing.admission.has_masks() {
        return output(weighing, &mut BTreeSet::new());
    }
    refuse_masked_views(weighing)?;
    if defines_views_only(weighing) {
        return Ok(Vec::new());
    }
    let mut masked = BTreeSet::new();
    let redactions = output(weighing, &mut masked)?;
    for used in &weighing.statement.relations {
        for (column, uses) in &used.columns {
            let Some(protection) = protection(weighing, column, used.system) else {
                continue;
            };
            for by in uses {
                check(weighing, column, *by, &protection, &masked)?;
            }
        }
    }
    Ok(redactions)
}

/// True for CREATE VIEW: it shows and stores nothing, and whoever reads the view is led back to
/// the columns behind it.
fn defines_views_only(weighing: &Weighing<'_>) -> bool {
    let statement = weighing.statement;
    statement.kind == StatementKind::Ddl
        && statement
            .ddl
            .iter()
            .all(|effect| effect.action == DdlAction::Create && effect.object_kind == "view")
}

/// A mask that names a view's column would hide nothing: values are led back to the columns of
/// tables, and masked as those are.
fn refuse_masked_views(weighing: &Weighing<'_>) -> Result<(), Reason> {
    for used in weighing
        .statement
        .relations
        .iter()
        .filter(|used| !used.system)
    {
        let relation = &used.relation;
        for column in weighing.kinship.view_columns(relation).unwrap_or_default() {
            let rule = weighing.admission.mask_rules().find(|(_, _, rule)| {
                rule.columns.iter().any(|pattern| {
                    // Patterns over all relations are meant for tables, views included as far as
                    // they show them.
                    !pattern.object.name.is_any()
                        && pattern.object.matches(&relation.schema, &relation.name)
                        && pattern.column.matches(column)
                })
            });
            if let Some((grant, index, _)) = rule {
                return Err(Reason {
                    code: ReasonCode::NotMaskable,
                    message: format!(
                        "a mask names the column {}.{} of a view, where it cannot be applied",
                        relation_name(relation),
                        quoted(column)
                    ),
                    rule: place(grant, "mask", index),
                    hint: format!(
                        "in grant {}, put the mask on the columns of the tables that the view reads",
                        grant.name
                    ),
                });
            }
        }
    }
    Ok(())
}

fn output<'a>(
    weighing: &Weighing<'a>,
    masked: &mut BTreeSet<&'a ColumnRef>,
) -> Result<Vec<Redaction>, Reason> {
    let statement = weighing.statement;
    let mut redactions = Vec::new();
    for (index, column) in statement.output.iter().flatten().enumerate() {
        let mut whole: Option<MaskKind> = None;
        let mut parts = Vec::new();
        for origin in &column.origins {
            let system = statement
                .relations
                .iter()
                .any(|used| used.system && used.relation == origin.relation);
            let Some(protection) = protection(weighing, origin, system) else {
                continue;
            };
            match &statement.kind {
                // An EXPLAIN describes the columns of its plan only; should the analysis list
                // those of the query, none of their values is shown.
                StatementKind::Explain { .. } => continue,
                StatementKind::CopyOut {
                    source, options, ..
                } if source.is_none() || CopyFormat::parse(options.as_deref()).is_err() => {
                    return Err(copied_out(origin, &protection));
                }
                _ => {}
            }
            if !(column.direct || column.merged) {
                return Err(derived(origin, &protection));
            }
            masked.insert(origin);
            if let Some(mask) = protection.mask {
                whole = Some(whole.map_or(mask, |before| before.stricter(mask)));
            }
            parts.extend(protection.parts);
        }
        let redaction = |mask, path: Option<&JsonPath>| Redaction {
            column: index,
            mask,
            path: path.cloned(),
        };
        if let Some(mask) = whole.or_else(|| birth_date(weighing, column)) {
            redactions.push(redaction(mask, None));
        } else {
            redactions.extend(
                parts
                    .iter()
                    .map(|(path, mask)| redaction(*mask, Some(path))),
            );
        }
    }
    Ok(redactions)
}

/// The mask of `detect: birth_date` on a column that is called like one.
fn birth_date(weighing: &Weighing<'_>, column: &OutputColumn) -> Option<MaskKind> {
    let mask = weighing.admission.detections().mask(Detector::BirthDate)?;
    let shown = column.direct || column.merged;
    let named = is_birth_date(&column.name)
        || column
            .origins
            .iter()
            .any(|origin| is_birth_date(&origin.column));
    (shown && named).then_some(mask)
}

fn check(
    weighing: &Weighing<'_>,
    column: &ColumnRef,
    by: ColumnUse,
    protection: &Protection<'_>,
    masked: &BTreeSet<&ColumnRef>,
) -> Result<(), Reason> {
    let kind = &weighing.statement.kind;
    let explain = matches!(kind, StatementKind::Explain { .. });
    match by {
        ColumnUse::Inserted | ColumnUse::Updated | ColumnUse::Named => Ok(()),
        // The planner's row estimates answer questions about the values.
        ColumnUse::Filter if protection.filter == FilterUse::Any && !explain => Ok(()),
        ColumnUse::Equality if protection.filter != FilterUse::None && !explain => Ok(()),
        ColumnUse::Filter | ColumnUse::Equality => Err(filtered(column, protection, explain)),
        ColumnUse::Source => Err(copied(column, protection)),
        ColumnUse::Derived => Err(derived(column, protection)),
        ColumnUse::Output => match kind {
            StatementKind::Explain { .. } => Ok(()),
            StatementKind::Ddl => Err(copied(column, protection)),
            // The analysis says that the value reaches the result, but not where.
            _ if masked.contains(column) => Ok(()),
            _ => Err(derived(column, protection)),
        },
    }
}

/// The strictest of all rules on a column, those on its relation's family included.
fn protection<'a>(
    weighing: &Weighing<'a>,
    column: &ColumnRef,
    system: bool,
) -> Option<Protection<'a>> {
    let relation = &column.relation;
    let kin = weighing.kinship.of_relation(relation);
    let mut found: Option<Protection<'a>> = None;
    for (grant, index, rule) in weighing.admission.mask_rules() {
        let protects = rule.protects(&relation.schema, &relation.name, &column.column, system)
            || kin
                .iter()
                .any(|(schema, name)| rule.protects(schema, name, &column.column, system));
        if !protects {
            continue;
        }
        let found = found.get_or_insert_with(|| Protection {
            mask: None,
            parts: Vec::new(),
            filter: rule.filter,
            grant,
            index,
        });
        match &rule.path {
            None => {
                let stricter = |mask: MaskKind| mask.stricter(rule.mask);
                found.mask = Some(found.mask.map_or(rule.mask, stricter));
            }
            Some(path) => found.parts.push((path, rule.mask)),
        }
        // Name the rule that forbids, where one does.
        if rule.filter < found.filter {
            found.filter = rule.filter;
            found.grant = grant;
            found.index = index;
        }
    }
    found
}

fn reason(code: ReasonCode, protection: &Protection<'_>, message: String, hint: String) -> Reason {
    Reason {
        code,
        message,
        rule: place(protection.grant, "mask", protection.index),
        hint,
    }
}

fn filtered(column: &ColumnRef, protection: &Protection<'_>, explain: bool) -> Reason {
    let name = column_name(column);
    let hint = if explain {
        "estimates in a plan would tell about its values: explain the statement without this condition".to_owned()
    } else {
        let grant = &protection.grant.name;
        match protection.filter {
            FilterUse::None => format!(
                "select {name} as a plain column (it comes masked) and filter by other columns, or add `where: equality` or `where: any` to this mask of grant {grant}"
            ),
            FilterUse::Equality => format!(
                "its mask lets {name} be compared by =, IN or = ANY with constants and parameters in WHERE, under AND and OR; `where: any` in grant {grant} would allow more"
            ),
            FilterUse::Any => String::new(),
        }
    };
    reason(
        ReasonCode::NotPermitted,
        protection,
        format!(
            "the protected column {name} may not decide which rows are returned, or their order"
        ),
        hint,
    )
}

fn derived(column: &ColumnRef, protection: &Protection<'_>) -> Reason {
    let name = column_name(column);
    reason(
        ReasonCode::NotMaskable,
        protection,
        format!("the protected column {name} cannot be masked inside an expression"),
        format!(
            "select {name} as a plain column, without functions, casts or operators; it comes masked"
        ),
    )
}

fn copied(column: &ColumnRef, protection: &Protection<'_>) -> Reason {
    let name = column_name(column);
    reason(
        ReasonCode::NotMaskable,
        protection,
        format!("the protected column {name} may not be copied to where its mask does not follow"),
        format!("leave {name} out of what is written"),
    )
}

fn copied_out(column: &ColumnRef, protection: &Protection<'_>) -> Reason {
    let name = column_name(column);
    reason(
        ReasonCode::NotMaskable,
        protection,
        format!("the protected column {name} cannot be masked in COPY"),
        format!("use SELECT, or COPY (SELECT ...) without {name}"),
    )
}
