//! What the client's side of a connection in memory does.

use std::cell::RefCell;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::stand::Stand;
use crate::protocol::postgres::wire::{Framing, framing, put_cstr};

/// More than this no input makes the gateway say, in bytes.
const MOST: usize = 32 * 1024 * 1024;

/// Sends all of it, ends its side, and reads to the end.
///
/// # Panics
/// If the gateway says too much.
pub(crate) async fn exchange(stream: impl AsyncRead + AsyncWrite, bytes: &[u8]) -> Vec<u8> {
    let (mut reads, mut writes) = tokio::io::split(stream);
    let send = async {
        // The gateway may be gone before it has read everything.
        let _ = writes.write_all(bytes).await;
        let _ = writes.shutdown().await;
    };
    let receive = async {
        let mut seen = Vec::new();
        while let Ok(read) = reads.read_buf(&mut seen).await {
            if read == 0 {
                break;
            }
            assert!(seen.len() < MOST, "the gateway says more and more");
        }
        seen
    };
    tokio::join!(send, receive).1
}

/// A start-up message of protocol 3.0.
pub(crate) fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u32(3 << 16);
    for (name, value) in parameters {
        put_cstr(&mut body, name.as_bytes());
        put_cstr(&mut body, value.as_bytes());
    }
    body.put_u8(0);
    let mut packet = u32::try_from(body.len() + 4)
        .expect("short")
        .to_be_bytes()
        .to_vec();
    packet.extend_from_slice(&body);
    packet
}

/// The messages in what a server said, each with its tag; what is no message ends them.
pub(crate) fn messages(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut messages = Vec::new();
    while let Framing::Complete { tag, len } = framing(bytes) {
        let (message, rest) = bytes.split_at(len);
        messages.push((tag, &message[5..]));
        bytes = rest;
    }
    messages
}

/// Runs something with the stand that a target keeps, which is made anew from time to time.
pub(super) fn with_stand<T>(
    kept: &'static std::thread::LocalKey<RefCell<Option<Stand>>>,
    rules: &str,
    run: impl FnOnce(&mut Stand) -> T,
) -> T {
    kept.with_borrow_mut(|kept| {
        if kept.as_ref().is_some_and(Stand::is_worn) {
            *kept = None;
        }
        run(kept.get_or_insert_with(|| Stand::start(rules)))
    })
}

/// Runs a test that must not hang.
///
/// # Panics
/// If it does, or panics itself.
#[cfg(test)]
pub(super) fn to_its_end(test: impl FnOnce() + Send + 'static) {
    let (ended, told) = std::sync::mpsc::channel();
    let running = std::thread::spawn(move || {
        test();
        let _ = ended.send(());
    });
    if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
        told.recv_timeout(std::time::Duration::from_mins(2))
    {
        panic!("it does not come to its end");
    }
    if let Err(panic) = running.join() {
        std::panic::resume_unwind(panic);
    }
}
