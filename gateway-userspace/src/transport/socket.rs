//! What a stream runs over: TCP, and in tests and fuzz targets two ends in memory.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

#[cfg(any(test, fuzzing))]
pub use self::memory::Memory;

/// A connected pair of byte streams.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// In memory.
    #[cfg(any(test, fuzzing))]
    Memory(Memory),
}

impl Socket {
    /// Sends what is written at once.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_nodelay(true),
            #[cfg(any(test, fuzzing))]
            Self::Memory(_) => Ok(()),
        }
    }

    /// The first byte that comes, left where it is; `None` at the end.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn peek(&mut self) -> io::Result<Option<u8>> {
        match self {
            Self::Tcp(tcp) => {
                let mut first = [0];
                Ok((tcp.peek(&mut first).await? > 0).then_some(first[0]))
            }
            #[cfg(any(test, fuzzing))]
            Self::Memory(memory) => memory.peek().await,
        }
    }

    /// An error that no read or write has met yet.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Tcp(tcp) => tcp.take_error().unwrap_or_else(Some),
            #[cfg(any(test, fuzzing))]
            Self::Memory(_) => None,
        }
    }

    fn pinned(&mut self) -> Pin<&mut (dyn ReadWrite + Send)> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp),
            #[cfg(any(test, fuzzing))]
            Self::Memory(memory) => Pin::new(memory),
        }
    }
}

/// Both directions of a stream.
pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> ReadWrite for T {}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned().poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            #[cfg(any(test, fuzzing))]
            Self::Memory(_) => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(cx)
    }
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

/// Where a server is reached.
#[derive(Clone)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// In memory: each call is a new connection.
    #[cfg(any(test, fuzzing))]
    Memory(std::sync::Arc<dyn Fn() -> Memory + Send + Sync>),
}

impl Address {
    /// Connects.
    ///
    /// # Errors
    /// Those of `connect`.
    pub async fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).await.map(Socket::Tcp),
            #[cfg(any(test, fuzzing))]
            Self::Memory(connect) => Ok(Socket::Memory(connect())),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            #[cfg(any(test, fuzzing))]
            Self::Memory(_) => f.write_str("memory"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(any(test, fuzzing))]
mod memory {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// One end of a connection that the test or fuzz target holds the other end of.
    pub struct Memory {
        stream: Box<dyn Both>,
        /// A byte that was looked at and not yet read.
        peeked: Option<u8>,
        /// How much a read gives at most.
        reads: usize,
        /// After so many bytes a read ends, and the next one has to wait for another poll.
        split: Option<usize>,
        /// Bytes read so far, for whoever wants to know.
        count: Option<Arc<AtomicUsize>>,
        /// The end of the read before the split has been reached.
        paused: bool,
    }

    trait Both: ReadWrite + Send + Sync {}
    impl<T: ReadWrite + Send + Sync> Both for T {}

    impl Memory {
        /// Wraps one end.
        pub fn new(stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static) -> Self {
            Self {
                stream: Box::new(stream),
                peeked: None,
                reads: usize::MAX,
                split: None,
                count: None,
                paused: false,
            }
        }

        /// Gives at most so many bytes with one read, and lets the reader work in between.
        #[must_use]
        pub fn in_pieces(mut self, bytes: usize) -> Self {
            self.reads = bytes.max(1);
            self
        }

        /// Adds the number of bytes read to this one.
        #[must_use]
        pub fn counting(mut self, count: Arc<AtomicUsize>) -> Self {
            self.count = Some(count);
            self
        }

        /// Lets no read go across this position of the stream, and the reader work there.
        #[must_use]
        pub fn split_at(mut self, position: usize) -> Self {
            self.split = Some(position);
            self
        }

        pub(super) async fn peek(&mut self) -> io::Result<Option<u8>> {
            if self.peeked.is_none() {
                let mut first = [0];
                let mut buf = ReadBuf::new(&mut first);
                std::future::poll_fn(|cx| Pin::new(&mut *self.stream).poll_read(cx, &mut buf))
                    .await?;
                self.peeked = buf.filled().first().copied();
            }
            Ok(self.peeked)
        }

        /// What one read may give now.
        fn most(&self) -> usize {
            self.split
                .map_or(self.reads, |left| left.clamp(1, self.reads))
        }
    }

    impl AsyncRead for Memory {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if std::mem::take(&mut self.paused) {
                // Whoever reads goes on with what it has, and comes again.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let most = self.most();
            let read = if let Some(first) = self.peeked.take_if(|_| buf.remaining() > 0) {
                buf.put_slice(&[first]);
                1
            } else {
                let mut part = vec![0; most.min(buf.remaining())];
                let mut part = ReadBuf::new(&mut part);
                match Pin::new(&mut *self.stream).poll_read(cx, &mut part) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                }
                buf.put_slice(part.filled());
                part.filled().len()
            };
            if let Some(count) = &self.count {
                count.fetch_add(read, Ordering::SeqCst);
            }
            self.paused = self.reads != usize::MAX && read > 0;
            if let Some(left) = self.split {
                self.split = left.checked_sub(read).filter(|left| *left > 0);
                self.paused |= self.split.is_none();
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Memory {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut *self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut *self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut *self.stream).poll_shutdown(cx)
        }
    }

    impl From<Memory> for Socket {
        fn from(memory: Memory) -> Self {
            Self::Memory(memory)
        }
    }

    impl fmt::Debug for Memory {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Memory").finish_non_exhaustive()
        }
    }
}
