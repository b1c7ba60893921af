//! `cordon policy check`: whether a policy can come into force, and what is in it.

use std::{fs, io, io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use serde::Serialize;

use super::arguments::PolicyFolder;
use crate::{
    approval::visible,
    cli::{
        client::OutputArgs,
        style::{Output, Style},
        table::{Cell, Table},
    },
    policy::{Mode, Policy, PolicyError, Problem, is_policy_file},
    session::hex,
};

/// Check every file of a policy folder.
///
/// Exits with 1 if the policy could not come into force, after telling every problem with its
/// place.
#[derive(Args, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    policy: PolicyFolder,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    digest: Option<String>,
    grants: Vec<GrantLine>,
    problems: Vec<ProblemLine>,
}

#[derive(Serialize)]
struct GrantLine {
    grant: String,
    file: Option<String>,
    database: String,
    login: Option<String>,
    issuer: String,
    mode: &'static str,
    allow: usize,
    approve: usize,
    deny: usize,
    mask: usize,
}

#[derive(Serialize)]
struct ProblemLine {
    file: Option<String>,
    line: Option<u64>,
    column: Option<u64>,
    message: String,
    suggestion: Option<String>,
}

/// Runs the command.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut output = Output::stdout(args.output.json);
    let policy = match args.policy.load() {
        Ok(policy) => policy,
        Err(error) => {
            if output.is_json() {
                output.json(&Checked {
                    ok: false,
                    digest: None,
                    grants: Vec::new(),
                    problems: problems(&error),
                })?;
            } else {
                // For people: with the line that is meant, where there is one.
                let word = output.paint(Style::Bad, "the policy cannot come into force");
                output.line(&word)?;
                output.line(&visible(&format!("{error:#}")))?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let checked = Checked {
        ok: true,
        digest: Some(hex(&policy.digest())),
        grants: grants(&policy, &args.policy)?,
        problems: Vec::new(),
    };
    print(&mut output, &checked)?;
    Ok(ExitCode::SUCCESS)
}

fn grants(policy: &Policy, folder: &PolicyFolder) -> anyhow::Result<Vec<GrantLine>> {
    let files = files(folder)?;
    Ok(policy
        .grants()
        .iter()
        .map(|grant| GrantLine {
            grant: grant.name.clone(),
            file: files
                .iter()
                .find(|(_, policy)| policy.grants().iter().any(|own| own.name == grant.name))
                .and_then(|(path, _)| path.file_name())
                .map(|name| name.to_string_lossy().into_owned()),
            database: grant.database.clone(),
            login: grant.role.as_ref().map(ToString::to_string),
            issuer: grant.who.issuer.clone(),
            mode: match grant.mode {
                Mode::Enforce => "enforce",
                Mode::Observe => "observe",
            },
            allow: grant.allow.len(),
            approve: grant.approve.len(),
            deny: grant.deny.len(),
            mask: grant.mask.len(),
        })
        .collect())
}

/// Each file of the folder by itself: names of grants are unique, so this tells whose they are.
fn files(folder: &PolicyFolder) -> anyhow::Result<Vec<(PathBuf, Policy)>> {
    let dir = match &folder.dir {
        Some(dir) => dir.clone(),
        None => crate::config::Config::load(&folder.config)?.policy_dir,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if is_policy_file(&path) {
            let text = fs::read_to_string(&path)?;
            files.push((path.clone(), Policy::from_sources(&[(path, text)])?));
        }
    }
    Ok(files)
}

fn problems(error: &anyhow::Error) -> Vec<ProblemLine> {
    match error.downcast_ref::<PolicyError>() {
        Some(policy) => policy.problems().iter().map(ProblemLine::of).collect(),
        None => vec![ProblemLine {
            file: None,
            line: None,
            column: None,
            message: format!("{error:#}"),
            suggestion: None,
        }],
    }
}

impl ProblemLine {
    fn of(problem: &Problem) -> Self {
        Self {
            file: Some(problem.file.display().to_string()),
            line: problem.position.map(|(line, _)| line),
            column: problem.position.map(|(_, column)| column),
            suggestion: problem
                .message
                .split_once("did you mean `")
                .and_then(|(_, after)| after.split_once('`'))
                .map(|(word, _)| word.to_owned()),
            message: problem.message.clone(),
        }
    }
}

fn print<W: Write>(output: &mut Output<W>, checked: &Checked) -> io::Result<()> {
    if output.is_json() {
        return output.json(checked);
    }
    let mut table = Table::new(&[
        "GRANT", "FILE", "DATABASE", "LOGIN", "ISSUER", "MODE", "ALLOW", "APPROVE", "DENY", "MASK",
    ]);
    for grant in &checked.grants {
        let count = |number: usize| {
            let style = if number == 0 {
                Style::Faint
            } else {
                Style::Plain
            };
            Cell::new(style, number.to_string())
        };
        table.row([
            Cell::new(Style::Strong, &grant.grant),
            grant.file.clone().unwrap_or_default().into(),
            Cell::from(&grant.database),
            grant.login.clone().unwrap_or_default().into(),
            Cell::from(&grant.issuer),
            Cell::new(
                if grant.mode == "observe" {
                    Style::Warning
                } else {
                    Style::Faint
                },
                grant.mode,
            ),
            count(grant.allow),
            count(grant.approve),
            count(grant.deny),
            count(grant.mask),
        ]);
    }
    output.table(&table)?;
    let digest = checked.digest.as_deref().unwrap_or_default();
    let good = output.paint(Style::Good, "good");
    output.line(&format!(
        "{good}: {} grant{}, digest {digest}",
        checked.grants.len(),
        if checked.grants.len() == 1 { "" } else { "s" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_tells_its_place_and_the_word_that_was_meant() {
        let text = "version: 1\ngrants:\n  - name: g\n    whoo: x\n";
        let error = Policy::from_sources(&[(PathBuf::from("p.yaml"), text.to_owned())])
            .expect_err("a bad policy");
        let lines = problems(&anyhow::Error::from(error));
        let line = lines
            .iter()
            .find(|line| line.message.contains("whoo"))
            .expect("the unknown key is told");
        assert_eq!((line.line, line.column), (Some(4), Some(5)));
        assert_eq!(line.file.as_deref(), Some("p.yaml"));
        assert_eq!(line.suggestion.as_deref(), Some("who"));
    }
}
