//! `cordon policy suggest`: the narrowest policy under which recorded sessions would have run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use serde_json::Value;

use super::{
    arguments::CatalogSource,
    recorded::{Replay, Replayed, SessionPick, replay},
};
use crate::{
    approval::visible_line,
    cli::style::Output,
    policy::draft::{Actor, Draft, LeftOut, Observed, draft},
};

/// Claims that name a project for good, by issuer's habit; the first that a job has is used.
const IDS: [&str; 4] = [
    "repository_id",
    "project_id",
    "oidc.circleci.com/project-id",
    "pipeline_id",
];
/// Names, which can be given away and taken by others: only where there is no id.
const NAMES: [&str; 3] = ["repository", "project_path", "pipeline_slug"];
/// Claims that narrow a project further; every value that was seen is listed.
const CONTEXT: [&str; 3] = ["ref", "build_branch", "environment"];

/// Write the narrowest policy under which recorded sessions would have run.
///
/// The file is written to standard output. What removes or redefines (delete, truncate, ddl) is
/// put under `approve`. Exits with 1 if statements had to be left out; they are listed at the
/// file's end.
#[derive(Args, Debug)]
pub struct SuggestArgs {
    #[command(flatten)]
    pick: SessionPick,
    #[command(flatten)]
    catalog: CatalogSource,
    /// Also permit what was refused when it was recorded.
    #[arg(long)]
    include_refused: bool,
    /// The approvers' group for what is held; default: any approver.
    #[arg(long, value_name = "GROUP")]
    approvers: Option<String>,
    /// Print JSON: the file as a text, with what it allows, holds and leaves out.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &SuggestArgs) -> anyhow::Result<ExitCode> {
    let recorded = args.pick.read()?;
    let replays = replay(&recorded, &args.catalog)?;
    let mut draft = suggest(&replays, args.include_refused, args.approvers.as_deref());
    draft
        .left_out
        .extend(unread(&replays, args.include_refused));
    if !draft.policy.is_empty() {
        draft.policy = commented(&draft, &replays);
    }
    let mut output = Output::stdout(args.json);
    print(&mut output, &draft, args.json)?;
    Ok(if draft.left_out.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Sessions of the same project in the same database are one grant.
fn suggest(replays: &[Replay], include_refused: bool, group: Option<&str>) -> Draft {
    // By issuer, database and project.
    type Key = (String, String, Vec<(String, String)>);
    let mut projects: BTreeMap<Key, Vec<&Replay>> = BTreeMap::new();
    for session in replays {
        let identity = &session.job.identity;
        let key = (
            identity.issuer().to_owned(),
            session.database.clone(),
            project(identity.claims()),
        );
        projects.entry(key).or_default().push(session);
    }
    let mut actors = Vec::new();
    for ((issuer, database, project), sessions) in projects {
        let mut observed = Vec::new();
        let mut seen = BTreeSet::new();
        for session in &sessions {
            for one in session
                .statements
                .iter()
                .filter(|one| one.ran || include_refused)
            {
                let Ok(statement) = &one.read else { continue };
                // The same text can mean something else in another search path.
                let meant: Vec<_> = statement.relations.iter().map(|r| &r.relation).collect();
                if seen.insert((one.text.as_str(), meant)) {
                    observed.push(Observed {
                        reference: &one.reference,
                        statement,
                        catalog: &session.catalog,
                        kinship: &session.kinship,
                        masked: &one.masked,
                    });
                }
            }
        }
        actors.push((actor(issuer, database, project, &sessions), observed));
    }
    draft(&actors, group)
}

fn actor(
    issuer: String,
    database: String,
    project: Vec<(String, String)>,
    sessions: &[&Replay],
) -> Actor {
    let mut claims: Vec<(String, Vec<String>)> = project
        .into_iter()
        .map(|(claim, value)| (claim, vec![value]))
        .collect();
    for claim in CONTEXT {
        let values: Option<BTreeSet<String>> = sessions
            .iter()
            .map(|session| text(session.job.identity.claims().get(claim)))
            .collect();
        // Only where every job has it: a grant asks for every claim it lists.
        if let Some(values) = values {
            claims.push((claim.to_owned(), values.into_iter().collect()));
        }
    }
    let ids: Vec<&str> = sessions
        .iter()
        .map(|session| session.session.as_str())
        .collect();
    let shown = match ids.as_slice() {
        [first, .., last] if ids.len() > 4 => format!("{first} to {last}, {} in all", ids.len()),
        few => few.join(", "),
    };
    Actor {
        issuer,
        database,
        claims,
        assurance: sessions
            .iter()
            .map(|session| session.job.identity.assurance())
            .min()
            .unwrap_or(crate::identity::Assurance::OidcVerified),
        login: sessions
            .last()
            .map(|session| session.login.clone())
            .unwrap_or_default(),
        why: format!("Suggested from session {shown}. Say here why these jobs may do this."),
    }
}

/// What names the project for good.
fn project(claims: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    IDS.iter()
        .chain(&NAMES)
        .find_map(|claim| Some(((*claim).to_owned(), text(claims.get(*claim))?)))
        .into_iter()
        .collect()
}

/// A claim's value as a policy writes it; `None` where it cannot be matched exactly.
fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.contains('*')).then_some(text)
}

/// What cannot be read by this catalog.
fn unread(replays: &[Replay], include_refused: bool) -> Vec<LeftOut> {
    let wanted = |one: &&Replayed| one.ran || include_refused;
    replays
        .iter()
        .flat_map(|session| session.statements.iter().filter(wanted))
        .filter_map(|one| {
            one.read.as_ref().err().map(|reason| LeftOut {
                reference: one.reference.clone(),
                statement: one.text.clone(),
                reason: format!("this catalog does not explain it: {reason}"),
            })
        })
        .collect()
}

/// The file with what has to be known about it. Writing to a `String` cannot fail.
fn commented(draft: &Draft, replays: &[Replay]) -> String {
    let mut text = format!(
        "# Written by `cordon policy suggest` from {} recorded session{}: the narrowest rules under\n\
         # which {} statement{} would be allowed and {} held for approval. Read it before you use it.\n",
        replays.len(),
        plural(replays.len()),
        draft.allowed,
        plural(draft.allowed),
        draft.held,
    );
    let anybody = replays
        .iter()
        .any(|session| project(session.job.identity.claims()).is_empty());
    if anybody {
        text.push_str(
            "# A job's token names no project that could be matched: narrow `who` by hand.\n",
        );
    }
    for column in &draft.unmasked {
        let _ = writeln!(
            text,
            "# {} was masked, but a mask would refuse some of these statements: decide which matters.",
            visible_line(column)
        );
    }
    text.push_str(&draft.policy);
    if !draft.left_out.is_empty() {
        text.push_str("# Left out:\n");
    }
    for left in &draft.left_out {
        let _ = writeln!(
            text,
            "#   {}: {}\n#     {}",
            left.reference,
            visible_line(&left.statement),
            visible_line(&left.reason)
        );
    }
    text
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

fn print<W: Write>(output: &mut Output<W>, draft: &Draft, json: bool) -> io::Result<()> {
    if json {
        return output.json(draft);
    }
    // The file is the product, in a pipe too.
    if draft.policy.is_empty() {
        eprintln!("cordon: none of these statements needs a grant that could be suggested");
        for left in &draft.left_out {
            eprintln!(
                "  {}: {} ({})",
                left.reference,
                visible_line(&left.statement),
                visible_line(&left.reason)
            );
        }
        return Ok(());
    }
    output.line(draft.policy.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_are_told_by_ids_and_by_names_only_without_one() {
        let claims = |pairs: &[(&str, Value)]| -> BTreeMap<String, Value> {
            pairs
                .iter()
                .map(|(claim, value)| ((*claim).to_owned(), value.clone()))
                .collect()
        };
        let github = claims(&[
            ("sub", "repo:acme/shop".into()),
            ("repository", "acme/shop".into()),
            ("repository_id", "123".into()),
        ]);
        assert_eq!(
            project(&github),
            [("repository_id".to_owned(), "123".to_owned())]
        );
        let gitlab = claims(&[("project_id", 7.into()), ("pipeline_id", 99.into())]);
        assert_eq!(
            project(&gitlab),
            [("project_id".to_owned(), "7".to_owned())]
        );
        let named = claims(&[("repository", "acme/shop".into()), ("sub", "x".into())]);
        assert_eq!(
            project(&named),
            [("repository".to_owned(), "acme/shop".to_owned())]
        );
        let none = claims(&[("sub", "x".into()), ("repository", "acme/*".into())]);
        assert!(project(&none).is_empty(), "a star would match others");
    }
}
