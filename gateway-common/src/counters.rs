//! One counter per thing the programs do.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal;)+) => {
        /// Index into the per-CPU counter array.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant = $index,)+
        }

        impl Counter {
            /// All of them, in the order of their index.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name in metrics and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

counters! {
    /// A job's connect was redirected.
    RedirectedJob = 0, "redirected_job";
    /// A connect from outside any job was redirected, to be refused in the database's protocol.
    RedirectedNoJob = 1, "redirected_no_job";
    /// The gateway itself connected to a protected destination.
    PassedGateway = 2, "passed_gateway";
    /// A process outside the scope connected to a protected destination.
    PassedOutOfScope = 3, "passed_out_of_scope";
    /// Refused: the gateway does not listen, or another process squats on its port.
    RefusedNoListener = 4, "refused_no_listener";
    /// Refused: a protocol other than TCP.
    RefusedProtocol = 5, "refused_protocol";
    /// Refused: a datagram to a protected destination.
    RefusedDatagram = 6, "refused_datagram";
    /// Refused: the proxy's port was dialled directly.
    RefusedDirect = 7, "refused_direct";
    /// Refused: another process tried to bind the proxy's port.
    RefusedBind = 8, "refused_bind";
    /// Refused: the record could not be stored.
    RefusedNoStorage = 9, "refused_no_storage";
    /// Refused: the settings could not be read.
    RefusedNoSettings = 10, "refused_no_settings";
    /// A record was published for the proxy.
    Published = 11, "published";
    /// A record could not be published; the proxy will refuse the connection.
    PublishFailed = 12, "publish_failed";
    /// A published record was removed as its socket closed.
    Unpublished = 13, "unpublished";
    /// The original destination was shown to `getpeername`.
    PeernameShown = 14, "peername_shown";
    /// A packet to a protected destination, not the gateway's, was dropped.
    DroppedPacket = 15, "dropped_packet";
    /// A stale record was removed from a socket used again.
    ClearedRecord = 16, "cleared_record";
    /// A connect to a destination that is not protected: what it begins with is looked at.
    FlowWatched = 17, "flow_watched";
    /// A flow of a socket whose connect was not seen is looked at from its first data on.
    FlowJoined = 18, "flow_joined";
    /// A flow begins with something else than a database's protocol.
    FlowClean = 19, "flow_clean";
    /// A flow that begins as a database's does was recognised, and is dropped.
    FlowRefused = 20, "flow_refused";
    /// A flow that begins as a database's does was recognised, and only reported.
    FlowReported = 21, "flow_reported";
    /// A flow was recognised and passes: its destination is an exception, or a server of the same
    /// job.
    FlowExcepted = 22, "flow_excepted";
    /// A packet of a flow that was recognised was dropped.
    DroppedFlowPacket = 23, "dropped_flow_packet";
    /// A TCP packet of a raw socket was dropped.
    DroppedRawPacket = 24, "dropped_raw_packet";
    /// Refused: a raw socket.
    RefusedRawSocket = 25, "refused_raw_socket";
    /// An attempt could not be reported: the daemon does not keep up, or is away.
    AttemptLost = 26, "attempt_lost";
    /// A flow could not be looked at: no memory for what is known of it.
    FlowNoStorage = 27, "flow_no_storage";
    /// A job's connect in another network namespace waits until the daemon listens there.
    HeldForListener = 28, "held_for_listener";
    /// A packet of such a connect was dropped; it is sent again.
    HeldPacket = 29, "held_packet";
    /// Refused: a protected loopback address, dialled in another network namespace, which has a
    /// loopback network of its own.
    RefusedLoopback = 30, "refused_loopback";
}
