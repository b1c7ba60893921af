//! One side of a session: a stream with its read and write buffers.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{Socket, socket::ReadWrite};

/// How much one read asks for, in bytes.
const READ_SIZE: usize = 32 * 1024;
/// Size of the write buffer that an idle connection may keep, in bytes.
const SMALL_ANSWER: usize = 1024;
/// How much the first read of a connection asks for that has waited, in bytes.
const FIRST_READ: usize = 4 * 1024;

/// A connection, plain or inside TLS.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(Socket),
    /// We are the TLS server.
    TlsServer(Box<tokio_rustls::server::TlsStream<Socket>>),
    /// We are the TLS client.
    TlsClient(Box<tokio_rustls::client::TlsStream<Socket>>),
}

impl Stream {
    /// The hash of the certificate that the server has shown us (`tls-server-end-point`, RFC 5929
    /// §4); `None` without TLS, or if its kind of signature has no hash of its own.
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        match self {
            Self::TlsClient(tls) => {
                let (_, connection) = tls.get_ref();
                super::tls::end_point(connection.peer_certificates()?.first()?)
            }
            Self::Plain(_) | Self::TlsServer(_) => None,
        }
    }

    /// True inside TLS.
    pub fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    fn pinned(&mut self) -> Pin<&mut (dyn ReadWrite + Send)> {
        match self {
            Self::Plain(stream) => Pin::new(stream),
            Self::TlsServer(stream) => Pin::new(&mut **stream),
            Self::TlsClient(stream) => Pin::new(&mut **stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(cx)
    }
}

/// A stream with its buffers. Reading and writing are polled, so that one task can serve both
/// directions of both sides without locks.
#[derive(Debug)]
pub struct Channel {
    stream: Stream,
    /// Bytes received and not yet consumed.
    pub rx: BytesMut,
    /// Bytes to be sent.
    pub tx: BytesMut,
    /// TLS holds bytes that have left `tx` and not been taken by the socket.
    unflushed: bool,
    eof: bool,
}

impl Channel {
    /// Wraps a connected stream.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            rx: BytesMut::new(),
            tx: BytesMut::new(),
            unflushed: false,
            eof: false,
        }
    }

    /// Gives the stream back, for a TLS handshake; buffered bytes are the caller's to check.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// The stream.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// True once the peer has closed its sending side.
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// Reads once into `rx`. `Ok(0)` is the end of the stream.
    ///
    /// A connection that waits holds no buffer: what comes first is read into a small one that lives
    /// for this call.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let read = if self.rx.capacity() == 0 {
            let mut first = [MaybeUninit::uninit(); FIRST_READ];
            let mut first = ReadBuf::uninit(&mut first);
            ready!(self.stream.pinned().poll_read(cx, &mut first))?;
            self.rx.extend_from_slice(first.filled());
            first.filled().len()
        } else {
            self.rx.reserve(READ_SIZE);
            let mut stream = self.stream.pinned();
            let reading = std::pin::pin!(stream.read_buf(&mut self.rx));
            ready!(reading.poll(cx))?
        };
        self.eof = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Writes as much of `tx` as the stream takes; ready when all of it is written and flushed.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tx.has_remaining() {
            let written = ready!(self.stream.pinned().poll_write(cx, &self.tx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.tx.advance(written);
            // TLS keeps records that the socket did not take yet.
            self.unflushed = self.stream.is_tls();
        }
        if self.unflushed {
            ready!(self.stream.pinned().poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// True if [`Channel::poll_drain`] has something to do: bytes in `tx`, or in TLS behind it.
    pub fn wants_drain(&self) -> bool {
        !self.tx.is_empty() || self.unflushed
    }

    /// A pending error of the socket: a reset that no read or write has met yet.
    pub fn take_error(&self) -> Option<io::Error> {
        let socket = match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::TlsServer(tls) => tls.get_ref().0,
            Stream::TlsClient(tls) => tls.get_ref().0,
        };
        socket.take_error()
    }

    /// Reads until `rx` holds at least `len` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer closes before.
    pub async fn fill_to(&mut self, len: usize) -> io::Result<()> {
        while self.rx.len() < len {
            let read = std::future::poll_fn(|cx| self.poll_fill(cx)).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Writes all of `tx`.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn drain(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_drain(cx)).await
    }

    /// Sends what is left and closes the sending side; errors no longer matter.
    pub async fn close(&mut self) {
        let closing = async {
            self.drain().await?;
            std::future::poll_fn(|cx| self.stream.pinned().poll_shutdown(cx)).await
        };
        // A peer that does not read must not hold the task.
        let _: Result<io::Result<()>, _> =
            tokio::time::timeout(std::time::Duration::from_secs(2), closing).await;
    }

    /// Gives a write buffer back that a large answer has left empty. One for small answers stays: it
    /// would only be asked for again.
    pub fn release_large(&mut self) {
        if self.tx.is_empty() && self.tx.capacity() > SMALL_ANSWER {
            self.tx = BytesMut::new();
        }
    }

    /// Gives idle buffers back to the allocator.
    pub fn release_idle(&mut self) {
        if self.rx.is_empty() && self.rx.capacity() > 0 {
            self.rx = BytesMut::new();
        }
        if self.tx.is_empty() && self.tx.capacity() > 0 {
            self.tx = BytesMut::new();
        }
    }
}
