//! What the first bytes of a flow say.

/// How many bytes decide, whatever they are.
pub const DECISIVE: u32 = 36;

/// What a flow begins with, as far as its bytes are known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// More bytes are needed.
    Open,
    /// No database's protocol.
    Other,
    Postgres,
    Mysql,
    /// A TLS record with a handshake message.
    Tls,
}

/// `known` of the bytes in `head` are known, 1 at least.
#[inline(always)]
pub fn guess(head: &[u8; 64], known: u32) -> Guess {
    let tls = tls(head, known);
    if tls == Some(true) {
        return Guess::Tls;
    }
    let postgres = postgres(head, known);
    if postgres == Some(true) {
        return Guess::Postgres;
    }
    let mysql = mysql(head, known);
    if mysql == Some(true) {
        return Guess::Mysql;
    }
    if tls.is_none() || postgres.is_none() || mysql.is_none() {
        Guess::Open
    } else {
        Guess::Other
    }
}

/// Type 22, version 3.1 to 3.4. `None`: not yet clear.
#[inline(always)]
fn tls(head: &[u8; 64], known: u32) -> Option<bool> {
    if head[0] != 22 || (known > 1 && head[1] != 3) {
        return Some(false);
    }
    if known < 3 {
        return None;
    }
    Some(head[2] >= 1 && head[2] <= 4)
}

/// A packet without a type: length and a code, which is a request or the version of the protocol
/// (section 55.7 of PostgreSQL's manual).
#[inline(always)]
fn postgres(head: &[u8; 64], known: u32) -> Option<bool> {
    // The longest start-up packet a server takes has 10,000 bytes.
    if head[0] != 0 || (known > 1 && head[1] != 0) {
        return Some(false);
    }
    if known < 8 {
        return None;
    }
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let code = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    match (code >> 16, code & 0xffff) {
        // SSLRequest and GSSENCRequest; CancelRequest, with a key of any length.
        (1234, 5679 | 5680) => Some(length == 8),
        (1234, 5678) => Some((12..=10_000).contains(&length)),
        // 2.0, which servers before 14 speak: a packet of one size.
        (2, 0) => Some(length == 296),
        (3, _) => {
            if !(10..=10_000).contains(&length) {
                return Some(false);
            }
            if known < 9 {
                return None;
            }
            // The first parameter's name. Other protocols of this shape (Kafka's) have a number.
            Some(head[8] > b' ')
        }
        _ => Some(false),
    }
}

/// The second packet of a connection, of 32 bytes or more, with the capabilities that every
/// client since 4.1 has, and the reserved zeros. `SSLRequest` is the same, cut short.
#[inline(always)]
fn mysql(head: &[u8; 64], known: u32) -> Option<bool> {
    if known > 3 && head[3] != 1 {
        return Some(false);
    }
    if known < DECISIVE {
        return None;
    }
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let protocol_41 = head[5] & 0x02 != 0;
    // Of the 23 reserved bytes MariaDB uses the last four.
    let mut reserved = 0;
    let mut at = 13;
    while at < 32 {
        reserved |= head[at];
        at += 1;
    }
    Some(length >= 32 && protocol_41 && reserved == 0)
}
