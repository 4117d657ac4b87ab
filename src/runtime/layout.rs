//! A draft tree on sequence ids.

use std::ops::Range;

use crate::tree::{DraftTree, NodeId, ROOT};

/// Number of a sequence of the KV cache.
pub type SeqId = usize;

/// Which sequences each node of a tree belongs to.
///
/// llama.cpp lets token *i* see cell *j* when *j* carries the first sequence id of *i* and lies at
/// no later position. With one sequence per leaf, numbered so that the leaves below any node are
/// neighbours, a node's sequences are a range, and "sees" comes out as "is an ancestor or the node
/// itself".
///
/// Leaf 0 is the end of the [principal path](DraftTree::principal_path). It has sequence 0, which
/// also carries the committed text. The nodes of that path come first in the batch, right behind
/// the root. So if the accepted path is a beginning of it, its cells lie behind the committed ones
/// in the order of their positions, as if they had been decoded one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeLayout {
    sequences: Vec<Range<SeqId>>,
    /// The nodes in the order of the batch.
    order: Vec<NodeId>,
    /// Where each node is in `order`.
    index: Vec<usize>,
}

impl TreeLayout {
    /// Of a tree that is only a root.
    pub fn of_root() -> Self {
        let root = 0..1;
        Self {
            sequences: vec![root],
            order: vec![ROOT],
            index: vec![0],
        }
    }

    /// Lays out a tree. Linear in its size.
    pub fn of(tree: &DraftTree) -> Self {
        Self::padded(tree, 1)
    }

    /// Lays out a tree on `sequences` sequences, or on as many as it has leaves if those are more.
    ///
    /// Sequences that the tree does not need go along with leaf 0. Its path is the likeliest to be
    /// kept, so they seldom fall behind.
    pub fn padded(tree: &DraftTree, sequences: usize) -> Self {
        // Children come after their parents, so one backward pass counts leaves and one forward
        // pass hands each node its share of its parent's range.
        let mut leaves: Vec<usize> = (0..tree.len())
            .map(|id| usize::from(tree.is_leaf(id)))
            .collect();
        let first = tree.principal_path().last().unwrap_or(ROOT);
        leaves[first] += sequences.saturating_sub(tree.leaf_count());
        for id in (1..tree.len()).rev() {
            let parent = tree.parent(id).unwrap_or(ROOT);
            leaves[parent] += leaves[id];
        }
        let mut sequences = Vec::with_capacity(tree.len());
        sequences.push(0..leaves[ROOT]);
        let mut next_free = vec![0; tree.len()];
        for id in 1..tree.len() {
            let parent = tree.parent(id).unwrap_or(ROOT);
            let start = next_free[parent];
            next_free[parent] += leaves[id];
            next_free[id] = start;
            sequences.push(start..start + leaves[id]);
        }
        let mut layout = Self {
            sequences,
            order: Vec::with_capacity(tree.len()),
            index: vec![usize::MAX; tree.len()],
        };
        let principal = std::iter::once(ROOT).chain(tree.principal_path());
        principal
            .chain(ROOT..tree.len())
            .for_each(|id| layout.put(id));
        layout
    }

    /// Puts a node behind the others in the batch, unless it is there.
    fn put(&mut self, node: NodeId) {
        if self.index[node] == usize::MAX {
            self.index[node] = self.order.len();
            self.order.push(node);
        }
    }

    /// The nodes in the order of the batch: parents before their children, the principal path
    /// first.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// Where `node` is in the batch, counted from the root.
    pub fn index(&self, node: NodeId) -> usize {
        self.index[node]
    }

    /// Number of sequences: one per leaf, and the padding.
    pub fn sequence_count(&self) -> usize {
        self.sequences[ROOT].len()
    }

    /// The sequences of `node`, one for each leaf at or below it, and the padding on the way to
    /// leaf 0.
    pub fn sequences(&self, node: NodeId) -> Range<SeqId> {
        self.sequences[node].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeLimits;

    #[test]
    fn padding_goes_along_with_the_first_leaf() {
        let mut tree = DraftTree::new(0, TreeLimits::nodes(16));
        let a = tree.grow(ROOT, 1).unwrap();
        let b = tree.grow(ROOT, 2).unwrap();
        let b1 = tree.grow(b, 3).unwrap();
        let a1 = tree.grow(a, 4).unwrap();
        let a2 = tree.grow(a, 5).unwrap();
        let nodes = [ROOT, a, b, b1, a1, a2];
        let layout = TreeLayout::padded(&tree, 5);
        let ranges = nodes.map(|id| layout.sequences(id));
        assert_eq!(ranges, [0..5, 0..4, 4..5, 4..5, 0..3, 3..4]);
        assert_eq!(layout.sequence_count(), 5);
        assert_eq!(layout.order(), [ROOT, a, a1, b, b1, a2]);
        assert!((0..6).all(|at| layout.index(layout.order()[at]) == at));
        assert_eq!(TreeLayout::padded(&tree, 2), TreeLayout::of(&tree));
    }

    #[test]
    fn leaves_below_a_node_are_neighbours() {
        let mut tree = DraftTree::new(0, TreeLimits::nodes(16));
        let a = tree.grow(ROOT, 1).unwrap();
        let b = tree.grow(ROOT, 2).unwrap();
        // Grown out of order: the second child of `a` comes after `b` in the arena.
        let a1 = tree.grow(a, 3).unwrap();
        let b1 = tree.grow(b, 4).unwrap();
        let a2 = tree.grow(a, 5).unwrap();
        let layout = TreeLayout::of(&tree);
        let ranges = [ROOT, a, b, a1, b1, a2].map(|id| layout.sequences(id));
        assert_eq!(ranges, [0..3, 0..2, 2..3, 0..1, 2..3, 1..2]);
        assert_eq!(layout.sequence_count(), tree.leaf_count());
    }
}
