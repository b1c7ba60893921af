//! Messages on Unix sockets: JSON behind its length, or one to a packet with descriptors.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// Longest packet, in bytes.
const MAX_PACKET: usize = 64 * 1024;
/// Most descriptors with one packet.
pub(super) const MAX_DESCRIPTORS: usize = 32;

/// Writes a message behind its length: four bytes, big-endian.
pub(super) fn write<T: Serialize>(mut to: &UnixStream, message: &T) -> io::Result<()> {
    // It may hold a password.
    let mut bytes = Zeroizing::new(vec![0; 4]);
    serde_json::to_writer(&mut *bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    if let Some(head) = bytes.first_chunk_mut::<4>() {
        *head = length.to_be_bytes();
    }
    to.write_all(&bytes)
}

/// Reads a message of at most `max` bytes; `None` at the end of the stream.
pub(super) fn read<T: DeserializeOwned>(
    mut from: &UnixStream,
    max: usize,
) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_be_bytes(head)).map_err(io::Error::other)?;
    if length > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes; {max} are allowed"),
        ));
    }
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// Sends one packet, with descriptors.
pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives one packet with its descriptors; `None` when the other end is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let outcome = recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        match outcome {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let descriptors = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
            _ => Vec::new(),
        })
        .collect();
    let Some(packet) = bytes
        .get(..received.bytes)
        .filter(|packet| !packet.is_empty())
    else {
        return Ok(None);
    };
    Ok(Some((serde_json::from_slice(packet)?, descriptors)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn messages_keep_their_bounds_and_long_ones_are_refused() {
        let (one, other) = UnixStream::pair().unwrap();
        write(&one, &vec!["a", "b"]).unwrap();
        write(&one, &"c").unwrap();
        assert_eq!(
            read::<Vec<String>>(&other, 100).unwrap(),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(read::<String>(&other, 100).unwrap().as_deref(), Some("c"));
        write(&one, &"x".repeat(200)).unwrap();
        assert!(read::<String>(&other, 100).is_err());
        drop(one);
        let (one, other) = UnixStream::pair().unwrap();
        drop(one);
        assert_eq!(read::<String>(&other, 100).unwrap(), None);
    }

    #[test]
    fn descriptors_come_with_their_packet() {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        send(&one, &1_u8, &[]).unwrap();
        send(&one, &2_u8, &[far.as_fd()]).unwrap();
        drop(far);
        assert!(matches!(receive::<u8>(&other).unwrap(), Some((1, none)) if none.is_empty()));
        let (two, mut got) = receive::<u8>(&other).unwrap().unwrap();
        assert_eq!((two, got.len()), (2, 1));
        let mut far = UnixStream::from(got.remove(0));
        far.write_all(b"x").unwrap();
        let mut byte = [0];
        near.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop(one);
        assert!(receive::<u8>(&other).unwrap().is_none());
    }
}
