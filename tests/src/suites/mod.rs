//! The drivers' own test suites, run directly and through Cordon under a policy that allows
//! everything: what passes directly must pass through Cordon.
//!
//! Each suite has a server of its own. It runs directly first, then, on a fresh database of the same
//! name, inside a job. Nothing of the suites is in the repository: they come with the drivers'
//! source packages.

mod node;
mod place;
mod python;
mod record;
mod report;
mod rust;
mod sources;

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, ensure};

use self::place::{Needs, Place, Run};
pub use self::{
    record::{Ending, Results},
    report::{Outcome, Report},
};

/// A suite of one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// psycopg 2's tests.
    Psycopg2,
    /// asyncpg's tests.
    Asyncpg,
    /// `SQLAlchemy`'s dialect tests over psycopg 3.
    SqlalchemyPsycopg,
    /// `SQLAlchemy`'s dialect tests over psycopg 2.
    SqlalchemyPsycopg2,
    /// node-postgres: `pg`.
    NodePostgres,
    /// node-postgres: `pg-pool`.
    NodePool,
    /// node-postgres: `pg-cursor`.
    NodeCursor,
    /// tokio-postgres' tests.
    TokioPostgres,
    /// sqlx' tests for `PostgreSQL`.
    Sqlx,
}

/// All of them, in the order of the report.
pub const SUITES: [Suite; 9] = [
    Suite::Psycopg2,
    Suite::Asyncpg,
    Suite::SqlalchemyPsycopg,
    Suite::SqlalchemyPsycopg2,
    Suite::NodePostgres,
    Suite::NodePool,
    Suite::NodeCursor,
    Suite::TokioPostgres,
    Suite::Sqlx,
];

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Suites whose name begins with one of these; all if empty.
    pub suites: Vec<String>,
    /// Say what runs.
    pub progress: bool,
    /// Where what the tests printed is kept.
    pub output: Option<PathBuf>,
}

/// Runs a suite one way.
type RunSuite = Box<dyn Fn(&Place, Run<'_>) -> Result<Results>>;

/// A suite that is ready to run.
struct Prepared {
    version: String,
    needs: Needs,
    /// Built where a server is needed for it.
    run: RunSuite,
}

impl Suite {
    /// The name in reports, in `explained.json` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Psycopg2 => "psycopg2",
            Self::Asyncpg => "asyncpg",
            Self::SqlalchemyPsycopg => "sqlalchemy+psycopg",
            Self::SqlalchemyPsycopg2 => "sqlalchemy+psycopg2",
            Self::NodePostgres => "node-postgres",
            Self::NodePool => "node-postgres pg-pool",
            Self::NodeCursor => "node-postgres pg-cursor",
            Self::TokioPostgres => "tokio-postgres",
            Self::Sqlx => "sqlx",
        }
    }

    fn prepare(self) -> Result<Prepared> {
        match self {
            Self::Psycopg2 => python::psycopg2(),
            Self::Asyncpg => python::asyncpg(),
            Self::SqlalchemyPsycopg => python::sqlalchemy("psycopg"),
            Self::SqlalchemyPsycopg2 => python::sqlalchemy("psycopg2"),
            Self::NodePostgres => node::pg(),
            Self::NodePool => node::mocha("pg-pool"),
            Self::NodeCursor => node::mocha("pg-cursor"),
            Self::TokioPostgres => rust::tokio_postgres(),
            Self::Sqlx => rust::sqlx(),
        }
    }

    fn both_ways(self, selection: &Selection) -> Result<Outcome> {
        let prepared = self.prepare()?;
        let mut place = Place::start(&prepared.needs)?;
        let started = Instant::now();
        let directly = (prepared.run)(&place, Run::Directly)?;
        let direct_seconds = started.elapsed().as_secs_f64();
        keep(selection, self, "directly", &directly)?;
        ensure!(
            directly.passed() > 0,
            "no test passed directly, so the comparison would say nothing:\n{}",
            directly.printed
        );
        place.afresh(&prepared.needs)?;
        let daemon = place.intercept()?;
        let started = Instant::now();
        let mut through = (prepared.run)(&place, Run::Through(&daemon))?;
        let through_seconds = started.elapsed().as_secs_f64();
        through.printed.push_str("\n--- the daemon's log\n");
        through.printed.push_str(&daemon.log()?);
        keep(selection, self, "through", &through)?;
        daemon.verify_evidence()?.success()?;
        Ok(Outcome {
            suite: self.name(),
            version: prepared.version,
            directly,
            through,
            direct_seconds,
            through_seconds,
        })
    }
}

/// Runs the suites both ways.
pub fn run(selection: &Selection) -> Result<Report> {
    let chosen = SUITES.into_iter().filter(|suite| {
        selection.suites.is_empty()
            || selection
                .suites
                .iter()
                .any(|wanted| suite.name().starts_with(wanted.as_str()))
    });
    let mut report = Report::default();
    for suite in chosen {
        match suite.both_ways(selection) {
            Ok(outcome) => {
                if selection.progress {
                    eprintln!("{}", outcome.line());
                }
                report.outcomes.push(outcome);
            }
            // The other suites say something without this one.
            Err(error) => report.broken.push(format!("{}: {error:#}", suite.name())),
        }
    }
    ensure!(
        !report.outcomes.is_empty() || !report.broken.is_empty(),
        "no suite is named like that"
    );
    Ok(report)
}

fn keep(selection: &Selection, suite: Suite, way: &str, results: &Results) -> Result<()> {
    if let Some(folder) = &selection.output {
        std::fs::create_dir_all(folder)?;
        let name = suite.name().replace(' ', "-");
        std::fs::write(
            folder.join(format!("{name}.{way}.txt")),
            format!("{}\n{}", results.listing(), results.printed),
        )?;
    }
    Ok(())
}
