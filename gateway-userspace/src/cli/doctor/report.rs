//! How the report is printed.

use super::{
    super::{
        style::{Output, Style},
        table::{Cell, Table},
    },
    finding::{Report, State},
};

/// A table, and below it in full what needs doing; or JSON.
pub fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = Output::stdout(json);
    if out.is_json() {
        out.json(report)?;
        return Ok(());
    }
    let mut table = Table::new(&["AREA", "CHECK", "STATE", "SEEN"]);
    for finding in &report.findings {
        table.row([
            Cell::new(Style::Faint, finding.area),
            Cell::from(&finding.check),
            Cell::new(style(finding.state), finding.state.word()),
            Cell::from(&finding.seen),
        ]);
    }
    out.table(&table)?;
    for finding in &report.findings {
        let Some(mend) = &finding.mend else { continue };
        let mut entry = Table::pairs();
        entry.row([
            Cell::new(style(finding.state), finding.state.word()),
            Cell::new(
                Style::Strong,
                format!("{}: {}", finding.area, finding.check),
            ),
        ]);
        entry.pair("seen", &finding.seen);
        entry.pair("to do", mend);
        out.line("")?;
        out.table(&entry)?;
    }
    out.line("")?;
    out.line(&if report.healthy {
        out.paint(Style::Good, "No problem was found.")
    } else {
        out.paint(Style::Bad, "There are problems; see above.")
    })?;
    out.flush()?;
    Ok(())
}

fn style(state: State) -> Style {
    match state {
        State::Ok => Style::Good,
        State::Warning => Style::Warning,
        State::Problem => Style::Bad,
        State::Skipped => Style::Faint,
    }
}
