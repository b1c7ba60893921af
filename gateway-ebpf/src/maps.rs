//! Every map: key, size, who writes and who deletes.
//!
//! The daemon makes them anew at each start and fills them before the programs that use them
//! replace the old ones, so none of them carries state from one start to the next.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf, SkStorage},
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::btf_map,
};
use gateway_common::{
    Attempt, ConnKey, ConnRecord, Counter, Endpoint, NamespaceRequest, PORT_WORDS, Settings,
};

use crate::flow::Flow;

/// Protected destinations. Written and deleted by the daemon.
#[btf_map]
pub static PROTECTED: HashMap<Endpoint, u32, 16384> = HashMap::new();

/// The ports of protected destinations, a bit each: most connects and packets go elsewhere, and are
/// told by this alone. Written by the daemon, which sets bits before it protects and clears them
/// after.
#[btf_map]
pub static PORTS: Array<u64, PORT_WORDS> = Array::new();

/// cgroup id of a live job. Written and deleted by the daemon.
#[btf_map]
pub static JOBS: HashMap<u64, u32, 16384> = HashMap::new();

/// cgroup id of a scope. Written and deleted by the daemon.
#[btf_map]
pub static SCOPE: HashMap<u64, u32, 1024> = HashMap::new();

/// One entry. Written by the daemon.
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// The mark of the daemon's listening sockets. Written by the daemon, gone with the socket, so
/// that it says both "this is ours" and "it listens".
#[btf_map]
pub static LISTENERS: SkStorage<u64> = SkStorage::new();

/// The record of a redirected socket. Written by `connect`, deleted by the next connect of the
/// same socket that is not redirected, gone with the socket.
#[btf_map]
pub static RECORDS: SkStorage<ConnRecord> = SkStorage::new();

/// Connection to record, read by the daemon after `accept`. Written as the SYN leaves, deleted as
/// the client's socket closes. A plain hash, not an LRU: one job's connections must not push out
/// another's. If it is full, the connection has no record and the daemon refuses it.
#[btf_map]
pub static CONNECTIONS: HashMap<ConnKey, ConnRecord, 131_072, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// What is known of a flow to an unprotected destination. Written by `connect` and as packets
/// leave, deleted by the next connect of the same socket that is not watched, gone with the socket.
#[btf_map]
pub static FLOWS: SkStorage<Flow> = SkStorage::new();

/// Destinations that may be databases: with a port, or with port 0 for all of an address. Written
/// by the daemon.
#[btf_map]
pub static EXCEPTIONS: HashMap<Endpoint, u32, 4096> = HashMap::new();

/// Attempts to get past the gateway, read by the daemon. If it is full, they are lost, and counted.
#[btf_map]
pub static ATTEMPTS: RingBuf<Attempt, { 256 * 1024 }> = RingBuf::new();

/// Network namespaces in which the daemon is to listen, read by the daemon. If it is full, the
/// connect's next packet asks no more, and the connect fails.
#[btf_map]
pub static NAMESPACES: RingBuf<NamespaceRequest, { 64 * 1024 }> = RingBuf::new();

/// One slot per [`Counter`]. Read by the daemon.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Counter::ALL.len() }> = PerCpuArray::new();

/// The storage of `sk`, or null. With `create`, it is made if absent; its content is then
/// undefined until written.
///
/// aya's own method takes only a `SockAddrContext`; this one takes any socket the verifier
/// accepts.
///
/// # Safety
/// `sk` must be a socket pointer that the verifier knows, and the result is valid only while the
/// program holds that socket.
#[inline(always)]
pub unsafe fn storage_get<S, V, T>(map: &'static S, sk: *mut T, create: bool) -> *mut V {
    // SAFETY: as required of the caller; the map's type is checked by the verifier.
    unsafe {
        bpf_sk_storage_get(
            core::ptr::from_ref(map).cast_mut().cast(),
            sk.cast(),
            core::ptr::null_mut(),
            u64::from(create),
        )
    }
    .cast()
}

/// Deletes the storage of `sk`.
///
/// # Safety
/// `sk` must be a socket pointer that the verifier knows.
#[inline(always)]
pub unsafe fn storage_delete<S, T>(map: &'static S, sk: *mut T) -> bool {
    // SAFETY: as required of the caller.
    unsafe { bpf_sk_storage_delete(core::ptr::from_ref(map).cast_mut().cast(), sk.cast()) == 0 }
}
