//! `cordon policy test`: runs the test cases next to a policy.

mod file;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;

use self::file::{Case, Expected, TestFile};
use super::arguments::{CatalogSource, PolicyFolder, load, open};
use crate::{
    cli::{
        client::OutputArgs,
        style::{Output, Style},
        table::{Cell, Table},
    },
    config::Config,
    policy::{
        Policy, evaluate_in,
        explain::{OutputView, ReasonView, VerdictView, output_of},
        is_test_file,
    },
    session::{OpenCatalog, Refusal},
    sql::{NotUnderstood, run_on_big_stack, split},
};

/// Run the test cases next to a policy.
///
/// Exits with 0 if every case is as expected, 1 if one is not, and 2 if cases, policy or catalog
/// cannot be read.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Files of test cases; default: every `*.test.yaml` in the policy's folder.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyFolder,
    /// Where the catalog is taken from, instead of the file that the cases name.
    #[command(flatten)]
    catalog: CatalogSource,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Tested {
    passed: usize,
    failed: usize,
    cases: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    file: String,
    line: u64,
    name: String,
    ok: bool,
    statement: String,
    got: Got,
    /// What is not as expected.
    failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    what: &'static str,
    expected: String,
    got: String,
}

/// What came of a case.
#[derive(Serialize)]
struct Got {
    verdict: &'static str,
    grants: Vec<String>,
    masks: BTreeMap<String, String>,
    reason: Option<ReasonView>,
}

/// Runs the command.
pub fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let (folder, files) = args.files()?;
    let policy = match &folder {
        Some(folder) => Arc::new(Policy::load(folder)?),
        None => args.policy.load()?,
    };
    let mut cases = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        match TestFile::parse(path, &text) {
            Ok(parsed) => cases.push((path, parsed)),
            Err(wrong) => {
                let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                bail!("{}", lines.join("\n"));
            }
        }
    }
    let mut outcomes = Vec::new();
    for (path, cases) in &cases {
        let catalog = args.catalog(path, cases)?;
        outcomes.extend(run_on_big_stack(|| {
            cases
                .cases
                .iter()
                .map(|case| outcome(path, case, &cases.database, &policy, &catalog))
                .collect::<Vec<_>>()
        })?);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.ok).count();
    let tested = Tested {
        passed: outcomes.len() - failed,
        failed,
        cases: outcomes,
    };
    print(&mut Output::stdout(args.output.json), &tested)?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl TestArgs {
    /// The files, and the folder of the policy if it is not said by the configuration.
    fn files(&self) -> anyhow::Result<(Option<PathBuf>, Vec<PathBuf>)> {
        if !self.files.is_empty() {
            // Cases stand next to their policy.
            let folder = match (&self.policy.dir, self.files.first()) {
                (None, Some(first)) => Some(match first.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                    Some(_) | None => PathBuf::from("."),
                }),
                _ => None,
            };
            return Ok((folder, self.files.clone()));
        }
        let dir = match &self.policy.dir {
            Some(dir) => dir.clone(),
            None => Config::load(&self.policy.config)?.policy_dir,
        };
        let entries =
            fs::read_dir(&dir).with_context(|| format!("{} cannot be read", dir.display()))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if is_test_file(&path) {
                files.push(path);
            }
        }
        files.sort();
        ensure!(
            !files.is_empty(),
            "there is no *.test.yaml in {}",
            dir.display()
        );
        Ok((None, files))
    }

    fn catalog(&self, path: &Path, cases: &TestFile) -> anyhow::Result<OpenCatalog> {
        match &cases.catalog {
            Some(file) if !self.catalog.is_given() => {
                open(&load(file)?, file.display().to_string(), None)
            }
            Some(_) | None => self
                .catalog
                .open(&cases.database, None)
                .with_context(|| format!("the cases of {} have no catalog", path.display())),
        }
    }
}

fn outcome(
    path: &Path,
    case: &Case,
    database: &str,
    policy: &Arc<Policy>,
    catalog: &OpenCatalog,
) -> Outcome {
    let (got, unreadable) = got(case, database, policy, catalog);
    let failures = match unreadable {
        // A case that is wrong itself must not pass because it is refused.
        Some(why) => vec![Failure {
            what: "statement",
            expected: "a statement that this catalog explains".to_owned(),
            got: why,
        }],
        None => failures(&case.expected, &got),
    };
    Outcome {
        file: path.display().to_string(),
        line: case.line,
        name: case.name.clone(),
        ok: failures.is_empty(),
        statement: case.sql.clone(),
        got,
        failures,
    }
}

/// The verdict on the last statement; the ones before must be allowed. Also why the case itself
/// is wrong, if it is.
fn got(
    case: &Case,
    database: &str,
    policy: &Arc<Policy>,
    catalog: &OpenCatalog,
) -> (Got, Option<String>) {
    let admission = match policy.admit_job(&case.job.identity, database) {
        Ok(admission) => admission,
        Err(reason) => return (Got::denied(ReasonView::from(&reason)), None),
    };
    let parsed = match split(&case.sql) {
        Ok(parsed) => parsed,
        Err(error) => return Got::not_understood(&error),
    };
    let mut names = catalog.start.clone();
    if let Some(path) = &case.search_path {
        names.set_search_path(path.clone());
    }
    let mut last = None;
    for (index, parsed) in parsed.iter().enumerate() {
        if let Some((VerdictView::Hold { .. } | VerdictView::Deny { .. }, _)) = &last {
            return (
                Got::denied_before(last),
                Some(format!(
                    "statement {index} is not allowed, so that the rest is not reached"
                )),
            );
        }
        let statement = match names.read(parsed) {
            Ok(statement) => statement,
            Err(error) => return Got::not_understood(&error),
        };
        names.follow(&statement);
        let verdict = evaluate_in(&admission, &statement, names.kinship());
        let output = output_of(&statement, &verdict).unwrap_or_default();
        last = Some((VerdictView::of(&verdict), output));
    }
    match last {
        Some((verdict, output)) => (Got::of(&verdict, &output), None),
        None => (
            Got::of(
                &VerdictView::Allow {
                    grants: Vec::new(),
                    observed: None,
                },
                &[],
            ),
            Some("there is no statement".to_owned()),
        ),
    }
}

impl Got {
    fn of(verdict: &VerdictView, output: &[OutputView]) -> Self {
        Self {
            verdict: verdict.word(),
            grants: verdict.grants().to_vec(),
            masks: output
                .iter()
                .filter_map(|column| Some((column.name.clone(), column.mask.clone()?)))
                .collect(),
            reason: verdict.reason().cloned(),
        }
    }

    fn denied(reason: ReasonView) -> Self {
        Self::of(&VerdictView::Deny { reason }, &[])
    }

    fn denied_before(last: Option<(VerdictView, Vec<OutputView>)>) -> Self {
        let (verdict, output) = last.unwrap_or((
            VerdictView::Allow {
                grants: Vec::new(),
                observed: None,
            },
            Vec::new(),
        ));
        Self::of(&verdict, &output)
    }

    fn not_understood(error: &NotUnderstood) -> (Self, Option<String>) {
        let refusal = Refusal::not_understood(error, String::new());
        let got = Self::denied(ReasonView {
            sqlstate: refusal.sqlstate(),
            message: error.to_string(),
            rule: "what is not understood is denied".to_owned(),
            hint: refusal.hint().unwrap_or_default().to_owned(),
        });
        let wrong = match error {
            NotUnderstood::Syntax { .. } | NotUnderstood::UnknownName { .. } => {
                Some(format!("{}: {error}", refusal.sqlstate()))
            }
            NotUnderstood::Limit(_) | NotUnderstood::Unsupported(_) => None,
        };
        (got, wrong)
    }
}

fn failures(expected: &Expected, got: &Got) -> Vec<Failure> {
    let mut failures = Vec::new();
    let reason = got.reason.as_ref();
    let why = reason.map_or(String::new(), |reason| {
        format!(": {} ({})", reason.message, reason.rule)
    });
    if expected.verdict != got.verdict {
        failures.push(Failure {
            what: "verdict",
            expected: expected.verdict.to_owned(),
            got: format!("{}{why}", got.verdict),
        });
    }
    if let Some(masks) = &expected.masks
        && *masks != got.masks
    {
        let listed = |masks: &BTreeMap<String, String>| {
            let masks: Vec<String> = masks
                .iter()
                .map(|(column, mask)| format!("{column}: {mask}"))
                .collect();
            if masks.is_empty() {
                "none".to_owned()
            } else {
                masks.join(", ")
            }
        };
        failures.push(Failure {
            what: "masks",
            expected: listed(masks),
            got: listed(&got.masks),
        });
    }
    if let Some(grants) = &expected.grants {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names.join(", ")
        };
        if sorted(grants) != sorted(&got.grants) {
            failures.push(Failure {
                what: "grants",
                expected: sorted(grants),
                got: sorted(&got.grants),
            });
        }
    }
    if let Some(part) = &expected.reason {
        let said = reason.is_some_and(|reason| {
            [&reason.message, &reason.rule, &reason.hint]
                .iter()
                .any(|text| text.contains(part.as_str()))
        });
        if !said {
            failures.push(Failure {
                what: "reason",
                expected: format!("contains {part:?}"),
                got: if why.is_empty() {
                    "none".to_owned()
                } else {
                    why.trim_start_matches(": ").to_owned()
                },
            });
        }
    }
    failures
}

fn print<W: Write>(output: &mut Output<W>, tested: &Tested) -> io::Result<()> {
    if output.is_json() {
        return output.json(tested);
    }
    if tested.failed > 0 {
        let mut table = Table::new(&["CASE", "WHERE", "", "EXPECTED", "GOT"]);
        for case in tested.cases.iter().filter(|case| !case.ok) {
            for (index, failure) in case.failures.iter().enumerate() {
                let first = |text: String| if index == 0 { text } else { String::new() };
                table.row([
                    Cell::new(Style::Strong, first(case.name.clone())),
                    Cell::new(Style::Faint, first(format!("{}:{}", case.file, case.line))),
                    failure.what.into(),
                    Cell::new(Style::Good, &failure.expected),
                    Cell::new(Style::Bad, &failure.got),
                ]);
            }
        }
        output.table(&table)?;
    }
    let passed = output.paint(Style::Good, &format!("{} passed", tested.passed));
    let style = if tested.failed > 0 {
        Style::Bad
    } else {
        Style::Faint
    };
    let failed = output.paint(style, &format!("{} failed", tested.failed));
    output.line(&format!("{passed}, {failed}"))
}
