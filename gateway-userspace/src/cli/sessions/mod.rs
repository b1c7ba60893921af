//! `cordon sessions`: what was done in recorded sessions.

mod export;
mod html;
mod line;
mod replay;
mod search;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{
    style::{Output, Style},
    table::{Cell, Table},
};
use crate::{
    approval::visible_line,
    audit::{
        Decision, Outcome, SessionOpened, SessionRecord, SessionSummary, StatementCompleted,
        Transcript, list_sessions, newest_sessions, read_session,
    },
};

/// Where the daemon keeps its evidence by default.
pub const EVIDENCE_DIR: &str = "/var/lib/cordon/evidence";

/// List, show and replay recorded sessions.
#[derive(Args, Clone, Debug)]
pub struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
    /// The evidence folder.
    #[arg(long, global = true, value_name = "FOLDER", env = "CORDON_EVIDENCE", default_value = EVIDENCE_DIR)]
    dir: PathBuf,
    /// Print JSON, on a terminal too.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum SessionsCommand {
    /// List sessions, oldest first.
    List {
        /// Only those of this job.
        #[arg(long, value_name = "ID")]
        job: Option<String>,
        /// Only the last so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show one session and its statements.
    Show {
        /// Session id, or the start of it.
        id: String,
    },
    /// Show a session as it happened: statements, verdicts, and what the client was sent.
    Replay {
        /// Session id, or the start of it; default: the latest session.
        id: Option<String>,
        /// How fast: `1x` as it was, `4x`, `0.5x`, or `max` without pauses. Pauses of more than
        /// five seconds are shortened.
        #[arg(long, value_name = "N", default_value = "1x")]
        speed: replay::Speed,
        /// As `--speed max`.
        #[arg(long)]
        instant: bool,
        /// Most rows shown of each result; 0 shows them all.
        #[arg(long, value_name = "N", default_value_t = 20)]
        rows: u64,
    },
    /// Write a session to a file: every entry and message, as JSON lines or as one HTML page.
    Export {
        /// Session id, or the start of it.
        id: String,
        /// In which form.
        #[arg(long, value_enum, default_value_t = export::Format::Jsonl)]
        format: export::Format,
        /// Where to; default: standard output.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Find a text in statements, parameters and results; exits with 1 if it is nowhere.
    Search {
        /// The text, in any case of its ASCII letters.
        text: String,
        /// Only in this session.
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// Stop after so many hits.
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        limit: u64,
    },
}

/// Runs the command.
///
/// # Errors
/// If the evidence cannot be read, or there is no such session.
pub fn run(args: SessionsArgs) -> anyhow::Result<ExitCode> {
    let SessionsArgs { command, dir, json } = args;
    let mut output = Output::stdout(json);
    match command {
        SessionsCommand::List { job, limit } => {
            let mut sessions = list_sessions(&dir)?;
            sessions.retain(|session| job.as_ref().is_none_or(|job| session.job == *job));
            let skip = limit.map_or(0, |limit| sessions.len().saturating_sub(limit));
            list(&mut output, sessions.get(skip..).unwrap_or_default())?;
        }
        SessionsCommand::Show { id } => show(&mut output, &read_session(&dir, &id)?)?,
        SessionsCommand::Replay {
            id,
            speed,
            instant,
            rows,
        } => {
            let id = match id {
                Some(id) => id,
                None => latest(&dir)?,
            };
            let mut transcript = Transcript::open(&dir, &id)?;
            let pace = if instant { replay::Speed::Max } else { speed };
            replay::replay(&mut output, &mut transcript, pace, rows, std::thread::sleep)?;
        }
        SessionsCommand::Export { id, format, to } => {
            export::export(&dir, &id, format, to.as_deref())?;
        }
        SessionsCommand::Search {
            text,
            session,
            limit,
        } => {
            let found = search::search(&mut output, &dir, &text, session.as_deref(), limit)?;
            if found == 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn latest(dir: &Path) -> anyhow::Result<String> {
    let mut latest = None;
    newest_sessions(dir, |session| {
        latest = Some(session.session);
        false
    })?;
    latest.ok_or_else(|| anyhow::anyhow!("no session is recorded yet"))
}

fn list<W: Write>(output: &mut Output<W>, sessions: &[SessionSummary]) -> io::Result<()> {
    if output.is_json() {
        return output.json(&sessions);
    }
    if sessions.is_empty() {
        return output.line("no sessions");
    }
    let heading = [
        "SESSION",
        "OPENED",
        "STATE",
        "JOB",
        "DATABASE",
        "LOGIN",
        "PROCESS",
        "STATEMENTS",
        "DENIED",
        "HELD",
        "ROWS",
        "MASKED",
    ];
    let mut table = Table::new(&heading);
    for session in sessions {
        let count = |number: u64, style| {
            Cell::new(
                if number > 0 { style } else { Style::Faint },
                number.to_string(),
            )
        };
        table.row([
            Cell::new(Style::Strong, &session.session),
            seconds(&session.opened).into(),
            if session.closed.is_some() {
                "closed".into()
            } else {
                Cell::new(Style::Warning, "open")
            },
            Cell::from(&session.job),
            Cell::from(&session.database),
            Cell::from(&session.login),
            Cell::from(&session.process),
            count(session.statements, Style::Plain),
            count(session.denied, Style::Bad),
            count(session.held, Style::Warning),
            count(session.rows, Style::Plain),
            count(session.cells_masked, Style::Warning),
        ]);
    }
    output.table(&table)
}

fn show<W: Write>(output: &mut Output<W>, session: &SessionRecord) -> io::Result<()> {
    if output.is_json() {
        return output.json(session);
    }
    let mut head = head(&session.opened_at, &session.opened);
    match &session.closed {
        Some((time, closed)) => head.pair("closed", format!("{time}: {}", closed.reason)),
        None => head.pair(
            "closed",
            Cell::new(
                Style::Warning,
                "not in this log: it is open, or a crash ended it",
            ),
        ),
    }
    output.table(&head)?;
    let mut table = Table::new(&[
        "#",
        "TIME",
        "PHASE",
        "VERDICT",
        "OUTCOME",
        "ROWS",
        "MASKED",
        "STATEMENT",
    ]);
    for statement in &session.statements {
        let (verdict, style) = verdict(&statement.decided.decision);
        let done = statement.completed.as_ref();
        let count = |of: fn(&StatementCompleted) -> u64| {
            done.map_or(String::new(), |done| of(done).to_string())
        };
        let (outcome, outcome_style) =
            done.map_or((String::new(), Style::Plain), |done| outcome(&done.outcome));
        table.row([
            statement.decided.statement.to_string().into(),
            time_of_day(&statement.time).into(),
            statement.decided.phase.word().into(),
            Cell::new(style, verdict),
            Cell::new(outcome_style, outcome),
            count(|done| done.rows).into(),
            count(|done| done.cells_masked).into(),
            statement.decided.text.shown().0.into(),
        ]);
    }
    output.line("")?;
    output.table(&table)
}

/// Who and where a session is.
fn head(opened_at: &str, opened: &SessionOpened) -> Table {
    let mut table = Table::pairs();
    table.pair("session", &opened.session);
    table.pair("job", &opened.job);
    table.pair(
        "database",
        format!(
            "{} as {} (dialled {})",
            opened.database, opened.login, opened.original
        ),
    );
    let process = &opened.process;
    let name = process.executable.as_deref().unwrap_or(&process.comm);
    table.pair(
        "process",
        format!("{name}, pid {}, uid {}", process.pid, process.uid),
    );
    if let Some(line) = &process.command_line {
        table.pair("command", line.replace('\0', " "));
    }
    for (key, value) in &opened.client {
        table.pair("client", format!("{key}={value}"));
    }
    table.pair("opened", opened_at);
    table
}

fn verdict(decision: &Decision) -> (&'static str, Style) {
    let style = match decision {
        Decision::Allow { .. } => Style::Good,
        Decision::Observe { .. } | Decision::Approve { .. } => Style::Warning,
        Decision::Deny { .. } => Style::Bad,
    };
    (decision.word(), style)
}

fn outcome(outcome: &Outcome) -> (String, Style) {
    let style = match outcome {
        Outcome::Ok => Style::Good,
        Outcome::Error { .. } | Outcome::Limited(_) => Style::Bad,
        Outcome::Cancelled | Outcome::Abandoned => Style::Warning,
    };
    (visible_line(&outcome.words()), style)
}

/// Without the fraction of the second.
fn seconds(time: &str) -> String {
    time.split_once('.')
        .map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

fn time_of_day(time: &str) -> String {
    time.split_once('T').map_or_else(
        || time.to_owned(),
        |(_, of_day)| of_day.trim_end_matches('Z').to_owned(),
    )
}
