//! Framing: a tag byte and a length that counts itself but not the tag.

use bytes::{Buf, BufMut, BytesMut};

/// Length of the tag and the length word.
pub const HEADER: usize = 5;

/// What the bytes received so far hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A whole message of `len` bytes, header included.
    Complete {
        /// Message tag.
        tag: u8,
        /// Bytes of the message, header included.
        len: usize,
    },
    /// The header is there, the body is not; the message will have `len` bytes in all.
    Partial {
        /// Message tag.
        tag: u8,
        /// Bytes of the message, header included.
        len: usize,
    },
    /// The header is not there yet.
    Incomplete,
    /// The length is below 4.
    Malformed,
}

/// Looks at the next message in `buf`.
pub fn framing(buf: &[u8]) -> Framing {
    let Some((&[tag, a, b, c, d], _)) = buf.split_first_chunk::<HEADER>() else {
        return Framing::Incomplete;
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    let Ok(length) = usize::try_from(length) else {
        return Framing::Malformed;
    };
    if length < 4 || length > i32::MAX as usize {
        return Framing::Malformed;
    }
    let len = length + 1;
    if buf.len() >= len {
        Framing::Complete { tag, len }
    } else {
        Framing::Partial { tag, len }
    }
}

/// A body that is shorter or longer than its fields say (evasion P12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid message format")]
pub struct Malformed;

/// Reads the fields of a message body.
#[derive(Clone, Debug)]
pub struct Body<'a>(pub &'a [u8]);

impl<'a> Body<'a> {
    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_short| Malformed)
    }
    /// The next Int16.
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.0.try_get_i16().map_err(|_short| Malformed)
    }
    /// The next Int32.
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_short| Malformed)
    }
    /// The next Int32 as an oid.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_short| Malformed)
    }
    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = tail;
        Ok(head)
    }
    /// The next String, without its terminator.
    pub fn cstr(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(Malformed)?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }
    /// A count of things to follow. The server reads it without a sign: 65,535 parameters are
    /// possible.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        self.0
            .try_get_u16()
            .map(usize::from)
            .map_err(|_short| Malformed)
    }
    /// Nothing may be left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// Appends one message to `out`: tag, length, and what `body` writes.
pub fn put_message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let length = u32::try_from(out.len() - start)
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    if let Some(word) = out.get_mut(start..start + 4) {
        word.copy_from_slice(&length);
    }
}

/// Appends a String: bytes and a terminator.
pub fn put_cstr(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_below_four_is_malformed() {
        for length in 0..4u8 {
            assert_eq!(framing(&[b'Q', 0, 0, 0, length]), Framing::Malformed);
        }
        assert_eq!(framing(&[b'Q', 0x80, 0, 0, 0]), Framing::Malformed);
    }

    #[test]
    fn a_message_is_complete_only_with_its_last_byte() {
        let message = [b'Q', 0, 0, 0, 6, b'x', 0];
        for end in 0..HEADER {
            assert_eq!(framing(&message[..end]), Framing::Incomplete);
        }
        assert_eq!(
            framing(&message[..6]),
            Framing::Partial { tag: b'Q', len: 7 }
        );
        assert_eq!(framing(&message), Framing::Complete { tag: b'Q', len: 7 });
    }
}
