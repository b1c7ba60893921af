//! The headers of a packet that leaves.

use aya_ebpf::programs::SkBuffContext;
use gateway_common::Endpoint;

pub const TCP: u8 = 6;
const UDP: u8 = 17;

/// A TCP or UDP packet with its ports.
pub struct Packet {
    /// Where it goes.
    pub to: Endpoint,
    /// [`TCP`] or UDP.
    pub transport: u8,
    /// Offset of the transport header.
    header: usize,
}

/// What a TCP header says.
pub struct Segment {
    /// Number of the first byte of data.
    pub seq: u32,
    /// Offset of the data.
    pub data: u32,
    /// Length of the data.
    pub length: u32,
    /// The urgent pointer is in use.
    pub urgent: bool,
}

impl Packet {
    /// `None` for other protocols, and for what is too short to have ports.
    #[inline(always)]
    pub fn read(ctx: &SkBuffContext) -> Option<Self> {
        // Few large loads: each is a call.
        let ip: [u8; 20] = ctx.load(0).ok()?;
        match ip[0] >> 4 {
            4 => {
                let transport = ip[9];
                if transport != TCP && transport != UDP {
                    return None;
                }
                // A later fragment has no port. The first one of the datagram was judged.
                if u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0 {
                    return None;
                }
                let header = usize::from(ip[0] & 0xf) * 4;
                let to = [ip[16], ip[17], ip[18], ip[19]];
                let port: [u8; 2] = ctx.load(header + 2).ok()?;
                Some(Self {
                    to: Endpoint::v4(to, u16::from_be_bytes(port)),
                    transport,
                    header,
                })
            }
            6 => {
                let (mut transport, mut header) = (ip[6], 40_usize);
                // Hop-by-hop, routing, destination options and fragment come before the transport
                // header.
                for _ in 0..4 {
                    match transport {
                        0 | 43 | 60 => {
                            let next: [u8; 2] = ctx.load(header).ok()?;
                            transport = next[0];
                            header += (usize::from(next[1]) + 1) * 8;
                        }
                        44 => {
                            let next: [u8; 4] = ctx.load(header).ok()?;
                            // A later fragment has no port.
                            if u16::from_be_bytes([next[2], next[3]]) & 0xfff8 != 0 {
                                return None;
                            }
                            transport = next[0];
                            header += 8;
                        }
                        _ => break,
                    }
                }
                if transport != TCP && transport != UDP {
                    return None;
                }
                let to: [u8; 16] = ctx.load(24).ok()?;
                let port: [u8; 2] = ctx.load(header + 2).ok()?;
                Some(Self {
                    to: Endpoint::v6(to, u16::from_be_bytes(port)),
                    transport,
                    header,
                })
            }
            _ => None,
        }
    }

    /// The TCP header; `None` without data.
    #[inline(always)]
    pub fn segment(&self, ctx: &SkBuffContext) -> Option<Segment> {
        let tcp: [u8; 14] = ctx.load(self.header).ok()?;
        let data = self.header as u32 + u32::from(tcp[12] >> 4) * 4;
        // Of the packet, not of the IP header: one that is cut into segments later may be longer
        // than the IP header can say.
        let length = ctx.len().checked_sub(data)?;
        if length == 0 {
            return None;
        }
        let syn = u32::from(tcp[13] & 0x02 != 0);
        Some(Segment {
            seq: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(syn),
            data,
            length,
            urgent: tcp[13] & 0x20 != 0,
        })
    }
}
