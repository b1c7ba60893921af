//! Listening in the network namespaces of jobs.

use std::{
    fs::File,
    io,
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::fs::MetadataExt,
    },
    thread,
};

use aya::maps::{MapData, RingBuf};
use gateway_common::NamespaceRequest;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Interceptor, kernel, listener};

/// A job dialled a database in a network namespace where nobody listens.
pub type NamespaceWanted = NamespaceRequest;

/// The place of a network namespace in the file system: device and inode. Names one only while it
/// lives.
pub type NamespaceFile = (u64, u64);

/// Listeners of the proxy in another network namespace. They keep it alive.
#[derive(Debug)]
pub struct NamespaceListeners {
    /// Marked, and not blocking; one for each family that the namespace has.
    pub listeners: Vec<TcpListener>,
    /// Which namespace it is.
    pub file: NamespaceFile,
}

/// Requests to listen in a namespace, to be waited for.
pub struct NamespaceStream(AsyncFd<Requests>);

struct Requests(RingBuf<MapData>);

impl AsRawFd for Requests {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl NamespaceStream {
    /// To be called within a runtime.
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the descriptor is the ring's, the same and open until `Requests` is dropped.
        let registered =
            unsafe { AsyncFd::register_with_interest(Requests(ring), Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Waits for the next one. Nothing is lost if it is cancelled.
    pub async fn next(&mut self) -> io::Result<NamespaceWanted> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let next = ready.get_inner_mut().0.next();
            if let Some(request) = next.and_then(|bytes| kernel::read_pod(&bytes)) {
                return Ok(request);
            }
            ready.clear_ready();
        }
    }
}

impl Interceptor {
    /// Listens in the namespace of the thread that asked for it. Blocks.
    ///
    /// # Errors
    /// If the thread is gone or has moved to another namespace, or one cannot listen there.
    pub fn listen_in(&self, wanted: &NamespaceWanted) -> io::Result<NamespaceListeners> {
        let path = format!("/proc/{}/task/{}/ns/net", wanted.pid, wanted.tid);
        let namespace = File::open(path)?;
        let metadata = namespace.metadata()?;
        let (port, cookie) = (self.port(), wanted.netns_cookie);
        // A thread of its own: it never comes back from the namespace.
        let listeners = thread::Builder::new()
            .name("namespace".to_owned())
            .spawn(move || sockets(&namespace, port, cookie))?
            .join()
            .map_err(|_panic| io::Error::other("the thread in the namespace panicked"))??;
        self.mark(&listeners)?;
        Ok(NamespaceListeners {
            listeners,
            file: (metadata.dev(), metadata.ino()),
        })
    }
}

fn sockets(namespace: &File, port: u16, cookie: u64) -> io::Result<Vec<TcpListener>> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let v4 = listener::listen_v4(port)?;
    // Whoever asked may have moved meanwhile, or dialled with a socket from elsewhere.
    if kernel::netns_cookie(&v4)? != cookie {
        return Err(io::Error::other(
            "the process is not in the network namespace of its socket",
        ));
    }
    let v6 = listener::listen_v6(port)?;
    Ok(std::iter::once(v4).chain(v6).collect())
}
