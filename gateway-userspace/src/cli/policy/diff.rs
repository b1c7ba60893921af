//! `cordon policy diff`: what another policy would have changed in recorded sessions.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use serde::Serialize;

use super::{
    arguments::CatalogSource,
    recorded::{Replay, SessionPick, replay},
};
use crate::{
    approval::{visible, visible_line},
    cli::{
        client::OutputArgs,
        style::{Output, Style},
    },
    policy::{
        Admission, Policy, Reason, Verdict, evaluate_in,
        explain::{OutputView, VerdictView, output_of},
    },
    sql::Statement,
};

/// Show what another policy would have changed in recorded sessions.
///
/// Every recorded statement is decided by both policies; what was recorded as its verdict does not
/// matter. Exits with 0 if nothing changes and 1 if something does.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The folder of one policy.
    #[arg(long, value_name = "FOLDER")]
    old: PathBuf,
    /// The folder of the other.
    #[arg(long, value_name = "FOLDER")]
    new: PathBuf,
    #[command(flatten)]
    pick: SessionPick,
    #[command(flatten)]
    catalog: CatalogSource,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Difference {
    /// Statements decided by both.
    statements: usize,
    changes: Vec<Change>,
    /// Statements that this catalog does not explain: both policies would refuse them.
    unread: Vec<Unread>,
}

#[derive(Serialize)]
struct Change {
    /// Where it is on record.
    references: Vec<String>,
    job: String,
    database: String,
    statement: String,
    old: VerdictView,
    new: VerdictView,
    /// Changed masks: column, old and new.
    masks: Vec<MaskChange>,
}

#[derive(Serialize)]
struct MaskChange {
    column: String,
    old: Option<String>,
    new: Option<String>,
}

#[derive(Serialize)]
struct Unread {
    reference: String,
    statement: String,
    reason: String,
}

/// Runs the command.
pub fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let old = Arc::new(Policy::load(&args.old)?);
    let new = Arc::new(Policy::load(&args.new)?);
    let recorded = args.pick.read()?;
    let replays = replay(&recorded, &args.catalog)?;
    let difference = compare(&old, &new, &replays);
    print(&mut Output::stdout(args.output.json), &difference)?;
    Ok(if difference.changes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn compare(old: &Arc<Policy>, new: &Arc<Policy>, replays: &[Replay]) -> Difference {
    let mut difference = Difference {
        statements: 0,
        changes: Vec::new(),
        unread: Vec::new(),
    };
    // The same change of the same statement by the same job is one.
    let mut known: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for session in replays {
        let identity = &session.job.identity;
        let under = |policy: &Arc<Policy>| policy.admit_job(identity, &session.database);
        let (old, new) = (under(old), under(new));
        for one in &session.statements {
            let statement = match &one.read {
                Ok(statement) => statement,
                Err(reason) => {
                    difference.unread.push(Unread {
                        reference: one.reference.clone(),
                        statement: one.text.clone(),
                        reason: reason.clone(),
                    });
                    continue;
                }
            };
            difference.statements += 1;
            let (old_verdict, old_output) = decided(&old, statement, session);
            let (new_verdict, new_output) = decided(&new, statement, session);
            let masks = match (&old_verdict, &new_verdict) {
                (VerdictView::Deny { .. }, _) | (_, VerdictView::Deny { .. }) => Vec::new(),
                _ => masks(&old_output, &new_output),
            };
            if same(&old_verdict, &new_verdict) && masks.is_empty() {
                continue;
            }
            let key = (
                session.job_id.clone(),
                session.database.clone(),
                one.text.clone(),
            );
            let before = known.get(&key).copied();
            if let Some(change) = before.and_then(|at| difference.changes.get_mut(at)) {
                change.references.push(one.reference.clone());
                continue;
            }
            known.insert(key, difference.changes.len());
            difference.changes.push(Change {
                references: vec![one.reference.clone()],
                job: session.job_id.clone(),
                database: session.database.clone(),
                statement: one.text.clone(),
                old: old_verdict,
                new: new_verdict,
                masks,
            });
        }
    }
    difference
}

fn decided(
    admission: &Result<Admission, Reason>,
    statement: &Statement,
    session: &Replay,
) -> (VerdictView, Vec<OutputView>) {
    let verdict = match admission {
        Ok(admission) => evaluate_in(admission, statement, &session.kinship),
        Err(reason) => Verdict::Deny(reason.clone()),
    };
    let output = output_of(statement, &verdict).unwrap_or_default();
    (VerdictView::of(&verdict), output)
}

/// True if the verdicts ask for the same. A different reason to deny is no change.
fn same(old: &VerdictView, new: &VerdictView) -> bool {
    match (old, new) {
        (VerdictView::Allow { .. }, VerdictView::Allow { .. }) => old.enforced() == new.enforced(),
        (VerdictView::Deny { .. }, VerdictView::Deny { .. }) => true,
        (
            VerdictView::Hold {
                needs,
                hold_seconds,
                on_hold,
                ..
            },
            VerdictView::Hold {
                needs: new_needs,
                hold_seconds: new_seconds,
                on_hold: new_on_hold,
                ..
            },
        ) => (needs, hold_seconds, on_hold) == (new_needs, new_seconds, new_on_hold),
        (VerdictView::Allow { .. }, VerdictView::Hold { .. } | VerdictView::Deny { .. })
        | (VerdictView::Hold { .. }, VerdictView::Allow { .. } | VerdictView::Deny { .. })
        | (VerdictView::Deny { .. }, VerdictView::Allow { .. } | VerdictView::Hold { .. }) => false,
    }
}

/// Masks that differ on what both return; what one of them refuses has none to compare.
fn masks(old: &[OutputView], new: &[OutputView]) -> Vec<MaskChange> {
    old.iter()
        .zip(new)
        .filter(|(old, new)| old.mask != new.mask)
        .map(|(old, new)| MaskChange {
            column: old.name.clone(),
            old: old.mask.clone(),
            new: new.mask.clone(),
        })
        .collect()
}

fn print<W: Write>(output: &mut Output<W>, difference: &Difference) -> io::Result<()> {
    if output.is_json() {
        return output.json(difference);
    }
    for change in &difference.changes {
        let arrow = |output: &Output<W>, verdict: &VerdictView| {
            let style = match verdict {
                VerdictView::Allow { .. } => Style::Good,
                VerdictView::Hold { .. } => Style::Warning,
                VerdictView::Deny { .. } => Style::Bad,
            };
            match verdict {
                VerdictView::Allow { .. } if verdict.enforced() != "allow" => output.paint(
                    Style::Warning,
                    &format!("allow (observed: {})", verdict.enforced()),
                ),
                VerdictView::Allow { .. } | VerdictView::Hold { .. } | VerdictView::Deny { .. } => {
                    output.paint(style, verdict.word())
                }
            }
        };
        let (old, new) = (arrow(output, &change.old), arrow(output, &change.new));
        let place = format!(
            "{} of {} in {}",
            seen(&change.references),
            change.job,
            change.database
        );
        let place = output.paint(Style::Faint, &visible_line(&place));
        output.line(&format!("{old} -> {new}  {place}"))?;
        for line in visible(&change.statement).lines() {
            let line = output.marked(line);
            output.line(&format!("    {line}"))?;
        }
        for why in why(change) {
            output.line(&format!("    {}", visible_line(&why)))?;
        }
    }
    for unread in &difference.unread {
        let note = output.paint(Style::Warning, "not compared");
        output.line(&format!(
            "{note}  {}: {} ({})",
            unread.reference,
            visible_line(&unread.statement),
            visible_line(&unread.reason)
        ))?;
    }
    let changes = difference.changes.len();
    let (word, style) = if changes == 0 {
        ("nothing changes".to_owned(), Style::Good)
    } else {
        let plural = if changes == 1 { "" } else { "s" };
        (format!("{changes} change{plural}"), Style::Warning)
    };
    let word = output.paint(style, &word);
    output.line(&format!(
        "{word}, {} statements compared",
        difference.statements
    ))
}

fn why(change: &Change) -> Vec<String> {
    let mut parts: Vec<String> = change
        .masks
        .iter()
        .map(|mask| {
            let shown =
                |mask: &Option<String>| mask.clone().unwrap_or_else(|| "in clear".to_owned());
            format!(
                "{}: {} -> {}",
                mask.column,
                shown(&mask.old),
                shown(&mask.new)
            )
        })
        .collect();
    let reason = change.new.reason().or(change.old.reason());
    if !same(&change.old, &change.new)
        && let Some(reason) = reason
    {
        parts.push(format!("{} ({})", reason.message, reason.rule));
    }
    parts
}

fn seen(references: &[String]) -> String {
    match references {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}
