//! What a constraint on the text makes of a drafted tree.

use crate::TokenId;
use crate::tree::{DraftTree, NodeId, ROOT, Source};

/// A drafted tree without what cannot be selected, and with what must be.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// The tree to verify.
    pub tree: DraftTree,
    /// The tree as it was drafted.
    pub drafted: DraftTree,
    /// For each node of the drafted tree, the node that is verified, if it is.
    verified: Vec<Option<NodeId>>,
}

impl Constraint {
    /// Puts the chain `forced` below the root, and then those nodes of `drafted` that are
    /// `allowed`, as far as they fit the tree's limits.
    pub fn new(drafted: &DraftTree, forced: &[TokenId], allowed: &[bool]) -> Self {
        let mut tree = DraftTree::new(drafted.token(ROOT), drafted.limits());
        let mut last = ROOT;
        for &token in forced {
            let Some(node) = tree.push(last, token) else {
                break;
            };
            tree.set_source(node, Source::Grammar);
            last = node;
        }
        let chain = tree.len();
        let mut verified = vec![None; drafted.len()];
        verified[ROOT] = Some(ROOT);
        let mut taken = vec![false; chain];
        for node in ROOT + 1..drafted.len() {
            let parent = drafted.parent(node).and_then(|parent| verified[parent]);
            let Some(parent) = parent.filter(|_| allowed[node]) else {
                continue;
            };
            let token = drafted.token(node);
            let in_chain = tree
                .child(parent, token)
                .filter(|&it| it < chain && !taken[it]);
            if let Some(it) = in_chain {
                taken[it] = true;
                verified[node] = Some(it);
            } else if let Some(it) = tree.push(parent, token) {
                tree.set_source(it, drafted.source(node));
                verified[node] = Some(it);
            }
        }
        Self {
            tree,
            drafted: drafted.clone(),
            verified,
        }
    }

    /// The node that is verified for a drafted one.
    pub fn verified(&self, drafted: NodeId) -> Option<NodeId> {
        self.verified[drafted]
    }

    /// The beginning of an accepted path that was drafted, as nodes of the drafted tree.
    pub fn drafted_path(&self, path: &[NodeId]) -> Vec<NodeId> {
        let drafted_node = |&node: &NodeId| self.verified.iter().position(|&it| it == Some(node));
        path.iter().map_while(drafted_node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeLimits;

    #[test]
    fn forbidden_nodes_make_room_and_forced_ones_come_first() {
        let mut drafted = DraftTree::new(1, TreeLimits::nodes(6));
        drafted.push_chain(ROOT, &[9, 8]);
        drafted.push_chain(ROOT, &[2, 3, 4]);
        // 9 is forbidden, and with it what lies below.
        let allowed = [true, false, true, true, true, true];
        let free = Constraint::new(&drafted, &[], &allowed);
        assert_eq!(free.tree.tokens().collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(free.verified(3), Some(1));
        assert_eq!(free.verified(2), None);
        assert_eq!(free.drafted_path(&[1, 2]), [3, 4]);

        let forced = Constraint::new(&drafted, &[2, 7], &allowed);
        let tokens: Vec<TokenId> = forced.tree.tokens().collect();
        assert_eq!(tokens, [1, 2, 7, 3, 4]);
        let source = |node| forced.tree.source(node);
        assert_eq!(
            [source(1), source(2), source(3)],
            [Source::Grammar, Source::Grammar, Source::Text]
        );
        assert_eq!(forced.drafted_path(&[1, 2]), [3], "the 7 was not drafted");
        let long = Constraint::new(&drafted, &[2, 7, 7, 7, 7, 7, 7], &allowed);
        assert_eq!(long.tree.len(), 6, "the limit holds");
        assert_eq!(long.verified(4), None);
    }
}
