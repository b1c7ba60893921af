//! Hashes and the Merkle tree, once more.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use ring::digest::{Context, SHA256};

/// A SHA-256 value.
pub(crate) type Digest = [u8; 32];

/// A Merkle tree as a binary counter: slot `n` holds the root of a complete tree of 2^n leaves.
#[derive(Default)]
pub(crate) struct Counter {
    pub(crate) size: u64,
    slots: Vec<Option<Digest>>,
}

impl Counter {
    /// The tree over so many leaves, from the roots of its complete subtrees, largest first.
    pub(crate) fn from_edge(size: u64, edge: &[Digest]) -> Option<Self> {
        let mut rest = edge.iter().rev();
        let bits = u64::BITS - size.leading_zeros();
        let slots = (0..bits)
            .map(|bit| {
                if size >> bit & 1 == 1 {
                    rest.next().map(|root| Some(*root))
                } else {
                    Some(None)
                }
            })
            .collect::<Option<Vec<_>>>()?;
        rest.next().is_none().then_some(Self { size, slots })
    }

    pub(crate) fn push(&mut self, leaf: Digest) {
        let mut carry = leaf;
        for slot in &mut self.slots {
            let Some(left) = slot.take() else {
                *slot = Some(carry);
                self.size += 1;
                return;
            };
            carry = node(&left, &carry);
        }
        self.slots.push(Some(carry));
        self.size += 1;
    }

    /// Complete subtrees, largest first.
    pub(crate) fn edge(&self) -> Vec<Digest> {
        self.slots.iter().rev().flatten().copied().collect()
    }

    pub(crate) fn root(&self) -> Digest {
        let mut root = None;
        for subtree in self.slots.iter().flatten() {
            root = Some(root.map_or(*subtree, |right| node(subtree, &right)));
        }
        root.unwrap_or_else(|| hash(&[]))
    }
}

pub(crate) fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        context.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok((digest, bytes))
}

pub(crate) fn hash(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

pub(crate) fn leaf(entry: &[u8]) -> Digest {
    hash(&[&[0], entry])
}

pub(crate) fn node(left: &Digest, right: &Digest) -> Digest {
    hash(&[&[1], left, right])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
