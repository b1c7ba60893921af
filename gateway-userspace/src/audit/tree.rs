//! The RFC 6962 Merkle tree, grown one leaf at a time.

use ring::digest::{Context, SHA256, digest};

/// A SHA-256 value.
pub(super) type Hash = [u8; 32];

/// SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> Hash {
    fixed(digest(&SHA256, bytes).as_ref())
}

/// The hash of an entry: SHA-256(0x00 || entry).
pub(super) fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(entry);
    fixed(context.finish().as_ref())
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    fixed(context.finish().as_ref())
}

fn fixed(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(bytes);
    hash
}

/// The roots of the complete subtrees at the right edge, largest first: all that is needed to
/// append leaves and to compute the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    size: u64,
    edge: Vec<Hash>,
}

impl Tree {
    /// A tree of `size` leaves with this right edge; `None` if the edge does not fit the size.
    pub(super) fn from_edge(size: u64, edge: Vec<Hash>) -> Option<Self> {
        (usize::try_from(size.count_ones()).ok()? == edge.len()).then_some(Self { size, edge })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// Appends a leaf.
    pub(super) fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Appends a complete subtree of 2^`height` leaves, by its root. The size must be a multiple of
    /// that.
    pub(super) fn push_subtree(&mut self, height: u32, root: Hash) {
        let mut hash = root;
        let mut size = self.size.checked_shr(height).unwrap_or(0);
        while size & 1 == 1 {
            if let Some(left) = self.edge.pop() {
                hash = node_hash(&left, &hash);
            }
            size >>= 1;
        }
        self.edge.push(hash);
        self.size = self
            .size
            .saturating_add(1_u64.checked_shl(height).unwrap_or(u64::MAX));
    }

    /// The tree over the leaves from `start` to `end`, if subtrees at the right edge cover exactly
    /// these.
    pub(super) fn within(&self, start: u64, end: u64) -> Option<Self> {
        let mut edge = Vec::new();
        let (mut at, mut covered) = (0, 0);
        let spans = (0..u64::BITS).rev().map(|bit| 1_u64 << bit);
        let spans = spans.filter(|leaves| self.size & leaves != 0);
        for (leaves, hash) in spans.zip(&self.edge) {
            if at >= start && at + leaves <= end {
                edge.push(*hash);
                covered += leaves;
            }
            at += leaves;
        }
        (Some(covered) == end.checked_sub(start)).then_some(())?;
        Self::from_edge(covered, edge)
    }

    /// The tree's root: RFC 6962 §2.1.
    pub(super) fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev();
        let Some(smallest) = subtrees.next() else {
            return sha256(b"");
        };
        subtrees.fold(*smallest, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::hex;

    /// The definition in RFC 6962 §2.1, word by word.
    fn by_definition(leaves: &[&[u8]]) -> Hash {
        match leaves {
            [] => sha256(b""),
            [leaf] => leaf_hash(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(
                    &by_definition(&leaves[..split]),
                    &by_definition(&leaves[split..]),
                )
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_at_every_size() {
        let texts: Vec<String> = (0..130).map(|i| format!("entry {i}")).collect();
        let leaves: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        let mut tree = Tree::default();
        for size in 0..=leaves.len() {
            assert_eq!(tree.root(), by_definition(&leaves[..size]), "size {size}");
            assert_eq!(
                Tree::from_edge(tree.size(), tree.edge().to_vec()),
                Some(tree.clone())
            );
            if let Some(leaf) = leaves.get(size) {
                tree.push(leaf_hash(leaf));
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_published_test_vectors() {
        // The inputs and root of the Certificate Transparency reference tests.
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut tree = Tree::default();
        for leaf in leaves {
            tree.push(leaf_hash(leaf));
        }
        assert_eq!(
            hex::encode(&tree.root()),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    #[test]
    fn a_tree_grows_by_whole_subtrees_and_gives_its_parts() {
        let leaves: Vec<Hash> = (0..23_u8).map(|i| leaf_hash(&[i])).collect();
        let of = |range: std::ops::Range<usize>| {
            let mut tree = Tree::default();
            leaves[range].iter().for_each(|leaf| tree.push(*leaf));
            tree
        };
        let mut tree = of(0..16);
        tree.push_subtree(2, of(16..20).root());
        leaves[20..].iter().for_each(|leaf| tree.push(*leaf));
        assert_eq!(tree, of(0..23));
        assert_eq!(tree.within(16, 23), Some(of(16..23)));
        assert_eq!(tree.within(16, 20), Some(of(16..20)));
        // Not what subtrees at the edge cover: within one, or across two.
        assert_eq!(tree.within(0, 8), None);
        assert_eq!(tree.within(12, 20), None);
    }

    #[test]
    fn an_edge_that_does_not_fit_the_size_is_no_tree() {
        assert_eq!(Tree::from_edge(3, vec![[0; 32]]), None);
    }
}
