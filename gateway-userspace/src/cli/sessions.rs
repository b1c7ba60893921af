//! `cordon sessions`: what was done in recorded sessions.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    style::{Output, Style},
    table::{Cell, Table},
};
use crate::{
    approval::{visible, visible_line},
    audit::{
        Content, Decision, Outcome, Phase, SessionRecord, SessionSummary, StatementCompleted,
        StatementRecord, list_sessions, read_session,
    },
};

/// Where the daemon keeps its evidence by default.
pub const EVIDENCE_DIR: &str = "/var/lib/cordon/evidence";
/// Longer pauses are shortened in a replay.
const MAX_PAUSE: Duration = Duration::from_secs(5);

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
    /// Show the statements of a session, their verdicts and outcomes, as they happened.
    Replay {
        /// Session id, or the start of it; default: the latest session.
        id: Option<String>,
        /// So many times as fast; pauses of more than five seconds are shortened.
        #[arg(
            long,
            value_name = "N",
            default_value_t = 1.0,
            conflicts_with = "instant"
        )]
        speed: f64,
        /// Without pauses.
        #[arg(long)]
        instant: bool,
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
        SessionsCommand::Replay { id, speed, instant } => {
            let pace = (!instant).then_some(speed);
            let id = match id {
                Some(id) => id,
                None => list_sessions(&dir)?
                    .pop()
                    .map(|session| session.session)
                    .ok_or_else(|| anyhow::anyhow!("no session is recorded yet"))?,
            };
            replay(
                &mut output,
                &read_session(&dir, &id)?,
                pace,
                std::thread::sleep,
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
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
    head(output, session)?;
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
            phase(statement.decided.phase).into(),
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

fn head<W: Write>(output: &mut Output<W>, session: &SessionRecord) -> io::Result<()> {
    let opened = &session.opened;
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
    table.pair("opened", &session.opened_at);
    match &session.closed {
        Some((time, closed)) => table.pair("closed", format!("{time}: {}", closed.reason)),
        None => table.pair(
            "closed",
            Cell::new(
                Style::Warning,
                "not in this log: it is open, or a crash ended it",
            ),
        ),
    }
    output.table(&table)
}

fn replay<W: Write>(
    output: &mut Output<W>,
    session: &SessionRecord,
    speed: Option<f64>,
    mut pause: impl FnMut(Duration),
) -> io::Result<()> {
    if output.is_json() {
        for statement in &session.statements {
            output.json(statement)?;
        }
        return Ok(());
    }
    head(output, session)?;
    let mut now = session.opened_ns;
    for statement in &session.statements {
        let gap = Duration::from_nanos(statement.mono_ns.saturating_sub(now));
        now = now.max(statement.mono_ns);
        wait(gap, speed, &mut pause);
        let since = Duration::from_nanos(statement.mono_ns.saturating_sub(session.opened_ns));
        decision(output, statement, since)?;
        output.flush()?;
        if let Some(done) = &statement.completed {
            let ran = Duration::from_micros(done.duration_us);
            now = now.saturating_add(u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX));
            wait(ran, speed, &mut pause);
            completion(output, done)?;
            output.flush()?;
        }
    }
    let end = match &session.closed {
        Some((_, closed)) => format!(
            "closed: {}; {} statements, {} rows, {} cells masked",
            visible_line(&closed.reason),
            closed.statements,
            closed.rows,
            closed.cells_masked
        ),
        None => "its end is not in this log".to_owned(),
    };
    output.line("")?;
    let end = output.paint(Style::Faint, &end);
    output.line(&end)
}

fn wait(gap: Duration, speed: Option<f64>, pause: &mut impl FnMut(Duration)) {
    // A speed of nought, or one that is no number, is no pause.
    let Some(seconds) = speed.map(|speed| gap.min(MAX_PAUSE).as_secs_f64() / speed) else {
        return;
    };
    if let Ok(gap) = Duration::try_from_secs_f64(seconds)
        && !gap.is_zero()
    {
        pause(gap);
    }
}

fn decision<W: Write>(
    output: &mut Output<W>,
    statement: &StatementRecord,
    since: Duration,
) -> io::Result<()> {
    let decided = &statement.decided;
    let (verdict, style) = verdict(&decided.decision);
    output.line("")?;
    let line = format!(
        "{}  #{} {}  {}  {}",
        output.paint(Style::Faint, &format!("+{:.3}s", since.as_secs_f64())),
        decided.statement,
        phase(decided.phase),
        output.paint(style, verdict),
        visible_line(&why(&decided.decision)),
    );
    output.line(&line)?;
    let (text, whole) = decided.text.shown();
    for text_line in visible(&text).lines() {
        let text_line = output.marked(text_line);
        output.line(&format!("    {text_line}"))?;
    }
    if !whole {
        output.line("    (only its beginning is kept in the entry)")?;
    }
    for (number, parameter) in decided.parameters.iter().enumerate() {
        let value = parameter.as_ref().map_or("NULL".to_owned(), literal);
        let value = output.marked(&value);
        output.line(&format!("    ${} = {value}", number + 1))?;
    }
    if !decided.masked.is_empty() {
        let masked = output.paint(Style::Warning, &visible_line(&decided.masked.join(", ")));
        output.line(&format!("    masked: {masked}"))?;
    }
    if let Some(requested) = &statement.requested {
        let needs: Vec<String> = requested
            .needs
            .iter()
            .map(|need| {
                let group = need.group.as_deref().unwrap_or("the approvers");
                format!("{} of {}", need.count, visible_line(group))
            })
            .collect();
        output.line(&format!(
            "    held as {}, for {}",
            requested.approval,
            needs.join(" and ")
        ))?;
    }
    for answer in &statement.answers {
        let (word, style) = if answer.approve {
            ("approved", Style::Good)
        } else {
            ("denied", Style::Bad)
        };
        let word = output.paint(style, word);
        let reason = answer.reason.as_ref().map_or(String::new(), |reason| {
            format!(": {}", visible_line(reason))
        });
        output.line(&format!(
            "    {word} by {}{reason}",
            visible_line(&answer.by)
        ))?;
    }
    Ok(())
}

fn completion<W: Write>(output: &mut Output<W>, done: &StatementCompleted) -> io::Result<()> {
    let (word, style) = outcome(&done.outcome);
    let word = output.paint(style, &word);
    output.line(&format!(
        "    {word}: {} rows, {} bytes, {} cells masked, {:.3} ms",
        done.rows,
        done.bytes,
        done.cells_masked,
        Duration::from_micros(done.duration_us).as_secs_f64() * 1_000.0
    ))
}

fn verdict(decision: &Decision) -> (&'static str, Style) {
    match decision {
        Decision::Allow { .. } => ("allow", Style::Good),
        Decision::Observe { .. } => ("observe", Style::Warning),
        Decision::Approve { .. } => ("hold", Style::Warning),
        Decision::Deny { .. } => ("deny", Style::Bad),
    }
}

fn why(decision: &Decision) -> String {
    match decision {
        Decision::Allow { grants } => grants.join(", "),
        Decision::Observe {
            would,
            rule,
            reason,
            ..
        } => format!("would {would}: {reason} ({rule})"),
        Decision::Approve { rule, reason, .. } => format!("{reason} ({rule})"),
        Decision::Deny {
            rule, reason, code, ..
        } => format!("{reason} ({rule}, {code})"),
    }
}

fn outcome(outcome: &Outcome) -> (String, Style) {
    match outcome {
        Outcome::Ok => ("ok".to_owned(), Style::Good),
        Outcome::Error { sqlstate } => (format!("error {}", visible_line(sqlstate)), Style::Bad),
        Outcome::Limited(reached) => (
            format!(
                "cut at {} ({})",
                visible_line(&reached.limit),
                visible_line(&reached.rule)
            ),
            Style::Bad,
        ),
        Outcome::Cancelled => ("cancelled".to_owned(), Style::Warning),
        Outcome::Abandoned => ("abandoned".to_owned(), Style::Warning),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Execute => "execute",
        Phase::Simple => "simple",
    }
}

/// A value as SQL would write it, so that its end can be seen.
fn literal(content: &Content) -> String {
    let (text, whole) = content.shown();
    let text = format!("'{}'", visible_line(&text).replace('\'', "''"));
    if whole { text } else { format!("{text}...") }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{
        ApprovalDecided, ApprovalNeed, ApprovalRequested, SessionClosed, SessionOpened,
        StatementDecided,
    };

    fn statement(number: u64, at_ms: u64, text: &str, decision: Decision) -> StatementRecord {
        StatementRecord {
            index: number,
            time: "2026-01-02T03:04:05.600000Z".into(),
            mono_ns: at_ms * 1_000_000,
            decided: StatementDecided {
                session: "ses-1".into(),
                statement: number,
                phase: Phase::Simple,
                text: text.into(),
                parameters: vec![Some("it's \u{430}".into()), None],
                relations: Vec::new(),
                effects: Vec::new(),
                decision,
                policy: "p".into(),
                masked: vec!["email: partial".into()],
                search_path: Vec::new(),
                approval: None,
            },
            requested: None,
            answers: Vec::new(),
            completed: None,
        }
    }

    fn session() -> SessionRecord {
        let mut first = statement(
            1,
            500,
            "SELECT '\u{1b}]0;title\u{7}'",
            Decision::Allow {
                grants: vec!["g".into()],
            },
        );
        first.completed = Some(StatementCompleted {
            session: "ses-1".into(),
            statement: 1,
            rows: 2,
            bytes: 30,
            cells_masked: 1,
            duration_us: 1_500,
            outcome: Outcome::Ok,
            result_sha256: None,
        });
        let mut second = statement(
            2,
            60_000,
            "DELETE FROM orders",
            Decision::Approve {
                grants: vec!["g".into()],
                rule: "g: approve[0]".into(),
                reason: "deletes rows".into(),
            },
        );
        second.requested = Some(ApprovalRequested {
            approval: "apr-1".into(),
            needs: vec![ApprovalNeed {
                group: Some("dba".into()),
                count: 1,
            }],
            ..ApprovalRequested::default()
        });
        second.answers = vec![ApprovalDecided {
            by: "alice".into(),
            reason: Some("no".into()),
            ..ApprovalDecided::default()
        }];
        SessionRecord {
            opened_at: "2026-01-02T03:04:05.100000Z".into(),
            opened_ns: 0,
            opened: SessionOpened {
                session: "ses-1".into(),
                ..SessionOpened::default()
            },
            statements: vec![first, second],
            closed: Some((
                "2026-01-02T03:06:00.000000Z".into(),
                SessionClosed {
                    reason: "client left".into(),
                    ..SessionClosed::default()
                },
            )),
        }
    }

    #[test]
    fn a_replay_keeps_order_and_pace_and_cannot_disturb_the_terminal() {
        let mut output = Output::new(Vec::new(), false, false, 80);
        let mut pauses = Vec::new();
        replay(&mut output, &session(), Some(2.0), |gap| pauses.push(gap)).unwrap();
        let text = String::from_utf8(output.into_inner()).unwrap();
        let at = |needle: &str| {
            text.find(needle)
                .unwrap_or_else(|| panic!("{needle} is missing in {text}"))
        };
        assert!(
            at("SELECT") < at("ok: 2 rows")
                && at("ok: 2 rows") < at("DELETE")
                && at("DELETE") < at("denied by alice: no")
        );
        assert!(text.contains("$1 = 'it''s <U+0430>'") && text.contains("$2 = NULL"));
        assert!(text.contains("'<U+001B>]0;title<U+0007>'"));
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
        // Half a second, the statement itself, then a minute cut to five seconds: all halved.
        assert_eq!(
            pauses,
            [
                Duration::from_millis(250),
                Duration::from_micros(750),
                Duration::from_millis(2_500)
            ]
        );
        let mut output = Output::new(Vec::new(), false, false, 80);
        replay(&mut output, &session(), None, |_| {
            panic!("an instant replay waits")
        })
        .unwrap();
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            wait(Duration::from_secs(1), Some(speed), &mut |_| {
                panic!("a speed of {speed} waits")
            });
        }
    }

    #[test]
    fn programs_get_json_that_reads_back() {
        let mut output = Output::new(Vec::new(), true, false, 80);
        show(&mut output, &session()).unwrap();
        replay(&mut output, &session(), Some(1.0), |_| {
            panic!("JSON waits for nobody")
        })
        .unwrap();
        let text = String::from_utf8(output.into_inner()).unwrap();
        let values: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(values.len(), 3);
        assert_eq!(values[1]["decided"]["decision"]["is"], "allow");
    }

    #[test]
    fn tables_show_verdicts_and_outcomes() {
        let mut output = Output::new(Vec::new(), false, true, 200);
        show(&mut output, &session()).unwrap();
        let text = String::from_utf8(output.into_inner()).unwrap();
        assert!(
            text.contains("\u{1b}[32mallow\u{1b}[0m") && text.contains("\u{1b}[33mhold\u{1b}[0m"),
            "{text}"
        );
    }
}
