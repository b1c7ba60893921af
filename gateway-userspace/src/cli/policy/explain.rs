//! `cordon policy explain`: what the policy says to a statement of a job, and why.

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use super::{
    UNUSABLE,
    arguments::{CatalogSource, PolicyFolder},
    job::{self, JobArgs, JobLine, KnownJob},
    recorded::SessionPick,
};
use crate::{
    approval::visible,
    audit::read_sessions,
    cli::{
        client::OutputArgs,
        sessions::EVIDENCE_DIR,
        style::{Output, Style},
        table::{Cell, Table},
    },
    policy::{
        Policy,
        explain::{Explanation, Part, ReasonView, RuleView, Standing, VerdictView},
        whom,
    },
    session::{Explained, ExplainedStatement, explained},
};

/// The statement would wait for approval.
const HELD: u8 = 3;
/// The statement would be refused.
const DENIED: u8 = 4;

/// Explain what the policy says to a statement of a job, and why.
///
/// Exits with 0 if every statement is allowed, 3 if one is held, 4 if one is denied, and 2 if it
/// cannot be told (no such table, not SQL, no catalog).
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The statement; `-` reads it from standard input. Several are followed one after another.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    sql: Option<String>,
    /// Read the statement from a file.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The database, as policies name it; not needed with --session.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    #[command(flatten)]
    job: JobArgs,
    /// Ask for the job of this recorded session, with its database and search path.
    #[arg(long, value_name = "ID", conflicts_with_all = ["issuer", "token", "recorded_job"])]
    session: Option<String>,
    /// Ask for this recorded job.
    #[arg(long = "job", id = "recorded_job", value_name = "ID", conflicts_with_all = ["issuer", "token"])]
    recorded_job: Option<String>,
    /// The evidence folder, for recorded sessions and jobs.
    #[arg(long, value_name = "FOLDER", env = "CORDON_EVIDENCE", default_value = EVIDENCE_DIR)]
    evidence: PathBuf,
    #[command(flatten)]
    policy: PolicyFolder,
    #[command(flatten)]
    catalog: CatalogSource,
    #[command(flatten)]
    output: OutputArgs,
}

/// Everything there is to say, as programs read it.
#[derive(Serialize)]
struct Answer {
    job: JobLine,
    #[serde(flatten)]
    explained: Explained,
}

/// Runs the command.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let sql = args.sql()?;
    let policy = args.policy.load()?;
    let subject = args.subject()?;
    let answer = answer(&policy, &subject, &sql, &args.catalog)?;
    let code = match answer.explained.verdict {
        "allow" => ExitCode::SUCCESS,
        "hold" => ExitCode::from(HELD),
        "deny" => ExitCode::from(DENIED),
        _ => ExitCode::from(UNUSABLE),
    };
    print(&mut Output::stdout(args.output.json), &answer)?;
    Ok(code)
}

/// Whom the policy is asked about, and where.
struct Subject {
    job: KnownJob,
    database: String,
    search_path: Option<Vec<String>>,
}

impl ExplainArgs {
    fn sql(&self) -> anyhow::Result<String> {
        let read = |path: &PathBuf| {
            fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let stdin = || {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .context("standard input cannot be read")?;
            Ok(text)
        };
        match (&self.sql, &self.file) {
            (Some(sql), _) if sql == "-" => stdin(),
            (Some(sql), _) => Ok(sql.clone()),
            (None, Some(file)) if file.as_os_str() == "-" => stdin(),
            (None, Some(file)) => read(file),
            (None, None) => bail!("no statement is given"),
        }
    }

    fn subject(&self) -> anyhow::Result<Subject> {
        let database = || {
            self.database
                .clone()
                .context("say which database: --database NAME, as the policy names it")
        };
        if let Some(id) = &self.session {
            let recorded = SessionPick {
                sessions: vec![id.clone()],
                jobs: Vec::new(),
                since: None,
                evidence: self.evidence.clone(),
            }
            .read()?;
            let [session] = recorded.sessions.as_slice() else {
                bail!("several sessions begin with {id}; write more of it");
            };
            let started = recorded.jobs.get(&session.opened.job).with_context(|| {
                format!("the start of job {} is not in this log", session.opened.job)
            })?;
            let paths = session.statements.iter().rev();
            return Ok(Subject {
                job: job::recorded(started),
                database: self
                    .database
                    .clone()
                    .unwrap_or_else(|| session.opened.database.clone()),
                search_path: paths
                    .map(|statement| &statement.decided.search_path)
                    .find(|path| !path.is_empty())
                    .cloned(),
            });
        }
        if let Some(id) = &self.recorded_job {
            let recorded = read_sessions(&self.evidence, |_, _| false)?;
            let started = recorded.jobs.get(id).with_context(|| {
                format!("no job {id} is recorded in {}", self.evidence.display())
            })?;
            return Ok(Subject {
                job: job::recorded(started),
                database: database()?,
                search_path: None,
            });
        }
        Ok(Subject {
            job: self.job.job(&self.policy.config)?,
            database: database()?,
            search_path: None,
        })
    }
}

fn answer(
    policy: &Arc<Policy>,
    subject: &Subject,
    sql: &str,
    source: &CatalogSource,
) -> anyhow::Result<Answer> {
    let explained = explained(
        policy,
        &subject.job.identity,
        &subject.database,
        subject.search_path.clone(),
        sql,
        |login| source.open(&subject.database, login),
    )?;
    Ok(Answer {
        job: JobLine::from(&subject.job),
        explained,
    })
}

fn print<W: Write>(output: &mut Output<W>, answer: &Answer) -> io::Result<()> {
    if output.is_json() {
        return output.json(answer);
    }
    let mut table = Table::pairs();
    table.pair("job", answer.job.text());
    if let Some(note) = &answer.job.note {
        table.pair("", Cell::new(Style::Warning, note));
    }
    let answer = &answer.explained;
    let login = answer
        .login
        .as_ref()
        .map_or(String::new(), |login| format!(" as {login}"));
    table.pair("database", format!("{}{login}", answer.database));
    if let Some(catalog) = &answer.catalog {
        table.pair(
            "catalog",
            format!(
                "{}, read {}; search path {}",
                catalog.from,
                catalog.read,
                catalog.search_path.join(", ")
            ),
        );
    }
    for (index, grant) in answer.grants.iter().enumerate() {
        let (style, standing) = match &grant.unmet {
            None if grant.observes => (Style::Warning, "applies, and only observes".to_owned()),
            None => (Style::Good, "applies".to_owned()),
            Some(unmet) => (Style::Faint, format!("does not apply: {unmet}")),
        };
        let key = if index == 0 { "grants" } else { "" };
        table.pair(
            key,
            Cell::new(style, format!("{}: {standing}", grant.grant)),
        );
    }
    for (index, limit) in answer.limits.iter().enumerate() {
        let key = if index == 0 { "limits" } else { "" };
        table.pair(
            key,
            format!("{} {} ({})", limit.limit, limit.most, limit.rule),
        );
    }
    output.table(&table)?;
    if let Some(reason) = &answer.refused {
        output.line("")?;
        refused(output, reason)?;
    }
    for statement in &answer.statements {
        output.line("")?;
        match statement {
            ExplainedStatement::Statement(explanation) => statement_explained(output, explanation)?,
            ExplainedStatement::NotUnderstood { text, error } => {
                sql(output, text)?;
                let word = output.paint(Style::Bad, "  not understood");
                let at = error
                    .position
                    .map_or(String::new(), |at| format!(", at character {at}"));
                let message = visible(&error.message);
                output.line(&format!("{word}  {}: {message}{at}", error.sqlstate))?;
            }
        }
    }
    Ok(())
}

fn sql<W: Write>(output: &mut Output<W>, text: &str) -> io::Result<()> {
    for line in visible(text).lines() {
        let line = output.marked(line);
        output.line(&line)?;
    }
    Ok(())
}

fn refused<W: Write>(output: &mut Output<W>, reason: &ReasonView) -> io::Result<()> {
    let word = output.paint(Style::Bad, "  deny");
    output.line(&format!(
        "{word}  {}: {}",
        reason.sqlstate,
        visible(&reason.message)
    ))?;
    output.line(&format!("        decided by {}", reason.rule))?;
    output.line(&format!("        hint: {}", visible(&reason.hint)))
}

fn statement_explained<W: Write>(
    output: &mut Output<W>,
    explanation: &Explanation,
) -> io::Result<()> {
    sql(output, &explanation.text)?;
    match &explanation.verdict {
        VerdictView::Allow { grants, observed } => {
            let word = output.paint(Style::Good, "  allow");
            output.line(&format!("{word}  by {}", grants.join(", ")))?;
            if let Some(observed) = observed {
                let note = format!("        only observed; enforced: {}", observed.would);
                let note = output.paint(Style::Warning, &note);
                output.line(&format!("{note}, {}", visible(&observed.reason.message)))?;
                output.line(&format!("        decided by {}", observed.reason.rule))?;
            }
        }
        VerdictView::Hold {
            needs,
            hold_seconds,
            on_hold,
            reason,
            ..
        } => {
            let word = output.paint(Style::Warning, "  hold");
            output.line(&format!(
                "{word}  for {}, up to {hold_seconds} s, on_hold: {on_hold}: {}",
                whom(needs),
                visible(&reason.message)
            ))?;
            output.line(&format!("        decided by {}", reason.rule))?;
        }
        VerdictView::Deny { reason } => refused(output, reason)?,
    }
    if let Some(remedy) = &explanation.remedy {
        for (section, lines) in [("allow", &remedy.allow), ("approve", &remedy.approve)] {
            if lines.is_empty() {
                continue;
            }
            output.line(&format!(
                "  to permit it, add to {section} of grant {}:",
                remedy.grant
            ))?;
            for line in lines {
                let line = output.paint(Style::Strong, &visible(line));
                output.line(&format!("      {line}"))?;
                if section == "approve" {
                    output.line("        by: { count: 1 }")?;
                }
            }
        }
    }
    if !explanation.parts.is_empty() {
        let mut table = Table::new(&["  DOES", "COLUMNS", "", "RULE"]);
        for part in &explanation.parts {
            rows(&mut table, part);
        }
        output.table(&table)?;
    }
    let columns = explanation.output.as_deref().unwrap_or_default();
    if !columns.is_empty() {
        let mut table = Table::new(&["  RETURNS", "", "FROM", "MASK"]);
        for column in columns {
            table.row([
                Cell::from(format!("  {}", column.name)),
                Cell::new(Style::Faint, column.how),
                column.origins.join(", ").into(),
                Cell::new(Style::Warning, column.mask.clone().unwrap_or_default()),
            ]);
        }
        output.table(&table)?;
    }
    for mask in &explanation.masks {
        output.line(&format!(
            "  {} is protected by {}: {} with {}, where: {}",
            visible(&mask.column),
            mask.place,
            visible(&mask.pattern),
            mask.with,
            mask.filter
        ))?;
    }
    let called: Vec<String> = explanation
        .functions
        .iter()
        .map(|function| format!("{} ({})", function.function, function.class))
        .collect();
    if !called.is_empty() {
        output.line(&format!("  functions: {}", visible(&called.join(", "))))?;
    }
    if explanation.every_row {
        let note = output.paint(Style::Warning, "  every row: no WHERE limits it");
        output.line(&note)?;
    }
    Ok(())
}

fn rows(table: &mut Table, part: &Part) {
    let (word, style) = match part.standing {
        Standing::Free => ("free", Style::Faint),
        Standing::Allowed => ("allowed", Style::Good),
        Standing::Held => ("held", Style::Warning),
        Standing::Denied => ("denied", Style::Bad),
    };
    let rule = |rule: &RuleView| {
        let columns = if rule.columns.len() == part.columns.len() {
            String::new()
        } else {
            format!("  for {}", rule.columns.join(", "))
        };
        format!("{}  {}{columns}", rule.place, rule.rule)
    };
    let mut lines: Vec<(String, Style)> = part
        .rules
        .iter()
        .map(|of| (rule(of), Style::Plain))
        .collect();
    if !part.missing.is_empty() {
        lines.push((
            format!("no rule for {}", part.missing.join(", ")),
            Style::Bad,
        ));
    } else if lines.is_empty() {
        let none = match part.standing {
            Standing::Denied => ("no rule", Style::Bad),
            Standing::Free | Standing::Allowed | Standing::Held => ("needs none", Style::Faint),
        };
        lines.push((none.0.to_owned(), none.1));
    }
    for (index, (text, text_style)) in lines.into_iter().enumerate() {
        let first = index == 0;
        let shown = |text: String| if first { text } else { String::new() };
        table.row([
            Cell::from(shown(format!("  {}", part.what))),
            shown(part.columns.join(", ")).into(),
            Cell::new(style, shown(word.to_owned())),
            Cell::new(text_style, text),
        ]);
    }
}
