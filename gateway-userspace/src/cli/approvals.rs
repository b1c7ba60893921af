//! `cordon approvals`: lists, shows and answers held statements.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::{Args, Subcommand};

use super::{
    style::{Output, Style},
    table::{Cell, Table},
};
use crate::{
    admin::{ApprovalView, NeedView, Request, RequestView, Response},
    approval::{visible, visible_line},
    config::parse_duration,
};

/// Where the daemon listens by default.
pub const CONTROL_SOCKET: &str = "/run/cordon/control.sock";

/// How often the daemon is asked while `--wait` waits.
const POLL: Duration = Duration::from_millis(250);

/// List, show and answer held statements.
#[derive(Args, Clone, Debug)]
pub struct ApprovalsArgs {
    #[command(subcommand)]
    command: ApprovalsCommand,
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "SOCKET", env = "CORDON_CONTROL", default_value = CONTROL_SOCKET)]
    pub control: PathBuf,
    /// Print JSON, on a terminal too.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum ApprovalsCommand {
    /// List statements that wait for an answer.
    List {
        /// Those that have been answered lately, too.
        #[arg(long)]
        all: bool,
    },
    /// Show one statement in full: text, parameters, effects, who asks.
    Show {
        /// Approval id, or the start of it.
        id: String,
    },
    /// Tell what has become of a held statement. Works inside of a job too, for its own ones.
    Status {
        /// Approval id, or the start of it; all if left out.
        id: Option<String>,
        /// Wait at most this long until it is answered or has ended, for example 10m.
        #[arg(long, value_name = "TIME", requires = "id", value_parser = time)]
        wait: Option<Duration>,
    },
    /// Let it run, once.
    Approve {
        /// Approval id, or the start of it.
        id: String,
        /// Why, for the evidence.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Refuse it.
    Deny {
        /// Approval id, or the start of it.
        id: String,
        /// Why, for the evidence and for whoever asked.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Runs the command; `call` asks the daemon.
///
/// # Errors
/// If the daemon cannot be asked, or refuses.
pub fn run(
    args: ApprovalsArgs,
    call: &mut dyn FnMut(Request) -> anyhow::Result<Response>,
) -> anyhow::Result<ExitCode> {
    let ApprovalsArgs {
        command,
        control: _,
        json,
    } = args;
    answer(&mut Output::stdout(json), command, call)?;
    Ok(ExitCode::SUCCESS)
}

fn answer<W: Write>(
    output: &mut Output<W>,
    command: ApprovalsCommand,
    call: &mut dyn FnMut(Request) -> anyhow::Result<Response>,
) -> anyhow::Result<()> {
    match command {
        ApprovalsCommand::List { all } => {
            let mut views = views(call(Request::ApprovalList)?)?;
            views.retain(|view| all || view.state == "pending");
            list(output, &views)?;
        }
        ApprovalsCommand::Show { id } => {
            let views = views(call(Request::ApprovalShow { id })?)?;
            for view in &views {
                show(output, view)?;
            }
        }
        ApprovalsCommand::Status { id, wait } => status(output, id.as_deref(), wait, call)?,
        ApprovalsCommand::Approve { id, reason } => decide(output, &id, true, reason, call)?,
        ApprovalsCommand::Deny { id, reason } => decide(output, &id, false, reason, call)?,
    }
    Ok(())
}

fn decide<W: Write>(
    output: &mut Output<W>,
    id: &str,
    approve: bool,
    reason: Option<String>,
    call: &mut dyn FnMut(Request) -> anyhow::Result<Response>,
) -> anyhow::Result<()> {
    let request = Request::ApprovalDecide {
        id: id.to_owned(),
        approve,
        reason,
    };
    let response = call(request)?;
    let view = match response {
        Response::Done => None,
        other => views(other)?.into_iter().next(),
    };
    if output.is_json() {
        match view {
            Some(view) => output.json(&view)?,
            None => output.json(&serde_json::json!({ "id": id, "recorded": true }))?,
        }
        return Ok(());
    }
    let said = match view {
        Some(view) if view.state == "pending" => output.paint(
            Style::Warning,
            &format!(
                "recorded; {} has {}",
                visible_line(&view.id),
                progress(&view)
            ),
        ),
        Some(view) => {
            let (state, style) = state(&view);
            output.paint(style, &format!("{} is {state}", visible_line(&view.id)))
        }
        None => format!("recorded: {}", if approve { "approved" } else { "denied" }),
    };
    output.line(&said)?;
    Ok(())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

fn status<W: Write>(
    output: &mut Output<W>,
    id: Option<&str>,
    wait: Option<Duration>,
    call: &mut dyn FnMut(Request) -> anyhow::Result<Response>,
) -> anyhow::Result<()> {
    let until = wait.map(|wait| Instant::now() + wait);
    let requests = loop {
        let requests = requests(call(Request::ApprovalStatus {
            id: id.map(str::to_owned),
        })?)?;
        let pending = requests.iter().any(|request| request.state == "pending");
        if !pending || until.is_none_or(|until| Instant::now() >= until) {
            break requests;
        }
        std::thread::sleep(POLL);
    };
    if output.is_json() {
        match (id, requests.as_slice()) {
            (Some(_), [one]) => output.json(one)?,
            (None | Some(_), all) => output.json(&all)?,
        }
        return Ok(());
    }
    if requests.is_empty() {
        output.line("nothing was held")?;
        return Ok(());
    }
    let mut table = Table::new(&["ID", "STATE", "EXPIRES", "NEXT", "STATEMENT"]);
    for request in &requests {
        table.row([
            Cell::new(Style::Strong, &request.id),
            Cell::new(style(&request.state), &request.state),
            Cell::from(&request.expires),
            match &request.reason {
                Some(reason) => Cell::from(format!("{} ({reason})", request.next)),
                None => Cell::from(&request.next),
            },
            Cell::from(&request.statement),
        ]);
    }
    output.table(&table)?;
    Ok(())
}

fn requests(response: Response) -> anyhow::Result<Vec<RequestView>> {
    match response {
        Response::Requests { requests } => Ok(requests),
        other => views(other).map(|views| views.into_iter().map(Into::into).collect()),
    }
}

fn views(response: Response) -> anyhow::Result<Vec<ApprovalView>> {
    match response {
        Response::Approvals { approvals } => Ok(approvals),
        Response::Error { message } => bail!("{}", visible_line(&message)),
        Response::Done
        | Response::Job(_)
        | Response::Jobs { .. }
        | Response::Requests { .. }
        | Response::Status(_)
        | Response::EvidenceKey { .. }
        | Response::Catalog(_)
        | Response::DatabaseChecks { .. } => {
            bail!(
                "the daemon's answer is not one to this request; are daemon and command of one version?"
            )
        }
    }
}

fn list<W: Write>(output: &mut Output<W>, views: &[ApprovalView]) -> io::Result<()> {
    if output.is_json() {
        return output.json(&views);
    }
    if views.is_empty() {
        return output.line("nothing waits for an answer");
    }
    let mut table = Table::new(&[
        "ID",
        "STATE",
        "FOR",
        "EXPIRES",
        "DATABASE",
        "REQUESTER",
        "STATEMENT",
    ]);
    for view in views {
        let (state, style) = state(view);
        table.row([
            Cell::new(Style::Strong, &view.id),
            Cell::new(style, state),
            whom(view).into(),
            Cell::from(&view.expires),
            Cell::from(&view.database),
            Cell::from(&view.requester),
            Cell::from(&view.statement),
        ]);
    }
    output.table(&table)
}

fn show<W: Write>(output: &mut Output<W>, view: &ApprovalView) -> io::Result<()> {
    if output.is_json() {
        return output.json(view);
    }
    let mut table = Table::pairs();
    let (state, style) = state(view);
    table.pair("approval", &view.id);
    table.pair("state", Cell::new(style, state));
    table.pair("requester", &view.requester);
    table.pair("job", &view.job);
    if let Some(url) = &view.run_url {
        table.pair("run", url);
    }
    if let Some(step) = &view.step {
        table.pair("step", format!("{step} (as its process says)"));
    }
    table.pair(
        "session",
        format!("{}, statement {}", view.session, view.statement_number),
    );
    table.pair("process", &view.process);
    table.pair("database", &view.database);
    if !view.why.is_empty() {
        table.pair("why", &view.why);
    }
    table.pair("rule", &view.rule);
    table.pair("needs", whom(view));
    if !view.approved_by.is_empty() {
        table.pair("has", progress(view));
        table.pair("approved by", view.approved_by.join(", "));
    }
    table.pair("asked", &view.created);
    table.pair("expires", &view.expires);
    if view.on_hold == "refuse" {
        table.pair("meanwhile", "refused; may be sent once more when approved");
    }
    if let Some(used) = &view.used {
        table.pair("let through", used);
    }
    if let Some(reason) = &view.ended_because {
        table.pair("because", reason);
    }
    for answer in &view.answers {
        let word = if answer.approve { "approved" } else { "denied" };
        let reason = answer.reason.as_deref().unwrap_or_default();
        table.pair(
            "answer",
            format!("{word} by {} at {}: {reason}", answer.by, answer.at),
        );
    }
    for warning in &view.warnings {
        table.pair("warning", Cell::new(Style::Bad, warning));
    }
    if let Some(rows) = view.estimated_rows {
        table.pair("rows", format!("about {rows}, as the planner guesses"));
    }
    for effect in &view.effects {
        table.pair("effect", Cell::new(Style::Warning, effect));
    }
    output.table(&table)?;
    output.line("")?;
    let statement = visible(&view.statement);
    let mut marked = statement != view.statement;
    for line in statement.lines() {
        let line = output.marked(line);
        output.line(&format!("    {line}"))?;
    }
    for (number, parameter) in view.parameters.iter().enumerate() {
        let value = parameter.as_ref().map_or_else(
            || "NULL".to_owned(),
            |value| {
                let shown = visible_line(value);
                marked |= shown != *value;
                format!("'{}'", shown.replace('\'', "''"))
            },
        );
        let value = output.marked(&value);
        let kind = match view.parameter_types.get(number) {
            Some(Some(kind)) => format!(" ({})", visible_line(kind)),
            Some(None) | None => String::new(),
        };
        output.line(&format!("    ${} = {value}{kind}", number + 1))?;
    }
    if !view.before.is_empty() {
        output.line("")?;
        output.line("Before it, the session sent:")?;
        for earlier in &view.before {
            let shown = visible_line(&earlier.statement);
            let shown = output.marked(&shown);
            output.line(&format!("    #{} {shown}", earlier.number))?;
        }
    }
    if marked {
        output.line("")?;
        let warning = "Characters that are invisible, or look like others, are shown as <U+XXXX>.";
        let warning = output.paint(Style::Bad, warning);
        output.line(&warning)?;
    }
    Ok(())
}

/// Who must approve: `2 of dba and 1 of security`.
fn whom(view: &ApprovalView) -> String {
    let needs = view
        .needs
        .iter()
        .map(|need| format!("{} of {}", need.count, group(need)));
    needs.collect::<Vec<_>>().join(" and ")
}

/// Who has approved so far: `1 of 2 approvals by dba`.
fn progress(view: &ApprovalView) -> String {
    let needs = view.needs.iter().map(|need| {
        let plural = if need.count == 1 { "" } else { "s" };
        format!(
            "{} of {} approval{plural} by {}",
            need.approved,
            need.count,
            visible_line(group(need))
        )
    });
    needs.collect::<Vec<_>>().join(" and ")
}

fn group(need: &NeedView) -> &str {
    need.group.as_deref().unwrap_or("the approvers")
}

fn state(view: &ApprovalView) -> (&str, Style) {
    let shown = match (view.state.as_str(), &view.used) {
        ("approved", Some(_)) => "approved, used",
        (state, _) => state,
    };
    (shown, style(&view.state))
}

fn style(state: &str) -> Style {
    match state {
        "approved" => Style::Good,
        "denied" => Style::Bad,
        "pending" => Style::Warning,
        // States of a newer daemon, too.
        _ => Style::Faint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::EarlierView;

    fn view(state: &str) -> ApprovalView {
        ApprovalView {
            estimated_rows: Some(41),
            warnings: vec!["a transaction is open".into()],
            run_url: Some("https://ci.example/1".into()),
            step: None,
            statement_number: 3,
            before: vec![EarlierView {
                number: 2,
                statement: "SELECT 1".into(),
            }],
            why: "deleting needs approval".into(),
            on_hold: "wait".into(),
            answers: Vec::new(),
            used: None,
            ended: None,
            ended_because: None,
            id: "apr-0123456789ab".into(),
            state: state.into(),
            session: "ses-1".into(),
            job: "job-1".into(),
            requester: "github repo:acme/shop\u{1b}[2J".into(),
            process: "psql (4242)".into(),
            database: "shop".into(),
            statement: format!(
                "DELETE FROM p\u{430}yroll\nWHERE id = $1 /* {} */ AND true",
                "long ".repeat(500)
            ),
            parameters: vec![Some("1' OR 'x".into()), None],
            parameter_types: vec![Some("boolean".into())],
            effects: vec!["delete public.p\u{430}yroll".into()],
            rule: "g: approve[0]".into(),
            needs: vec![
                NeedView {
                    group: Some("dba".into()),
                    count: 2,
                    approved: 1,
                },
                NeedView {
                    group: Some("security".into()),
                    count: 1,
                    approved: 0,
                },
            ],
            approved_by: vec!["alice".into()],
            created: "2026-01-02T03:04:05.000000Z".into(),
            expires: "2026-01-02T03:19:05.000000Z".into(),
        }
    }

    fn said(command: ApprovalsCommand, json: bool, response: &Response) -> (String, Vec<Request>) {
        let mut output = Output::new(Vec::new(), json, false, 80);
        let mut asked = Vec::new();
        let mut call = |request| {
            asked.push(request);
            Ok(response.clone())
        };
        answer(&mut output, command, &mut call).unwrap();
        (String::from_utf8(output.into_inner()).unwrap(), asked)
    }

    #[test]
    fn an_approver_sees_the_whole_statement_and_what_it_is_made_of() {
        let response = Response::Approvals {
            approvals: vec![view("pending")],
        };
        let (text, _) = said(
            ApprovalsCommand::Show { id: "apr-0".into() },
            false,
            &response,
        );
        assert!(
            text.contains("    DELETE FROM p<U+0430>yroll\n    WHERE id = $1 /* long"),
            "{text}"
        );
        assert!(text.contains("*/ AND true"));
        assert!(text.contains("$1 = '1'' OR ''x' (boolean)") && text.contains("$2 = NULL"));
        assert!(
            text.contains("delete public.p<U+0430>yroll") && text.contains("acme/shop<U+001B>[2J")
        );
        assert!(text.contains("2 of dba and 1 of security"), "{text}");
        assert!(
            text.contains("1 of 2 approvals by dba and 0 of 1 approval by security"),
            "{text}"
        );
        assert!(text.contains("shown as <U+XXXX>"));
        assert!(text.is_ascii() && !text.contains('\u{1b}'));
    }

    #[test]
    fn a_list_has_what_waits_and_with_all_the_rest() {
        let response = Response::Approvals {
            approvals: vec![view("pending"), view("expired")],
        };
        let count = |all| {
            said(ApprovalsCommand::List { all }, true, &response)
                .0
                .matches("apr-0123")
                .count()
        };
        assert_eq!((count(false), count(true)), (1, 2));
        let (text, _) = said(ApprovalsCommand::List { all: true }, false, &response);
        assert!(text.contains("STATEMENT") && text.contains("expired"));
    }

    #[test]
    fn an_answer_says_what_has_become_of_the_request() {
        let approve = ApprovalsCommand::Approve {
            id: "apr-0".into(),
            reason: Some("ok".into()),
        };
        let (text, asked) = said(
            approve.clone(),
            false,
            &Response::Approvals {
                approvals: vec![view("pending")],
            },
        );
        assert!(text.contains("1 of 2 approvals"), "{text}");
        assert!(
            matches!(&asked[..], [Request::ApprovalDecide { approve: true, reason: Some(reason), .. }] if reason == "ok")
        );
        let (text, _) = said(approve, false, &Response::Done);
        assert!(text.contains("approved"));
        let deny = ApprovalsCommand::Deny {
            id: "apr-0".into(),
            reason: None,
        };
        let (_, asked) = said(deny, true, &Response::Done);
        assert!(matches!(
            &asked[..],
            [Request::ApprovalDecide { approve: false, .. }]
        ));
    }

    #[test]
    fn a_refusal_of_the_daemon_is_an_error() {
        let mut output = Output::new(Vec::new(), true, false, 80);
        let command = ApprovalsCommand::Approve {
            id: "apr-0".into(),
            reason: None,
        };
        let error = answer(&mut output, command, &mut |_| {
            Ok(Response::Error {
                message: "no\u{1b}".into(),
            })
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "no<U+001B>");
    }
}
