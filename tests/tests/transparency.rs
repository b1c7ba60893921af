//! A sample of `cargo xtask test-transparency`: scripts of PostgreSQL's regression suite, run by psql
//! directly and through Cordon.

use anyhow::{Result, ensure};
use cordon_tests::transparency::{self, SAMPLE, Selection};

/// What psql prints is the same, but for what is listed and explained.
#[test]
fn psql_prints_what_it_prints_directly() -> Result<()> {
    let report = transparency::run(&Selection {
        scripts: SAMPLE.iter().map(|script| (*script).to_owned()).collect(),
        ..Selection::default()
    })?;
    println!("{}", report.table()?);
    let unexplained = report.unexplained()?;
    ensure!(
        unexplained.is_empty(),
        "{}",
        unexplained
            .iter()
            .map(|outcome| format!("{}:\n{}", outcome.script, outcome.diff))
            .collect::<Vec<_>>()
            .join("\n")
    );
    ensure!(
        report.outcomes.iter().all(|outcome| outcome.lines > 50),
        "a script printed next to nothing"
    );
    Ok(())
}
