//! Python programs that speak the wire protocol byte by byte, run inside jobs.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{host, job::JobCommand, tools};

const PRELUDE: &str = include_str!("../fixtures/raw/pgraw.py");

/// One login and one query; the fields of what came.
pub const STARTUP: &str = include_str!("../fixtures/raw/startup.py");
/// Rows of steps in one session.
pub const ROWS: &str = include_str!("../fixtures/raw/rows.py");
/// Paths, each in every way, with every byte that came.
pub const STREAMS: &str = include_str!("../fixtures/raw/streams.py");
/// Malformed, misplaced and hostile messages.
pub const MALFORMED: &str = include_str!("../fixtures/raw/malformed.py");
/// Results around a limit of ten rows.
pub const LIMITS: &str = include_str!("../fixtures/raw/limits.py");

/// The text of a program that may use everything of `pgraw.py`.
pub fn program(body: &str) -> String {
    format!("{PRELUDE}\n{body}")
}

/// Runs a program in a job and reads the JSON it prints.
pub fn run(job: &JobCommand<'_>, body: &str, args: &[&str]) -> Result<Value> {
    job.python(&program(body), args)?.success()?.json()
}

/// A program that does a step for each line that it reads, and answers with a line of JSON.
#[derive(Debug)]
pub struct Live {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Live {
    /// Starts the program in a job.
    pub fn start(job: &JobCommand<'_>, body: &str) -> Result<Self> {
        let file = job.share(
            &format!("live-{}.py", host::unique()),
            program(body).as_bytes(),
        )?;
        let mut child = job
            .command(&[tools::PYTHON, &file])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Has a step done.
    pub fn step(&mut self, line: &str) -> Result<Value> {
        let input = self.input.as_mut().context("no input")?;
        writeln!(input, "{line}")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("after {line:?}: {answer:?}"))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It ends at the end of its input.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// What one exchange showed.
#[derive(Clone, Debug)]
pub struct Seen<'v>(pub &'v Value);

impl Seen<'_> {
    /// The SQLSTATEs of the errors, in order.
    pub fn sqlstates(&self) -> Vec<&str> {
        self.0["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| error["C"].as_str())
            .collect()
    }

    /// The rows, all values as text.
    pub fn rows(&self) -> Vec<Vec<Option<&str>>> {
        let rows = self.0["rows"].as_array().into_iter().flatten();
        rows.map(|row| {
            row.as_array()
                .into_iter()
                .flatten()
                .map(Value::as_str)
                .collect()
        })
        .collect()
    }

    /// The connection ended.
    pub fn closed(&self) -> bool {
        self.0["closed"] == Value::Bool(true)
    }

    /// Nothing came for a long time.
    pub fn timed_out(&self) -> bool {
        self.0["timeout"] == Value::Bool(true)
    }

    /// `ReadyForQuery` messages.
    pub fn ready(&self) -> u64 {
        self.0["ready"].as_u64().unwrap_or_default()
    }

    /// A field of the first error: `C` code, `M` message, `D` detail, `H` hint.
    pub fn field(&self, name: &str) -> Result<&str> {
        self.0["errors"][0][name]
            .as_str()
            .with_context(|| format!("the first error has no {name}: {}", self.0))
    }
}
