//! The client's side of the control socket.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::UnixStream,
};

use super::{
    Request, Response,
    line::{self, Line, MAX_REQUEST, MAX_RESPONSE},
};

/// Why the daemon cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("cannot reach the daemon at {}; is it running? See `systemctl status cordon`, or name its socket with --control", .path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the daemon broke; see the daemon's log")]
    Broken(#[source] io::Error),
    /// The daemon hung up.
    #[error(
        "the daemon closed the connection without an answer; it may be stopping, or too many clients are connected"
    )]
    Closed,
    /// The request is too large to be accepted.
    #[error("the request is larger than {MAX_REQUEST} bytes")]
    TooLarge,
    /// The answer makes no sense.
    #[error(
        "the daemon's answer is not understood; are the daemon and this command of the same version?"
    )]
    Unexpected(#[source] Option<serde_json::Error>),
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects. Must be called within a tokio runtime.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connected = std::os::unix::net::UnixStream::connect(path).and_then(|stream| {
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        });
        match connected {
            Ok(stream) => Ok(Self {
                stream: BufReader::new(stream),
            }),
            Err(source) => Err(ClientError::Unreachable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Asks, and waits for the answer. A refusal is an answer: [`Response::Error`].
    pub async fn call(&mut self, request: &Request) -> Result<Response, ClientError> {
        let mut line =
            serde_json::to_vec(request).map_err(|error| ClientError::Unexpected(Some(error)))?;
        if line.len() > MAX_REQUEST {
            return Err(ClientError::TooLarge);
        }
        line.push(b'\n');
        self.stream
            .get_mut()
            .write_all(&line)
            .await
            .map_err(ClientError::Broken)?;
        match line::read(&mut self.stream, MAX_RESPONSE)
            .await
            .map_err(ClientError::Broken)?
        {
            Line::Complete(answer) => serde_json::from_slice(&answer)
                .map_err(|error| ClientError::Unexpected(Some(error))),
            Line::End => Err(ClientError::Closed),
            Line::TooLong => Err(ClientError::Unexpected(None)),
        }
    }

    /// Returns when the daemon closes the connection: a bound job has ended, or the daemon has.
    pub async fn closed(&mut self) {
        while let Ok(Line::Complete(_)) = line::read(&mut self.stream, MAX_RESPONSE).await {}
    }

    /// Says that nothing more will be asked, so that a bound job ends, and waits until it has.
    pub async fn finish(mut self) {
        if self.stream.get_mut().shutdown().await.is_ok() {
            self.closed().await;
        }
    }
}
