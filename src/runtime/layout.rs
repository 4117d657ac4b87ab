//! A draft tree on sequence ids.

use std::ops::Range;

use crate::draft::{DraftTree, NodeId, ROOT};

/// Number of a sequence of the KV cache.
pub type SeqId = usize;

/// Which sequences each node of a tree belongs to.
///
/// llama.cpp lets token *i* see cell *j* when *j* carries the first sequence id of *i* and lies at no later
/// position. With one sequence per leaf, numbered so that the leaves below any node are neighbours, a
/// node's sequences are a range, and "sees" comes out as "is an ancestor or the node itself".
///
/// Leaf 0 is the one reached by always taking the first child; it lives on sequence 0, which also carries
/// the committed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeLayout {
    sequences: Vec<Range<SeqId>>,
}

impl TreeLayout {
    /// Lays out a tree. Linear in its size.
    pub fn of(tree: &DraftTree) -> Self {
        // Children come after their parents, so one backward pass counts leaves and one forward pass
        // hands each node its share of its parent's range.
        let mut leaves: Vec<usize> = (0..tree.len())
            .map(|id| usize::from(tree.is_leaf(id)))
            .collect();
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
        Self { sequences }
    }

    /// Number of sequences the tree needs: one per leaf.
    pub fn sequence_count(&self) -> usize {
        self.sequences[ROOT].len()
    }

    /// The sequences of `node`, one for each leaf at or below it.
    pub fn sequences(&self, node: NodeId) -> Range<SeqId> {
        self.sequences[node].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::TreeLimits;

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
