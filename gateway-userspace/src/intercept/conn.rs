//! The kernel's evidence of one connection.

use std::net::SocketAddr;

use gateway_common::ConnRecord;

use super::address;

/// The kernel's evidence for one accepted connection. Evidence, not identity.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InterceptedConn {
    /// The address the process dialled, before it was redirected. IPv4-mapped IPv6 is
    /// reported as IPv4.
    pub original: SocketAddr,
    /// cgroup v2 id (directory inode) of the process at `connect`.
    pub cgroup_id: u64,
    /// The id of the registered job cgroup found by the ancestor walk; `None` if no ancestor is
    /// a job.
    pub job_cgroup_id: Option<u64>,
    /// Process id (tgid) in the host's pid namespace.
    pub pid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Command name (`comm`), lossily decoded, for display only.
    pub comm: String,
    /// Socket cookie.
    pub cookie: u64,
    /// Network namespace cookie.
    pub netns_cookie: u64,
    /// `bpf_ktime_get_boot_ns` at `connect`.
    pub boot_ns: u64,
}

/// Looks up the kernel's evidence for an accepted connection.
///
/// The second implementation is the tests' fake.
pub trait Claim: Send + Sync {
    /// Takes the record of the connection with these two ends, or `None` if the kernel
    /// redirected no such connection: then it must be closed.
    fn claim(&self, peer: SocketAddr, local: SocketAddr) -> Option<InterceptedConn>;
}

impl From<ConnRecord> for InterceptedConn {
    fn from(record: ConnRecord) -> Self {
        Self {
            original: address::socket_addr(&record.original),
            cgroup_id: record.cgroup_id,
            job_cgroup_id: (record.job_cgroup_id != 0).then_some(record.job_cgroup_id),
            pid: record.pid,
            uid: record.uid,
            comm: comm(&record.comm),
            cookie: record.cookie,
            netns_cookie: record.netns_cookie,
            boot_ns: record.boot_ns,
        }
    }
}

/// A command name: NUL-padded, in no particular encoding.
pub(super) fn comm(bytes: &[u8; 16]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let name = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use gateway_common::Endpoint;

    use super::*;

    fn record() -> ConnRecord {
        ConnRecord {
            boot_ns: 7,
            cgroup_id: 11,
            job_cgroup_id: 0,
            cookie: 13,
            netns_cookie: 1,
            original: Endpoint::v4([10, 0, 0, 9], 5432),
            pid: 4,
            uid: 1000,
            zero: 0,
            comm: *b"psql\0\0\0\0\0\0\0\0\0\0\0\0",
        }
    }

    #[test]
    fn a_record_without_a_job_has_none() {
        let conn = InterceptedConn::from(record());
        assert_eq!(conn.job_cgroup_id, None);
        assert_eq!(conn.comm, "psql");
        assert_eq!(
            conn.original,
            "10.0.0.9:5432".parse::<SocketAddr>().expect("an address")
        );
    }

    #[test]
    fn a_command_name_without_an_end_or_in_another_encoding_is_shown_all_the_same() {
        let mut long = record();
        long.comm = [b'x'; 16];
        assert_eq!(InterceptedConn::from(long).comm, "x".repeat(16));
        let mut latin = record();
        latin.comm[0] = 0xff;
        assert_eq!(InterceptedConn::from(latin).comm, "\u{fffd}sql");
    }
}
