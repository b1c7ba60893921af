//! A sample of `cargo xtask test-agreement`: scripts of PostgreSQL's regression suite, TPC-H and
//! TPC-DS, statement by statement, with the server as judge of the analysis.

use anyhow::{Result, ensure};
use cordon_tests::agreement::{self, SAMPLE, Selection};

/// Nothing that the server touches goes unreported (G3).
#[test]
fn what_the_server_touches_is_reported() -> Result<()> {
    let selection = Selection {
        scripts: SAMPLE.iter().map(|script| (*script).to_owned()).collect(),
        ..Selection::default()
    };
    let reports = agreement::run(&selection)?;
    let table = agreement::print(&reports);
    println!("{table}");
    let under: u64 = reports.iter().map(agreement::Report::under_reported).sum();
    ensure!(
        under == 0,
        "{under} statements touch what was not reported\n{table}"
    );
    let judged: u64 = reports.iter().map(|report| report.judged).sum();
    ensure!(
        judged > 1500,
        "only {judged} statements were judged\n{table}"
    );
    Ok(())
}
