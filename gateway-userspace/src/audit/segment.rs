//! Segment files: a header that repeats the log's state at the segment's start, then frames.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use super::{
    encode::ENTRY_BYTES,
    layout::{Layout, open_rw, write_whole},
    tree::{Hash, Tree},
};

const MAGIC: &[u8; 16] = b"cordon evidence\n";
const VERSION: u32 = 1;
/// A checkpoint note is some 250 bytes; the origin is a host name.
const NOTE_BYTES: usize = 4_096;

/// The log's state before a segment's first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Leaf hash of the entry before; zeros at the start of the log.
    pub(super) previous: Hash,
    /// The tree before; its size is the index of the segment's first entry.
    pub(super) tree: Tree,
    /// The signed checkpoint of that tree.
    pub(super) note: String,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&self.tree.size().to_be_bytes());
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(&length32(self.tree.edge().len()));
        for hash in self.tree.edge() {
            out.extend_from_slice(hash);
        }
        out.extend_from_slice(&length32(self.note.len()));
        out.extend_from_slice(self.note.as_bytes());
        out
    }

    /// Reads a header and its length in bytes.
    pub(super) fn read(input: &mut impl Read) -> io::Result<(Self, u64)> {
        if &read_array::<16>(input)? != MAGIC {
            return Err(invalid("this is not an evidence segment"));
        }
        if u32::from_be_bytes(read_array(input)?) != VERSION {
            return Err(invalid("its format is newer than this program"));
        }
        let size = u64::from_be_bytes(read_array(input)?);
        let previous = read_array(input)?;
        let count = u32::from_be_bytes(read_array(input)?);
        if count > u64::BITS {
            return Err(invalid("its header has too many tree hashes"));
        }
        let edge = (0..count)
            .map(|_| read_array(input))
            .collect::<io::Result<Vec<Hash>>>()?;
        let tree = Tree::from_edge(size, edge)
            .ok_or_else(|| invalid("its header's tree does not fit its size"))?;
        let length = usize::try_from(u32::from_be_bytes(read_array(input)?)).unwrap_or(usize::MAX);
        if length > NOTE_BYTES {
            return Err(invalid("its header's checkpoint is too long"));
        }
        let mut note = vec![0; length];
        input.read_exact(&mut note)?;
        let note = String::from_utf8(note).map_err(|_utf8: std::string::FromUtf8Error| {
            invalid("its header's checkpoint is no text")
        })?;
        let bytes = 16 + 4 + 8 + 32 + 4 + 32 * u64::from(count) + 4 + length as u64;
        Ok((
            Self {
                previous,
                tree,
                note,
            },
            bytes,
        ))
    }
}

/// A segment being written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<File>,
    /// Bytes that are whole frames; what lies behind is torn.
    pub(super) length: u64,
    /// A failed write may have left part of a frame.
    torn: bool,
}

impl Segment {
    /// Creates the segment of this state: in full or not at all.
    pub(super) fn create(layout: &Layout, header: &Header) -> io::Result<Self> {
        let path = layout.segment(header.tree.size());
        let bytes = header.encode();
        write_whole(&path, &bytes)?;
        Ok(Self {
            file: Arc::new(open_rw(&path)?),
            length: bytes.len() as u64,
            torn: false,
        })
    }

    /// Opens a segment to append behind its first `length` bytes, and cuts off the rest.
    pub(super) fn resume(path: &Path, length: u64) -> io::Result<Self> {
        let file = open_rw(path)?;
        file.set_len(length)?;
        file.sync_all()?;
        Ok(Self {
            file: Arc::new(file),
            length,
            torn: false,
        })
    }

    /// Writes whole frames at the end. After an error nothing of them counts, and what part of
    /// them is there is cut off before anything else is written.
    pub(super) fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        match self.file.write_all_at(frames, self.length) {
            Ok(()) => {
                self.length += frames.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.torn = self.file.set_len(self.length).is_err();
                Err(error)
            }
        }
    }
}

/// What a frame turned out to be.
#[derive(Debug)]
pub(super) enum Frame {
    /// An entry: previous hash and body, in the buffer.
    Entry,
    /// The end of the file, between frames.
    End,
    /// The file ends within a frame, or the length is one that no entry has.
    Torn,
}

/// Reads the next frame's entry into `entry`.
pub(super) fn read_frame(input: &mut impl Read, entry: &mut Vec<u8>) -> io::Result<Frame> {
    let mut length = [0; 4];
    match read_up_to(input, &mut length)? {
        0 => return Ok(Frame::End),
        4 => {}
        _ => return Ok(Frame::Torn),
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(33..=ENTRY_BYTES).contains(&length) {
        return Ok(Frame::Torn);
    }
    entry.resize(length, 0);
    Ok(if read_up_to(input, entry)? == length {
        Frame::Entry
    } else {
        Frame::Torn
    })
}

/// Reads the header of a segment file.
pub(super) fn open_segment(path: &Path) -> io::Result<(io::BufReader<File>, Header, u64)> {
    let mut input = io::BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (header, length) = Header::read(&mut input)?;
    Ok((input, header, length))
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn length32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}
