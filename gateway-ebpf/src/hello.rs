//! Reads a TLS `ClientHello`, in whatever pieces it is sent, for the application protocols that it
//! offers.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_loop, bpf_skb_load_bytes},
};

/// Steps that may be taken for one packet. A usual hello takes about 150; one that needs more than
/// this is cut into records of a few bytes.
const STEPS: u32 = 2048;

const HANDSHAKE_RECORD: u32 = 22;
const CLIENT_HELLO: u32 = 1;
const ALPN: u32 = 16;
const HEADER: u32 = 5;
/// Length of `postgresql`.
const NAME: u32 = 10;

/// What a piece of the hello told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// There is more to come.
    Open,
    /// It does not offer PostgreSQL, or is no hello.
    Other,
    Postgres,
    /// Cut too small to be read.
    Obscured,
}

const OPEN: u32 = 0;
const OTHER: u32 = 1;
const POSTGRES: u32 = 2;

/// Which field is read next; each has its length in `need`.
mod part {
    pub const TYPE: u32 = 0;
    pub const LENGTH: u32 = 1;
    pub const SESSION_ID: u32 = 2;
    pub const CIPHER_SUITES: u32 = 3;
    pub const COMPRESSION: u32 = 4;
    pub const EXTENSIONS: u32 = 5;
    pub const EXTENSION: u32 = 6;
    pub const EXTENSION_LENGTH: u32 = 7;
    pub const ALPN_LENGTH: u32 = 8;
    pub const ALPN_LIST: u32 = 9;
    pub const NAME_LENGTH: u32 = 10;
    pub const NAME_BYTE: u32 = 11;
}

/// How far the reading has come, kept with the flow. Integers only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hello {
    /// Bytes of the record header that are missing, while no record is open.
    header_left: u32,
    /// The header's bytes so far.
    header: u32,
    /// Bytes left of the record; none: a header is next.
    record_left: u32,
    /// Bytes left of the handshake message, once its length is known.
    message_left: u32,
    /// Bytes to pass over.
    skip: u32,
    /// Bytes missing of the field that is being read.
    need: u32,
    /// Its value so far.
    value: u32,
    /// A [`part`].
    part: u32,
    /// Bytes left of the list of protocols.
    list_left: u32,
    /// Bytes of the name that are as they must be.
    matched: u32,
    /// Bytes of the name that were read.
    read: u32,
}

impl Hello {
    /// Of a flow whose first three bytes, type and version of a record, are read.
    pub const STARTED: Self = Self {
        header_left: HEADER - 3,
        header: 0,
        record_left: 0,
        message_left: 0,
        skip: 0,
        need: 1,
        value: 0,
        part: part::TYPE,
        list_left: 0,
        matched: 0,
        read: 0,
    };

    #[inline(always)]
    fn expect(&mut self, part: u32, need: u32) {
        self.part = part;
        self.need = need;
    }

    /// What a field that was read means: what comes next, or what is offered.
    #[inline(always)]
    fn field(&mut self, value: u32) -> u32 {
        match self.part {
            part::TYPE => {
                if value != CLIENT_HELLO {
                    return OTHER;
                }
                self.expect(part::LENGTH, 3);
            }
            part::LENGTH => {
                self.message_left = value;
                // Version and random.
                self.skip = 34;
                self.expect(part::SESSION_ID, 1);
            }
            part::SESSION_ID => {
                self.skip = value;
                self.expect(part::CIPHER_SUITES, 2);
            }
            part::CIPHER_SUITES => {
                self.skip = value;
                self.expect(part::COMPRESSION, 1);
            }
            part::COMPRESSION => {
                self.skip = value;
                self.expect(part::EXTENSIONS, 2);
            }
            part::EXTENSIONS => self.expect(part::EXTENSION, 2),
            part::EXTENSION => {
                if value == ALPN {
                    self.expect(part::ALPN_LENGTH, 2);
                } else {
                    self.expect(part::EXTENSION_LENGTH, 2);
                }
            }
            part::EXTENSION_LENGTH => {
                self.skip = value;
                self.expect(part::EXTENSION, 2);
            }
            part::ALPN_LENGTH => self.expect(part::ALPN_LIST, 2),
            part::ALPN_LIST => {
                self.list_left = value;
                self.next_name();
            }
            part::NAME_LENGTH => {
                self.list_left = self.list_left.saturating_sub(1);
                self.list_left = self.list_left.saturating_sub(value);
                if value == NAME {
                    self.matched = 0;
                    self.read = 0;
                    self.expect(part::NAME_BYTE, 1);
                } else {
                    self.skip = value;
                    self.next_name();
                }
            }
            // A byte of a name that is as long as ours.
            _ => {
                self.matched += u32::from(u64::from(value) == name_byte(self.read));
                self.read += 1;
                if self.read < NAME {
                    self.expect(part::NAME_BYTE, 1);
                } else if self.matched == NAME {
                    return POSTGRES;
                } else {
                    self.next_name();
                }
            }
        }
        OPEN
    }

    /// What follows an entry of the list of protocols.
    #[inline(always)]
    fn next_name(&mut self) {
        if self.list_left == 0 {
            self.expect(part::EXTENSION, 2);
        } else {
            self.expect(part::NAME_LENGTH, 1);
        }
    }
}

/// What the callback of the loop works on.
#[repr(C)]
struct Walk {
    skb: *mut __sk_buff,
    hello: *mut Hello,
    at: u32,
    end: u32,
    offer: u32,
}

/// Reads the packet's bytes from `at` to `end`.
#[inline(always)]
pub fn read(skb: *mut __sk_buff, hello: *mut Hello, at: u32, end: u32) -> Offer {
    let mut walk = Walk {
        skb,
        hello,
        at,
        end,
        offer: OPEN,
    };
    let callback: unsafe extern "C" fn(u64, *mut Walk) -> i64 = step;
    // SAFETY: the callback takes what is passed here, which outlives the loop.
    unsafe { bpf_loop(STEPS, callback as *mut _, (&raw mut walk).cast(), 0) };
    // The callback wrote it behind the compiler's back.
    // SAFETY: `walk` is on the stack.
    let (offer, at) = unsafe {
        (
            (&raw const walk.offer).read_volatile(),
            (&raw const walk.at).read_volatile(),
        )
    };
    match offer {
        POSTGRES => Offer::Postgres,
        OTHER => Offer::Other,
        _ if at < end => Offer::Obscured,
        _ => Offer::Open,
    }
}

/// One step: a byte of a header, a byte of a field, or all that is to be passed over.
#[inline(never)]
unsafe extern "C" fn step(_index: u64, walk: *mut Walk) -> i64 {
    const GO_ON: i64 = 0;
    const STOP: i64 = 1;
    // SAFETY: `read` passes a `Walk` with a `Hello` that is the flow's, and nobody else uses them
    // meanwhile.
    let (walk, hello) = unsafe { (&mut *walk, &mut *(*walk).hello) };
    let complete = hello.part > part::LENGTH && hello.message_left == 0;
    if walk.at >= walk.end {
        if complete {
            walk.offer = OTHER;
        }
        return STOP;
    }
    if hello.record_left > 0 && hello.skip > 0 {
        let length = hello
            .skip
            .min(hello.record_left)
            .min(walk.end.wrapping_sub(walk.at));
        walk.at = walk.at.wrapping_add(length);
        hello.skip -= length;
        hello.record_left -= length;
        hello.message_left = hello.message_left.saturating_sub(length);
        return GO_ON;
    }
    if complete {
        walk.offer = OTHER;
        return STOP;
    }
    let mut byte = 0_u8;
    // SAFETY: the buffer is on the stack and one byte long; the context is valid.
    let loaded = unsafe { bpf_skb_load_bytes(walk.skb.cast(), walk.at, (&raw mut byte).cast(), 1) };
    if loaded != 0 {
        return STOP;
    }
    walk.at = walk.at.wrapping_add(1);
    let byte = u32::from(byte);
    if hello.record_left == 0 {
        if hello.header_left == HEADER && byte != HANDSHAKE_RECORD {
            walk.offer = OTHER;
            return STOP;
        }
        hello.header = hello.header << 8 | byte;
        hello.header_left = hello.header_left.saturating_sub(1);
        if hello.header_left == 0 {
            hello.record_left = hello.header & 0xffff;
            hello.header_left = HEADER;
        }
        return GO_ON;
    }
    hello.record_left -= 1;
    hello.message_left = hello.message_left.saturating_sub(1);
    hello.value = hello.value << 8 | byte;
    hello.need = hello.need.saturating_sub(1);
    if hello.need > 0 {
        return GO_ON;
    }
    let value = hello.value;
    hello.value = 0;
    walk.offer = hello.field(value);
    if walk.offer == OPEN { GO_ON } else { STOP }
}

/// A byte of `postgresql`, by shifts: an index into memory would have to be proven to the verifier.
#[inline(always)]
fn name_byte(index: u32) -> u64 {
    const FIRST: u64 = u64::from_le_bytes(*b"postgres");
    const LAST: u64 = u64::from_le_bytes(*b"ql\0\0\0\0\0\0");
    let (word, index) = if index < 8 {
        (FIRST, index)
    } else {
        (LAST, index - 8)
    };
    word >> ((index & 7) * 8) & 0xff
}
