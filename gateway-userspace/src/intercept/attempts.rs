//! Attempts to get past the gateway, as the programs report them.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

use aya::maps::{MapData, RingBuf};
use gateway_common::{Attempt, Endpoint, Way};

use super::{InterceptedConn, address, conn::comm, sock_diag::Destroyer};

/// Somebody tried to get past the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BypassAttempt {
    /// What was tried.
    pub way: Way,
    /// Whether it was stopped; otherwise it was only noticed.
    pub refused: bool,
    /// Who tried, and where it was going: `original` is unspecified where there is no destination,
    /// and `pid` is 0 where the process is not known.
    pub conn: InterceptedConn,
    /// The socket's own address, if it has one.
    pub client: Option<SocketAddr>,
}

impl BypassAttempt {
    /// Where it was going.
    pub fn destination(&self) -> Option<SocketAddr> {
        (self.conn.original.port() != 0).then_some(self.conn.original)
    }

    /// `None` for what this daemon does not know.
    fn read(attempt: &Attempt) -> Option<Self> {
        let caller = attempt.caller;
        Some(Self {
            way: Way::from_code(attempt.way)?,
            refused: attempt.refused != 0,
            conn: InterceptedConn {
                original: address::socket_addr(&attempt.server),
                cgroup_id: caller.cgroup_id,
                job_cgroup_id: (caller.job_cgroup_id != 0).then_some(caller.job_cgroup_id),
                pid: caller.pid,
                uid: caller.uid,
                comm: comm(&caller.comm),
                cookie: attempt.cookie,
                netns_cookie: attempt.netns_cookie,
                boot_ns: attempt.boot_ns,
            },
            client: some_address(&attempt.client),
        })
    }
}

fn some_address(endpoint: &Endpoint) -> Option<SocketAddr> {
    (endpoint.port != 0).then(|| address::socket_addr(endpoint))
}

/// What the programs report.
pub struct Attempts {
    ring: RingBuf<MapData>,
    destroyer: Destroyer,
    netns_cookie: u64,
}

impl Attempts {
    pub(super) fn new(ring: RingBuf<MapData>, netns_cookie: u64) -> io::Result<Self> {
        Ok(Self {
            ring,
            destroyer: Destroyer::new()?,
            netns_cookie,
        })
    }

    /// The next one, without waiting. The programs drop in silence: a connection that was stopped
    /// is ended here, so that the client fails at once and does not wait for an answer.
    pub fn next_attempt(&mut self) -> Option<BypassAttempt> {
        loop {
            let reported: Option<Attempt> = super::kernel::read_pod(&self.ring.next()?);
            if let Some(reported) = reported
                && let Some(attempt) = BypassAttempt::read(&reported)
            {
                if attempt.refused {
                    self.end(&attempt, &reported);
                }
                return Some(attempt);
            }
        }
    }

    fn end(&self, attempt: &BypassAttempt, reported: &Attempt) {
        let (Some(client), Some(peer)) = (attempt.client, some_address(&reported.peer)) else {
            return;
        };
        match attempt.way {
            Way::PostgresStartup
            | Way::PostgresTls
            | Way::MysqlStartup
            | Way::Obscured
            | Way::StrayConnection => {}
            // No connections.
            Way::StrayPacket | Way::RawSocket | Way::DirectDial => return,
        }
        let conn = &attempt.conn;
        // Sockets of other namespaces are out of reach: those clients wait until they give up.
        if conn.netns_cookie != 0 && conn.netns_cookie != self.netns_cookie {
            return;
        }
        let interface = reported.interface;
        let ended = self.destroyer.destroy(client, peer, interface, conn.cookie);
        if let Err(error) = ended {
            tracing::warn!(
                %client, server = %conn.original, %error,
                "a connection whose packets are dropped cannot be ended; its client waits until it gives up"
            );
        }
    }
}

/// [`Attempts`] that can be waited for.
pub struct AttemptStream(AsyncFd<Attempts>);

impl Attempts {
    /// To be called within a runtime.
    pub fn into_stream(self) -> io::Result<AttemptStream> {
        // SAFETY: the descriptor is the ring's, the same and open until `Attempts` is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        Ok(AttemptStream(registered?))
    }
}

impl AttemptStream {
    /// Waits for the next one. Nothing is lost if it is cancelled.
    pub async fn next(&mut self) -> io::Result<BypassAttempt> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            if let Some(attempt) = ready.get_inner_mut().next_attempt() {
                return Ok(attempt);
            }
            ready.clear_ready();
        }
    }
}

impl AsRawFd for Attempts {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
