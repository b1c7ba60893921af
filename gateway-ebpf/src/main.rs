//! The programs that send a job's database connections to the daemon.
//!
//! All of them are attached to the cgroup v2 root, because a socket's hooks are those of the
//! cgroup it was created in: a hook on a job's own cgroup misses sockets that were passed in,
//! and processes that moved away. Who is asking is decided inside.
//!
//! This file holds the entry points only; each maps a decision to the kernel's return value.

#![no_std]
#![no_main]

mod bind_port;
mod caller;
mod connect;
mod count;
mod datagram;
mod destination;
mod flow;
mod guard;
mod hello;
mod listener;
mod maps;
mod namespace;
mod packet;
mod peername;
mod publish;
mod raw_socket;
mod report;
mod sock_addr;
mod startup;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, sock_ops},
    programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext},
};

use crate::sock_addr::{Family, SockAddr, Verdict};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    answer(connect::connect(&SockAddr::new(&ctx, Family::V4)))
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    answer(connect::connect(&SockAddr::new(&ctx, Family::V6)))
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    answer(datagram::send(&SockAddr::new(&ctx, Family::V4)))
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    answer(datagram::send(&SockAddr::new(&ctx, Family::V6)))
}

#[cgroup_sock_addr(bind4)]
pub fn bind4(ctx: SockAddrContext) -> i32 {
    answer(bind_port::bind(&SockAddr::new(&ctx, Family::V4)))
}

#[cgroup_sock_addr(bind6)]
pub fn bind6(ctx: SockAddrContext) -> i32 {
    answer(bind_port::bind(&SockAddr::new(&ctx, Family::V6)))
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    peername::show(&SockAddr::new(&ctx, Family::V4));
    1
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    peername::show(&SockAddr::new(&ctx, Family::V6));
    1
}

#[cgroup_sock(sock_create)]
pub fn socket_made(ctx: SockContext) -> i32 {
    answer(raw_socket::create(ctx.sock))
}

// Not named `sockops`: that is the section's name, and LLVM refuses the second symbol.
#[sock_ops]
pub fn connection_state(ctx: SockOpsContext) -> u32 {
    publish::on_event(&ctx);
    1
}

#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    i32::from(guard::may_leave(&ctx))
}

/// The kernel's form of a verdict: 1 lets the call go on, 0 fails it with the errno set.
#[inline(always)]
fn answer(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Pass => 1,
        Verdict::Refuse(errno) => {
            // SAFETY: a helper without pointers.
            unsafe { aya_ebpf::helpers::generated::bpf_set_retval(-errno) };
            0
        }
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";
