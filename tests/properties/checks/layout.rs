//! The layout on sequence ids against the ancestor relation.

use logitspec::runtime::TreeLayout;
use logitspec::tree::{DraftTree, NodeId, ROOT};

/// Whether llama.cpp lets the batch token `query` see the cell of `cell`: the cell carries the
/// query's *first* sequence id and lies at no later position.
fn sees(tree: &DraftTree, layout: &TreeLayout, query: NodeId, cell: NodeId) -> bool {
    let first = layout.sequences(query).start;
    layout.sequences(cell).any(|seq| seq == first) && tree.depth(cell) <= tree.depth(query)
}

fn is_ancestor_or_self(tree: &DraftTree, upper: NodeId, lower: NodeId) -> bool {
    upper == lower
        || tree
            .parent(lower)
            .is_some_and(|parent| is_ancestor_or_self(tree, upper, parent))
}

/// Checks the layout of one tree on at least so many sequences.
pub fn check(tree: &DraftTree, at_least: usize) {
    let layout = TreeLayout::padded(tree, at_least);
    let count = tree.leaf_count().max(at_least);
    let padding = count - tree.leaf_count();
    assert_eq!(layout.sequence_count(), count);
    assert_eq!(layout.sequences(ROOT), 0..count);
    let mut of_leaves = Vec::new();
    for node in 0..tree.len() {
        let sequences = layout.sequences(node);
        assert!(!sequences.is_empty(), "a token needs a sequence");
        if tree.is_leaf(node) {
            let first = sequences.start == 0;
            assert_eq!(sequences.len(), if first { 1 + padding } else { 1 });
            of_leaves.extend(sequences.clone());
        }
        if let Some(parent) = tree.parent(node) {
            let above = layout.sequences(parent);
            assert!(
                above.start <= sequences.start && sequences.end <= above.end,
                "{node} is on a sequence that its parent is not on"
            );
        }
        for cell in 0..tree.len() {
            assert_eq!(
                sees(tree, &layout, node, cell),
                is_ancestor_or_self(tree, cell, node),
                "{node} looking at {cell}"
            );
        }
    }
    of_leaves.sort_unstable();
    assert!(
        of_leaves.into_iter().eq(0..count),
        "one sequence a leaf, and none left over"
    );
    // The committed text lives on sequence 0, and so does the path of first children.
    let mut node = ROOT;
    while let Some(child) = tree.children(node).next() {
        node = child;
        assert_eq!(layout.sequences(node).start, 0);
    }
}
