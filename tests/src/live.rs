//! A psql session driven over pipes, for tests that look at it between statements.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{host::PATIENCE, output::Output};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// A running psql.
#[derive(Debug)]
pub struct LivePsql {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Stream, String)>,
    seen: Vec<(Stream, String)>,
    psql: Pid,
    marks: u32,
}

impl LivePsql {
    /// The command line that [`LivePsql::start`] expects: it tells its process id first, which is
    /// psql's own afterwards.
    pub(crate) fn argv(psql: &str) -> [&str; 15] {
        [
            "/bin/sh",
            "-c",
            "echo \"pid $$\"; exec stdbuf -oL \"$@\"",
            "sh",
            psql,
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "VERBOSITY=verbose",
            "-v",
            "ON_ERROR_STOP=0",
            "-f",
            "-",
        ]
    }

    /// Starts psql in `command`, whose command line is that of `argv`.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting psql")?;
        let (send, lines) = mpsc::channel();
        forward(
            child.stdout.take().context("no stdout")?,
            Stream::Out,
            send.clone(),
        );
        forward(child.stderr.take().context("no stderr")?, Stream::Err, send);
        let stdin = child.stdin.take();
        let mut session = Self {
            child,
            stdin,
            lines,
            seen: Vec::new(),
            psql: Pid::INIT,
            marks: 0,
        };
        let line =
            session.wait(|stream, line| stream == Stream::Out && line.starts_with("pid "))?;
        let pid = line
            .trim_start_matches("pid ")
            .parse()
            .context("no process id")?;
        session.psql = Pid::from_raw(pid).context("no process id")?;
        session.seen.clear();
        Ok(session)
    }

    /// Sends a line without waiting for what it does.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("psql's input is closed")?;
        writeln!(stdin, "{line}")
            .and_then(|()| stdin.flush())
            .context("psql does not read any more")
    }

    /// Waits until psql has done everything sent so far; gives what it printed since the last
    /// call.
    pub fn sync(&mut self) -> Result<Output> {
        self.marks += 1;
        let mark = format!("--mark-{}--", self.marks);
        self.send(&format!("\\echo {mark}\n\\warn {mark}"))?;
        let mut missing = 2;
        self.wait(|_, line| {
            missing -= i32::from(line == mark);
            missing == 0
        })?;
        Ok(self.take(|line| !line.starts_with("--mark-")))
    }

    /// Sends SQL and waits for its end.
    pub fn query(&mut self, sql: &str) -> Result<Output> {
        self.send(sql)?;
        self.sync()
    }

    /// Waits for a line on standard error that contains `needle`.
    pub fn wait_for_message(&mut self, needle: &str) -> Result<String> {
        self.wait(|stream, line| stream == Stream::Err && line.contains(needle))
    }

    /// Ctrl-C: psql sends a cancel request. It gives up its script afterwards.
    pub fn interrupt(&self) -> Result<()> {
        kill_process(self.psql, Signal::INT).context("interrupting psql")
    }

    /// Ends psql at once; its connection breaks.
    pub fn kill(&self) -> Result<()> {
        kill_process(self.psql, Signal::KILL).context("killing psql")
    }

    /// Closes the input and waits for the end; gives what was printed since the last call.
    pub fn finish(mut self) -> Result<Output> {
        self.stdin = None;
        while let Some(line) = self.next()? {
            self.seen.push(line);
        }
        let code = self.child.wait()?.code();
        Ok(Output {
            code,
            ..self.take(|_| true)
        })
    }

    fn take(&mut self, keep: impl Fn(&str) -> bool) -> Output {
        let mut output = Output {
            code: Some(0),
            stdout: String::new(),
            stderr: String::new(),
        };
        for (stream, line) in self.seen.drain(..).filter(|(_, line)| keep(line)) {
            let text = match stream {
                Stream::Out => &mut output.stdout,
                Stream::Err => &mut output.stderr,
            };
            text.push_str(&line);
            text.push('\n');
        }
        output
    }

    /// Reads on until a line fits (those already seen count, too).
    fn wait(&mut self, mut fits: impl FnMut(Stream, &str) -> bool) -> Result<String> {
        for (stream, line) in &self.seen {
            if fits(*stream, line) {
                return Ok(line.clone());
            }
        }
        while let Some((stream, line)) = self.next()? {
            let fit = fits(stream, &line);
            self.seen.push((stream, line.clone()));
            if fit {
                return Ok(line);
            }
        }
        bail!(
            "psql ended before the expected line; it printed {:?}",
            self.seen
        )
    }

    fn next(&mut self) -> Result<Option<(Stream, String)>> {
        let deadline = Instant::now() + PATIENCE;
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Ok(Some(line)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("psql is silent; so far: {:?}", self.seen)
            }
        }
    }
}

impl Drop for LivePsql {
    fn drop(&mut self) {
        self.stdin = None;
        if matches!(self.child.try_wait(), Ok(None)) {
            if self.psql != Pid::INIT {
                let _ = kill_process(self.psql, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn forward(stream: impl Read + Send + 'static, which: Stream, send: Sender<(Stream, String)>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches('\n')
                .to_owned();
            if send.send((which, text)).is_err() {
                break;
            }
            line.clear();
        }
    });
}
