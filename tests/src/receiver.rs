//! A receiver of webhooks: an HTTP server on loopback that keeps what it is sent.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host::PATIENCE;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
    /// What it was answered with.
    pub status: u16,
}

/// The server. It lives as long as the process.
#[derive(Clone, Debug)]
pub struct Receiver {
    url: String,
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Answers to the next requests; then 204.
    answers: Vec<u16>,
    deliveries: Vec<Delivery>,
}

/// What is read and written.
pub trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Receiver {
    /// Starts it; the first requests are answered with `answers`, all others with 204.
    pub fn start(answers: &[u16]) -> Result<Self> {
        Self::start_with(answers, "http", |stream| Ok(Box::new(stream)))
    }

    /// Starts it behind a scheme of its own: `accept` makes a stream of each connection.
    pub fn start_with(
        answers: &[u16],
        scheme: &str,
        accept: impl Fn(TcpStream) -> Result<Box<dyn Stream>> + Send + 'static,
    ) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the receiver")?;
        let url = format!(
            "{scheme}://127.0.0.1:{}/hook",
            listener.local_addr()?.port()
        );
        let shared = Arc::new((
            Mutex::new(Shared {
                answers: answers.iter().rev().copied().collect(),
                deliveries: Vec::new(),
            }),
            Condvar::new(),
        ));
        let receiver = Self { url, shared };
        thread::Builder::new().name("receiver".to_owned()).spawn({
            let receiver = receiver.clone();
            move || {
                for stream in listener.incoming().flatten() {
                    // A client that goes away is its own problem.
                    let _ = accept(stream).and_then(|stream| receiver.answer(stream));
                }
            }
        })?;
        Ok(receiver)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for a delivery that fits, among those that came and those that come.
    pub fn wait_for(&self, what: &str, fits: impl Fn(&Delivery) -> bool) -> Result<Delivery> {
        let (shared, came) = &*self.shared;
        let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let (shared, timeout) = came
            .wait_timeout_while(shared, PATIENCE, |shared| {
                !shared.deliveries.iter().any(&fits)
            })
            .unwrap_or_else(PoisonError::into_inner);
        match shared.deliveries.iter().find(|delivery| fits(delivery)) {
            Some(delivery) => Ok(delivery.clone()),
            None => bail!(
                "no {what} within {PATIENCE:?} ({}); it got {:?}",
                timeout.timed_out(),
                shared.deliveries
            ),
        }
    }

    /// All that came so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let (shared, _) = &*self.shared;
        shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .deliveries
            .clone()
    }

    fn answer(&self, stream: Box<dyn Stream>) -> Result<()> {
        let mut reader = BufReader::new(stream);
        // Connections are kept open.
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(':') else {
                    break;
                };
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            let length: usize = headers
                .get("content-length")
                .context("no length")?
                .parse()?;
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let (shared, came) = &*self.shared;
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let status = shared.answers.pop().unwrap_or(204);
            shared.deliveries.push(Delivery {
                headers,
                body: String::from_utf8(body)?,
                status,
            });
            drop(shared);
            came.notify_all();
            let stream = reader.get_mut();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")?;
            stream.flush()?;
        }
    }
}

impl Delivery {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {}", self.body))
    }

    /// A header, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}
