//! An agent inside of a job that is told what to send, over several connections, and tells what
//! came of it.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{JobCommand, tools};

const PROGRAM: &str = include_str!("../fixtures/agent.py");

/// A running agent; its job ends with it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// What came of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It ran, and touched or returned so many rows.
    Ran(i64),
    /// It failed.
    Failed {
        /// SQLSTATE.
        sqlstate: String,
        /// Message and hint.
        text: String,
    },
}

impl Agent {
    /// Starts it in a job.
    pub fn start(job: &JobCommand<'_>) -> Result<Self> {
        let file = job.share(
            &format!("agent-{}.py", crate::host::unique()),
            PROGRAM.as_bytes(),
        )?;
        let python = tools::python_with_drivers()?.display().to_string();
        let mut child = job
            .command(&[&python, &file])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the agent")?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut agent = Self {
            child,
            stdin,
            stdout,
        };
        ensure!(agent.line()? == "ready", "the agent did not start");
        Ok(agent)
    }

    /// Sends a statement over the connection of this name, and waits for what comes of it.
    pub fn send(&mut self, connection: &str, sql: &str, values: &[Value]) -> Result<Told> {
        let mut order = json!({ "on": connection, "sql": sql });
        if !values.is_empty() {
            order["values"] = json!(values);
        }
        let told = self.order(&order)?;
        match told["sqlstate"].as_str() {
            Some(sqlstate) => Ok(Told::Failed {
                sqlstate: sqlstate.to_owned(),
                text: format!("{} {}", told["message"], told["hint"]),
            }),
            None => {
                Ok(Told::Ran(told["count"].as_i64().with_context(|| {
                    format!("the connection is gone: {told}")
                })?))
            }
        }
    }

    /// Runs a command; gives its exit code and its standard output.
    pub fn command(&mut self, argv: &[&str]) -> Result<(i64, String)> {
        let told = self.order(&json!({ "command": argv }))?;
        let text = format!(
            "{}{}",
            told["stdout"].as_str().unwrap_or_default(),
            told["stderr"].as_str().unwrap_or_default()
        );
        Ok((told["code"].as_i64().context("no exit code")?, text))
    }

    /// Closes a connection.
    pub fn close(&mut self, connection: &str) -> Result<()> {
        self.order(&json!({ "close": connection })).map(drop)
    }

    /// Ends it, and its job.
    pub fn finish(mut self) -> Result<()> {
        self.stdin = None;
        let status = self.child.wait()?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }

    fn order(&mut self, order: &Value) -> Result<Value> {
        let stdin = self.stdin.as_mut().context("the agent has ended")?;
        writeln!(stdin, "{order}").and_then(|()| stdin.flush())?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the agent said {line:?}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the agent has ended");
        Ok(line.trim_end().to_owned())
    }
}

impl Told {
    /// The id of the request for approval, where it was refused until it is approved.
    pub fn approval(&self) -> Result<String> {
        let Self::Failed { sqlstate, text } = self else {
            anyhow::bail!("it was not refused: {self:?}")
        };
        ensure!(sqlstate == "57014", "{self:?}");
        let at = text
            .find("apr-")
            .with_context(|| format!("no id: {text}"))?;
        let id: String = text
            .get(at..at + 16)
            .with_context(|| format!("no id: {text}"))?
            .to_owned();
        Ok(id)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stdin = None;
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
