//! What flows to destinations that are not protected begin with. A database that nobody named, a
//! relay or a tunnel's mouth is told by its protocol, on whatever port.
//!
//! This finds what is not hidden. It cannot see into a tunnel, or behind another protocol's first
//! bytes.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_TCP_SYN_SENT, bpf_sock, bpf_tcp_sock},
    helpers::generated::{
        bpf_get_socket_cookie, bpf_sk_ancestor_cgroup_id, bpf_skb_cgroup_id, bpf_skb_load_bytes,
        bpf_tcp_sock,
    },
    programs::SkBuffContext,
};
use gateway_common::{Caller, Counter, Endpoint, RECOGNISE_REFUSE, Settings, Way};

use crate::{
    caller::{self, Standing},
    count::count,
    destination::{self, bytes_of},
    hello::{self, Hello, Offer},
    maps::{EXCEPTIONS, FLOWS, RECORDS, storage_delete, storage_get},
    packet::{Packet, Segment, TCP},
    report::{self, Socket},
    sock_addr::{ENOMEM, SockAddr, Verdict},
    startup::{self, Guess},
};

const AF_INET: u32 = 2;
const SOCK_STREAM: u32 = 1;

/// No data was seen yet.
const NEW: u32 = 0;
/// The first bytes are being gathered.
const HEAD: u32 = 1;
/// A TLS handshake is being read.
const HELLO: u32 = 2;
/// It is no database's, or may be one: nothing more is looked at.
const CLEAN: u32 = 3;
/// It is dropped.
const REFUSED: u32 = 4;

/// Kept with a socket.
#[repr(C)]
pub struct Flow {
    caller: Caller,
    netns_cookie: u64,
    /// Number of the stream's first byte.
    base: u32,
    /// How many bytes of the stream were looked at.
    have: u32,
    phase: u32,
    /// [`Settings::epoch`] when the destination was found unprotected.
    epoch: u32,
    hello: Hello,
    zero: u32,
    /// The first bytes. Twice as long as is used, so that 64 bytes fit behind any offset in it.
    head: [u8; 128],
}

/// Watches the flow that a connect to an unprotected destination begins, if it is one of a job or
/// of the scope; forgets what an earlier connect of the same socket left.
#[inline(always)]
pub fn watch(call: &SockAddr, to: &Endpoint) -> Verdict {
    if !call.is_tcp() {
        return Verdict::Pass;
    }
    if let Some(settings) = caller::settings()
        && caller::recognises(settings)
        && !caller::is_gateway(settings)
    {
        let job = match caller::standing_in(settings.recognise_host != 0) {
            Standing::Job(id) => Some(id),
            Standing::NoJob => Some(0),
            Standing::Outside => None,
        };
        if let Some(job) = job {
            // SAFETY: the socket is the context's own.
            let flow: *mut Flow = unsafe { storage_get(&FLOWS, call.sk(), true) };
            if flow.is_null() {
                // A process can use up what its socket may hold, or the host has no memory.
                count(Counter::FlowNoStorage);
                let refused = settings.recognise == RECOGNISE_REFUSE;
                let socket = Socket::unconnected(call.netns_cookie(), *to);
                report::report(Way::Obscured, refused, &report::caller(job), &socket);
                return if refused {
                    Verdict::Refuse(ENOMEM)
                } else {
                    Verdict::Pass
                };
            }
            // SAFETY: not null, and owned by this socket, which `connect` holds locked.
            unsafe {
                begin(
                    flow,
                    report::caller(job),
                    call.netns_cookie(),
                    settings.epoch,
                );
            };
            count(Counter::FlowWatched);
            return Verdict::Pass;
        }
    }
    forget(call);
    Verdict::Pass
}

/// Removes what is known of the flow of an earlier connect.
#[inline(always)]
pub fn forget(call: &SockAddr) {
    // SAFETY: the socket is the context's own.
    unsafe { storage_delete(&FLOWS, call.sk()) };
}

/// # Safety
/// `flow` must be valid.
#[inline(always)]
unsafe fn begin(flow: *mut Flow, caller: Caller, netns_cookie: u64, epoch: u32) {
    // SAFETY: as required of the caller. The head is written before it is read.
    unsafe {
        (*flow).caller = caller;
        (*flow).netns_cookie = netns_cookie;
        (*flow).base = 0;
        (*flow).have = 0;
        (*flow).phase = NEW;
        (*flow).epoch = epoch;
        (*flow).hello = Hello::STARTED;
        (*flow).zero = 0;
    }
}

/// Whether this packet of a TCP connection may pass unread: its flow was judged, or has no data yet.
/// The first packet is always read, because it may not go where the socket is connected to: the
/// host's own NAT was here before; so is the first one with data.
#[inline(always)]
pub fn needs_no_look(sk: *mut bpf_sock, settings: &Settings) -> bool {
    // SAFETY: the verifier knows the socket. A raw socket's packets go anywhere.
    let (kind, protocol, state, port) = unsafe {
        (
            (&raw const (*sk).type_).read_volatile(),
            (&raw const (*sk).protocol).read_volatile(),
            (&raw const (*sk).state).read_volatile(),
            (&raw const (*sk).dst_port).read_volatile(),
        )
    };
    if kind != SOCK_STREAM || protocol != u32::from(TCP) || state == BPF_TCP_SYN_SENT {
        return false;
    }
    // SAFETY: as above.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return false;
    }
    // SAFETY: as above; the socket outlives the program's run.
    let flow: *mut Flow = unsafe { storage_get(&FLOWS, sk, false) };
    if flow.is_null() {
        return !has_sent(tcp) && !destination::is_protected_port(u16::from_be(port));
    }
    // SAFETY: owned by this socket.
    let (phase, epoch) = unsafe { ((*flow).phase, (*flow).epoch) };
    // Else what is protected may be another by now.
    epoch == settings.epoch && (phase == CLEAN || (phase == NEW && !has_sent(tcp)))
}

/// Whether data was sent, this packet's included.
#[inline(always)]
fn has_sent(tcp: *mut bpf_tcp_sock) -> bool {
    // SAFETY: not null, and known to the verifier. Packets are counted before they come here.
    unsafe { (&raw const (*tcp).data_segs_out).read_volatile() != 0 }
}

/// Where the stream of a flow that nobody noted stands, or `None` for another socket than TCP's.
#[inline(always)]
fn progress(sk: *mut bpf_sock) -> Option<Progress> {
    // SAFETY: the verifier knows the socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return None;
    }
    // SAFETY: not null, and known to the verifier.
    let (unacknowledged, acknowledged) = unsafe {
        (
            (&raw const (*tcp).snd_una).read_volatile(),
            (&raw const (*tcp).bytes_acked).read_volatile(),
        )
    };
    Some(Progress {
        began: unacknowledged.wrapping_sub(acknowledged as u32),
        acknowledged,
    })
}

struct Progress {
    /// Number of the stream's first byte, or of the SYN before it: of an accepted connection the
    /// SYN is not counted.
    began: u32,
    /// What the other end has acknowledged, in bytes. One of them may be the SYN's.
    acknowledged: u64,
}

impl Progress {
    /// Whether the stream's first data has arrived.
    #[inline(always)]
    fn is_past_first(&self) -> bool {
        self.acknowledged > 1
    }

    /// Whether this is the stream's first data, sent again perhaps.
    #[inline(always)]
    fn is_first(&self, segment: &Segment) -> bool {
        segment.seq.wrapping_sub(self.began) <= 1
    }
}

/// Reports a packet to a protected destination, once for a socket.
#[inline(always)]
pub fn stray(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    packet: &Packet,
    standing: Standing,
    settings: &Settings,
) {
    let skb = ctx.skb.skb;
    // SAFETY: as above.
    let flow: *mut Flow = unsafe { storage_get(&FLOWS, sk, true) };
    // SAFETY: owned by this socket.
    if flow.is_null() || unsafe { (*flow).phase } == REFUSED {
        return;
    }
    // SAFETY: as above; of a socket that connected, the caller is known.
    unsafe {
        if (*flow).caller.pid == 0 {
            begin(flow, unknown(skb, standing), 0, settings.epoch);
        }
        (*flow).phase = REFUSED;
    }
    // SAFETY: the verifier knows the socket.
    let way = if unsafe { bpf_tcp_sock(sk) }.is_null() {
        Way::StrayPacket
    } else {
        Way::StrayConnection
    };
    // SAFETY: owned by this socket.
    let (caller, netns_cookie) = unsafe { (&(*flow).caller, (*flow).netns_cookie) };
    tell(ctx, sk, packet, caller, netns_cookie, way, true);
}

/// Whether a packet to an unprotected destination may leave.
#[inline(always)]
pub fn may_leave(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    packet: &Packet,
    settings: &Settings,
) -> bool {
    // SAFETY: the verifier knows the socket, which outlives the program's run.
    let mut flow: *mut Flow = unsafe { storage_get(&FLOWS, sk, false) };
    let progress = if flow.is_null() {
        match progress(sk) {
            Some(progress) if !progress.is_past_first() => Some(progress),
            // What began before is past recognition.
            _ => return true,
        }
    } else {
        None
    };
    let Some(segment) = packet.segment(ctx) else {
        return true;
    };
    if let Some(progress) = progress {
        if !progress.is_first(&segment) {
            return true;
        }
        flow = match join(ctx, sk, packet, settings) {
            Joined::Flow(flow) => flow,
            Joined::Passes => return true,
            Joined::Dropped => return false,
        };
    }
    // SAFETY: owned by this socket, whose packets leave one after another.
    let phase = unsafe { (*flow).phase };
    if phase == CLEAN {
        return true;
    }
    if phase == REFUSED {
        count(Counter::DroppedFlowPacket);
        return false;
    }
    match inspect(ctx.skb.skb, &segment, flow) {
        Found::Open => true,
        Found::Other => {
            // SAFETY: as above.
            unsafe { (*flow).phase = CLEAN };
            count(Counter::FlowClean);
            true
        }
        Found::Way(way) => recognised(ctx, sk, packet, flow, way, settings),
    }
}

/// What becomes of the flow of a socket whose connect was not seen.
enum Joined {
    /// It is looked at from here on.
    Flow(*mut Flow),
    /// It is not to be looked at.
    Passes,
    /// It is, and cannot be.
    Dropped,
}

/// Looks at the flow of a socket whose connect was not seen, from its first data on: one that was
/// accepted, or connected by somebody else.
#[inline(always)]
fn join(ctx: &SkBuffContext, sk: *mut bpf_sock, packet: &Packet, settings: &Settings) -> Joined {
    let skb = ctx.skb.skb;
    // Redirected to the gateway.
    // SAFETY: the verifier knows the socket, and the result is only compared with null.
    let record: *mut u8 = unsafe { storage_get(&RECORDS, sk, false) };
    // SAFETY: the context is valid for the program's run.
    if !record.is_null() || unsafe { bpf_skb_cgroup_id(skb) } == settings.gateway_cgroup_id {
        return Joined::Passes;
    }
    let standing = caller::standing_of(skb, settings.recognise_host != 0);
    if standing == Standing::Outside {
        return Joined::Passes;
    }
    let caller = unknown(skb, standing);
    // SAFETY: the verifier knows the socket.
    let flow: *mut Flow = unsafe { storage_get(&FLOWS, sk, true) };
    if flow.is_null() {
        count(Counter::FlowNoStorage);
        let refused = settings.recognise == RECOGNISE_REFUSE;
        tell(ctx, sk, packet, &caller, 0, Way::Obscured, refused);
        return if refused {
            Joined::Dropped
        } else {
            Joined::Passes
        };
    }
    // SAFETY: owned by this socket.
    unsafe { begin(flow, caller, 0, settings.epoch) };
    count(Counter::FlowJoined);
    Joined::Flow(flow)
}

/// What is known of the owner of a socket whose connect was not seen.
#[inline(always)]
fn unknown(skb: *mut __sk_buff, standing: Standing) -> Caller {
    Caller {
        // SAFETY: the context is valid for the program's run.
        cgroup_id: unsafe { bpf_skb_cgroup_id(skb) },
        job_cgroup_id: match standing {
            Standing::Job(id) => id,
            Standing::NoJob | Standing::Outside => 0,
        },
        pid: 0,
        uid: 0,
        comm: [0; 16],
    }
}

enum Found {
    Open,
    Other,
    Way(Way),
}

/// Looks at what the segment adds to the stream.
#[inline(always)]
fn inspect(skb: *mut __sk_buff, segment: &Segment, flow: *mut Flow) -> Found {
    // SAFETY: owned by this socket, whose packets leave one after another.
    let flow = unsafe { &mut *flow };
    if flow.phase == NEW {
        flow.base = segment.seq;
        flow.phase = HEAD;
    }
    let start = segment.seq.wrapping_sub(flow.base);
    let end = start.wrapping_add(segment.length);
    // Sent again: it was looked at.
    if end.wrapping_sub(flow.have) as i32 <= 0 {
        return Found::Open;
    }
    // The receiver may take an urgent byte out of the stream; and a gap cannot be.
    if segment.urgent || start.wrapping_sub(flow.have) as i32 > 0 {
        return Found::Way(Way::Obscured);
    }
    let at = segment.data.wrapping_add(flow.have.wrapping_sub(start));
    if flow.phase == HEAD {
        // The masks say to the verifier what is true anyway.
        let offset = core::hint::black_box(flow.have) & 63;
        let length = end.wrapping_sub(flow.have).min(64);
        let length = (core::hint::black_box(length.wrapping_sub(1)) & 63) + 1;
        let to = (&raw mut flow.head).cast::<u8>();
        // SAFETY: 63 + 64 bytes are within the buffer; the context is valid.
        let loaded =
            unsafe { bpf_skb_load_bytes(skb.cast(), at, to.add(offset as usize).cast(), length) };
        if loaded != 0 {
            return Found::Way(Way::Obscured);
        }
        let known = (offset + length).min(64);
        // SAFETY: the first half of the buffer.
        let head = unsafe { &*to.cast::<[u8; 64]>() };
        match startup::guess(head, known) {
            Guess::Open => {
                flow.have = end;
                return Found::Open;
            }
            Guess::Other => return Found::Other,
            Guess::Postgres => return Found::Way(Way::PostgresStartup),
            Guess::Mysql => return Found::Way(Way::MysqlStartup),
            Guess::Tls => {
                flow.hello = Hello::STARTED;
                flow.have = 3;
                flow.phase = HELLO;
            }
        }
    }
    let at = segment.data.wrapping_add(flow.have.wrapping_sub(start));
    let last = segment.data.wrapping_add(segment.length);
    let offer = hello::read(skb, &raw mut flow.hello, at, last);
    flow.have = end;
    match offer {
        Offer::Open => Found::Open,
        Offer::Other => Found::Other,
        Offer::Postgres => Found::Way(Way::PostgresTls),
        Offer::Obscured => Found::Way(Way::Obscured),
    }
}

/// What happens to a flow that was recognised: whether this packet of it may leave.
#[inline(always)]
fn recognised(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    packet: &Packet,
    flow: *mut Flow,
    way: Way,
    settings: &Settings,
) -> bool {
    // SAFETY: owned by this socket.
    let job = unsafe { (*flow).caller.job_cgroup_id };
    if is_exception(&packet.to) || is_own_server(ctx, &packet.to, job) {
        // SAFETY: as above.
        unsafe { (*flow).phase = CLEAN };
        count(Counter::FlowExcepted);
        return true;
    }
    let refused = settings.recognise == RECOGNISE_REFUSE;
    // SAFETY: as above.
    unsafe { (*flow).phase = if refused { REFUSED } else { CLEAN } };
    count(if refused {
        Counter::FlowRefused
    } else {
        Counter::FlowReported
    });
    // SAFETY: as above.
    let (caller, netns_cookie) = unsafe { (&(*flow).caller, (*flow).netns_cookie) };
    tell(ctx, sk, packet, caller, netns_cookie, way, refused);
    !refused
}

/// A destination that the configuration excepts, on this port or on all.
#[inline(always)]
fn is_exception(to: &Endpoint) -> bool {
    let to = destination::effective(to);
    // SAFETY: the values are not used, so it does not matter if they are replaced meanwhile.
    unsafe { EXCEPTIONS.get(to).is_some() || EXCEPTIONS.get(Endpoint::v6(to.addr, 0)).is_some() }
}

/// A server that the job itself runs, as tests do: what that dials is judged like all else.
#[inline(always)]
fn is_own_server(ctx: &SkBuffContext, to: &Endpoint, job: u64) -> bool {
    job != 0
        && destination::with_listener(ctx.skb.skb, to, |sk| {
            let standing = caller::walk(false, |level| {
                // SAFETY: the socket is held during the closure.
                unsafe { bpf_sk_ancestor_cgroup_id(sk.cast(), level) }
            });
            standing == Standing::Job(job)
        })
        .unwrap_or(false)
}

#[inline(always)]
fn tell(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    packet: &Packet,
    caller: &Caller,
    netns_cookie: u64,
    way: Way,
    refused: bool,
) {
    let (client, peer) = ends(sk);
    let socket = Socket {
        // SAFETY: the context is valid for the program's run.
        cookie: unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) },
        netns_cookie,
        client,
        server: packet.to,
        peer,
        // SAFETY: the verifier knows the socket.
        interface: unsafe { (&raw const (*sk).bound_dev_if).read_volatile() },
    };
    report::report(way, refused, caller, &socket);
}

/// The socket's own address and its peer's. A packet's may be others: the host's own NAT was here
/// before.
#[inline(always)]
fn ends(sk: *mut bpf_sock) -> (Endpoint, Endpoint) {
    // SAFETY: the verifier knows the socket. All fields are read before the first branch: LLVM would
    // join the branches' loads into one at a computed offset, which the verifier refuses.
    let (family, own4, own6, own_port, peer4, peer6, peer_port) = unsafe {
        (
            (&raw const (*sk).family).read_volatile(),
            (&raw const (*sk).src_ip4).read_volatile(),
            [
                (&raw const (*sk).src_ip6[0]).read_volatile(),
                (&raw const (*sk).src_ip6[1]).read_volatile(),
                (&raw const (*sk).src_ip6[2]).read_volatile(),
                (&raw const (*sk).src_ip6[3]).read_volatile(),
            ],
            (&raw const (*sk).src_port).read_volatile() as u16,
            (&raw const (*sk).dst_ip4).read_volatile(),
            [
                (&raw const (*sk).dst_ip6[0]).read_volatile(),
                (&raw const (*sk).dst_ip6[1]).read_volatile(),
                (&raw const (*sk).dst_ip6[2]).read_volatile(),
                (&raw const (*sk).dst_ip6[3]).read_volatile(),
            ],
            u16::from_be((&raw const (*sk).dst_port).read_volatile()),
        )
    };
    if family == AF_INET {
        (
            Endpoint::v4(own4.to_ne_bytes(), own_port),
            Endpoint::v4(peer4.to_ne_bytes(), peer_port),
        )
    } else {
        (
            Endpoint::v6(bytes_of(own6), own_port),
            Endpoint::v6(bytes_of(peer6), peer_port),
        )
    }
}
