//! A small client for the server's Unix socket: several messages in one write, every answer with
//! its SQLSTATE and context, COPY data as it comes. Drivers hide some of that.

use std::{
    io::{BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// Longest a server may be silent. A bound for hangs.
const SILENCE: Duration = Duration::from_mins(3);

/// A row, its columns as text.
pub type Row = Vec<Option<String>>;

/// What the server said to one message up to `ReadyForQuery`.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Rows of all result sets.
    pub rows: Vec<Row>,
    /// Names of the columns of the last result set.
    pub labels: Vec<String>,
    /// The first error.
    pub error: Option<ServerError>,
    /// Command tags, one per statement that succeeded.
    pub tags: Vec<String>,
    /// The server asked for COPY data (already answered).
    pub wanted_data: bool,
}

impl Answer {
    /// The first cell of the first row.
    pub fn cell(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }

    /// The rows, or the error as one of ours.
    pub fn rows(self) -> Result<Vec<Row>> {
        match self.error {
            None => Ok(self.rows),
            Some(error) => bail!("the server says {}: {}", error.sqlstate, error.message),
        }
    }
}

/// An error as the server reports it.
#[derive(Clone, Debug, Default)]
pub struct ServerError {
    /// SQLSTATE.
    pub sqlstate: String,
    /// Primary message.
    pub message: String,
    /// The functions and statements that it came from.
    pub context: String,
}

/// A message to the server that ends with `ReadyForQuery`.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'t> {
    /// A simple query. COPY from the client gets no data: it fails.
    Query(&'t str),
    /// Parse as the unnamed statement, and nothing more.
    Parse(&'t str),
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: BufReader<UnixStream>,
    /// The last `ReadyForQuery`: `I`dle, in a `T`ransaction, in one that has `E`rred.
    pub status: u8,
    /// `standard_conforming_strings`, as the server last reported it.
    pub standard_strings: bool,
}

impl Wire {
    /// Connects without a password.
    pub fn connect(
        socket: &Path,
        user: &str,
        database: &str,
        options: &[(&str, &str)],
    ) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut wire = Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
            status: b'I',
            standard_strings: true,
        };
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", database)]
            .iter()
            .chain(options)
        {
            for text in [name, value] {
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        let length = i32::try_from(body.len() + 4)?.to_be_bytes();
        wire.send(&[&length, body.as_slice()].concat())?;
        let answer = wire.answer(None)?;
        answer.rows()?;
        Ok(wire)
    }

    /// Sends everything in one write, then reads the answers.
    pub fn ask(&mut self, asked: &[Ask<'_>]) -> Result<Vec<Answer>> {
        let mut out = Vec::new();
        for ask in asked {
            match ask {
                Ask::Query(text) => {
                    message(&mut out, b'Q', &[text.as_bytes(), b"\0"])?;
                    // Ends a COPY that waits for data; ignored otherwise.
                    message(&mut out, b'f', &[b"no data\0"])?;
                }
                Ask::Parse(text) => {
                    message(&mut out, b'P', &[b"\0", text.as_bytes(), b"\0\0\0"])?;
                    message(&mut out, b'S', &[])?;
                }
            }
        }
        self.send(&out)?;
        asked.iter().map(|_| self.answer(None)).collect()
    }

    /// Runs one text; every COPY that wants data takes the next of `data`.
    pub fn run(&mut self, text: &str, data: &mut dyn Iterator<Item = Vec<u8>>) -> Result<Answer> {
        let mut out = Vec::new();
        message(&mut out, b'Q', &[text.as_bytes(), b"\0"])?;
        self.send(&out)?;
        self.answer(Some(data))
    }

    /// Runs one text and gives its rows.
    pub fn rows(&mut self, text: &str) -> Result<Vec<Row>> {
        self.run(text, &mut std::iter::empty())?.rows()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(bytes)
            .context("sending to the server")
    }

    /// Reads up to `ReadyForQuery`. `data`: what to send when a COPY asks.
    fn answer(&mut self, mut data: Option<&mut dyn Iterator<Item = Vec<u8>>>) -> Result<Answer> {
        let mut answer = Answer::default();
        loop {
            let (tag, body) = self.message()?;
            let mut fields = Reader(&body);
            match tag {
                b'Z' => {
                    self.status = body.first().copied().unwrap_or_default();
                    return Ok(answer);
                }
                b'T' => {
                    answer.labels.clear();
                    for _ in 0..fields.short()? {
                        answer.labels.push(fields.string()?);
                        fields.take(18)?;
                    }
                }
                b'D' => {
                    let count = fields.short()?;
                    let mut row = Vec::with_capacity(count.into());
                    for _ in 0..count {
                        let length = fields.int()?;
                        row.push(match usize::try_from(length) {
                            Ok(length) => {
                                Some(String::from_utf8_lossy(fields.take(length)?).into_owned())
                            }
                            Err(_null) => None,
                        });
                    }
                    answer.rows.push(row);
                }
                b'C' => answer.tags.push(fields.string()?),
                b'E' => {
                    let mut error = ServerError::default();
                    while let Some(kind) = fields.byte().filter(|kind| *kind != 0) {
                        let text = fields.string()?;
                        match kind {
                            b'C' => error.sqlstate = text,
                            b'M' => error.message = text,
                            b'W' => error.context = text,
                            _ => {}
                        }
                    }
                    if answer.error.is_none() {
                        answer.error = Some(error);
                    }
                }
                b'G' => {
                    answer.wanted_data = true;
                    // Without data, the CopyFail is already on its way.
                    let Some(data) = data.as_mut() else { continue };
                    let mut out = Vec::new();
                    if let Some(bytes) = data.next() {
                        for chunk in bytes.chunks(1 << 20) {
                            message(&mut out, b'd', &[chunk])?;
                        }
                        message(&mut out, b'c', &[])?;
                    } else {
                        message(&mut out, b'f', &[b"no data\0"])?;
                    }
                    self.send(&out)?;
                }
                b'S' if fields.string()? == "standard_conforming_strings" => {
                    self.standard_strings = fields.string()? == "on";
                }
                b'R' => ensure!(fields.int()? == 0, "the server asks for a password"),
                // Notices, notifications, keys, completions, COPY data.
                _ => {}
            }
        }
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream
            .read_exact(&mut head)
            .context("the server closed the connection, or is silent")?;
        let [tag, length @ ..] = head;
        let length = usize::try_from(i32::from_be_bytes(length))?;
        let mut body = vec![0; length.checked_sub(4).context("a short message")?];
        self.stream.read_exact(&mut body)?;
        Ok((tag, body))
    }
}

fn message(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) -> Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    out.extend_from_slice(&i32::try_from(length + 4)?.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// The rest of a message's body.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).context("a short message")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn short(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn string(&mut self) -> Result<String> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .context("no end of a string")?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}
