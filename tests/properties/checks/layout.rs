//! The sequence ids of a tree layout against the ancestor relation.

use logitspec::runtime::TreeLayout;
use logitspec::tree::{DraftTree, NodeId, ROOT};

/// Whether the batch token `query` attends to `cell` in llama.cpp: the cell has the *first*
/// sequence
/// id of the query and is at no later position.
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

/// Checks the layout of a tree on at least `at_least` sequences.
pub fn check(tree: &DraftTree, at_least: usize) {
    let layout = TreeLayout::padded(tree, at_least);
    let count = tree.leaf_count().max(at_least);
    let padding = count - tree.leaf_count();
    assert_eq!(layout.sequence_count(), count);
    assert_eq!(layout.sequences(ROOT), 0..count);
    let mut of_leaves = Vec::new();
    for node in 0..tree.len() {
        let sequences = layout.sequences(node);
        assert!(!sequences.is_empty(), "node {node} has no sequence");
        if tree.is_leaf(node) {
            let first = sequences.start == 0;
            assert_eq!(sequences.len(), if first { 1 + padding } else { 1 });
            of_leaves.extend(sequences.clone());
        }
        if let Some(parent) = tree.parent(node) {
            let above = layout.sequences(parent);
            assert!(
                above.start <= sequences.start && sequences.end <= above.end,
                "{node} has a sequence that its parent lacks"
            );
        }
        for cell in 0..tree.len() {
            assert_eq!(
                sees(tree, &layout, node, cell),
                is_ancestor_or_self(tree, cell, node),
                "query {node}, cell {cell}"
            );
        }
    }
    of_leaves.sort_unstable();
    assert!(
        of_leaves.into_iter().eq(0..count),
        "each sequence belongs to one leaf"
    );
    // The path of first children is on sequence 0, like the committed text.
    let mut node = ROOT;
    while let Some(child) = tree.children(node).next() {
        node = child;
        assert_eq!(layout.sequences(node).start, 0);
    }
}
