//! The draft tree against a simple list of nodes.

use logitspec::TokenId;
use logitspec::tree::{DraftTree, NodeId, ROOT, TreeLimits};

/// A change of a tree: its kind (see [`Twins::apply`]), the node, and tokens.
pub type Growth = (u8, u16, Vec<u8>);

/// Few tokens, so that siblings often have the same one.
const VOCABULARY: u8 = 4;

/// A tree as a list of tokens and parents. Everything else is computed on demand.
struct Naive {
    nodes: Vec<(TokenId, Option<NodeId>)>,
    limits: TreeLimits,
}

impl Naive {
    fn depth(&self, node: NodeId) -> usize {
        self.nodes[node]
            .1
            .map_or(0, |parent| 1 + self.depth(parent))
    }

    fn children(&self, node: NodeId) -> Vec<NodeId> {
        (0..self.nodes.len())
            .filter(|&id| self.nodes[id].1 == Some(node))
            .collect()
    }

    fn leaves(&self) -> usize {
        let is_leaf = |&node: &NodeId| self.children(node).is_empty();
        (0..self.nodes.len()).filter(is_leaf).count()
    }

    /// Adds a node, and removes it again if the tree exceeds a limit.
    fn push(&mut self, parent: NodeId, token: TokenId) -> Option<NodeId> {
        let id = self.nodes.len();
        self.nodes.push((token, Some(parent)));
        let TreeLimits {
            capacity,
            leaves,
            depth,
        } = self.limits;
        if self.nodes.len() <= capacity.max(1)
            && self.leaves() <= leaves.max(1)
            && self.depth(id) <= depth
        {
            return Some(id);
        }
        self.nodes.pop();
        None
    }

    fn grow(&mut self, parent: NodeId, token: TokenId) -> Option<NodeId> {
        let children = self.children(parent);
        let there = children.iter().find(|&&id| self.nodes[id].0 == token);
        there.copied().or_else(|| self.push(parent, token))
    }
}

/// A tree and its naive model, changed together.
struct Twins {
    tree: DraftTree,
    naive: Naive,
}

impl Twins {
    fn apply(&mut self, (kind, at, tokens): &Growth) {
        let Self { tree, naive } = self;
        let at = usize::from(*at) % tree.len();
        let tokens: Vec<TokenId> = tokens.iter().map(|t| (t % VOCABULARY).into()).collect();
        let first = tokens.first().copied().unwrap_or(0);
        match kind % 16 {
            // Truncations are rare, so that trees get large.
            0 => {
                tree.truncate(at);
                naive.nodes.truncate(at.max(1));
            }
            1 => {
                let leaves = 1 + at % tree.leaf_count();
                tree.limit_leaves(leaves);
                while naive.leaves() > leaves {
                    naive.nodes.pop();
                }
            }
            2..=4 => assert_eq!(tree.push(at, first), naive.push(at, first)),
            5..=7 => assert_eq!(tree.grow(at, first), naive.grow(at, first)),
            8..=11 => {
                let mut end = Some(at);
                let pushed = tokens.iter().take_while(|&&token| {
                    end = end.and_then(|end| naive.push(end, token));
                    end.is_some()
                });
                assert_eq!(pushed.count(), tree.push_chain(at, &tokens));
            }
            _ => {
                let mut end = at;
                for &token in &tokens {
                    match naive.grow(end, token) {
                        Some(id) => end = id,
                        None => break,
                    }
                }
                assert_eq!(end, tree.merge_chain(at, &tokens));
            }
        }
    }

    fn assert_equal(&self) {
        let Self { tree, naive } = self;
        assert_eq!(tree.len(), naive.nodes.len());
        assert_eq!(tree.drafted() + 1, tree.len());
        assert_eq!(tree.leaf_count(), naive.leaves());
        assert_eq!(tree.is_full(), tree.len() >= naive.limits.capacity);
        let tokens: Vec<_> = naive.nodes.iter().map(|node| node.0).collect();
        assert_eq!(tree.tokens().collect::<Vec<_>>(), tokens);
        for id in 0..tree.len() {
            let children = naive.children(id);
            assert_eq!(tree.token(id), tokens[id]);
            assert_eq!(tree.parent(id), naive.nodes[id].1);
            assert_eq!(tree.depth(id), naive.depth(id));
            assert_eq!(tree.is_leaf(id), children.is_empty());
            for token in 0..VOCABULARY.into() {
                let first = children.iter().find(|&&child| tokens[child] == token);
                assert_eq!(tree.child(id, token), first.copied());
            }
            assert_eq!(tree.children(id).collect::<Vec<_>>(), children);
        }
    }
}

/// Grows a tree from its root and compares it with the naive model after every change.
pub fn grown(limits: TreeLimits, growths: &[Growth]) -> DraftTree {
    let mut twins = Twins {
        tree: DraftTree::new(0, limits),
        naive: Naive {
            nodes: vec![(0, None)],
            limits,
        },
    };
    for growth in growths {
        let before: Vec<_> = nodes(&twins.tree);
        twins.apply(growth);
        twins.assert_equal();
        assert_valid(&twins.tree);
        // Nodes are only added or removed at the end.
        let after = nodes(&twins.tree);
        let common = before.len().min(after.len());
        assert_eq!(before[..common], after[..common]);
    }
    twins.tree
}

/// Checks the invariants of all trees.
pub fn assert_valid(tree: &DraftTree) {
    let limits = tree.limits();
    assert!(tree.len() <= limits.capacity.max(1));
    assert!(tree.leaf_count() <= limits.leaves.max(1));
    assert_eq!(tree.parent(ROOT), None);
    assert_eq!(tree.depth(ROOT), 0);
    for id in 1..tree.len() {
        let parent = tree.parent(id).expect("only the root has no parent");
        assert!(parent < id, "parents come first");
        assert_eq!(tree.depth(id), tree.depth(parent) + 1);
        assert!(tree.depth(id) <= limits.depth);
        let path = tree.path_to(id);
        assert_eq!(path.len(), tree.depth(id));
        assert_eq!(path.last(), Some(&id));
        assert!(
            path.iter()
                .rev()
                .skip(1)
                .eq(tree.path_to(parent).iter().rev())
        );
    }
}

/// Panics if two siblings carry the same token.
pub fn assert_siblings_differ(tree: &DraftTree) {
    for id in 0..tree.len() {
        let mut tokens: Vec<_> = tree.children(id).map(|child| tree.token(child)).collect();
        let count = tokens.len();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), count, "equal siblings below {id}");
    }
}

/// The token and the parent of every node.
pub fn nodes(tree: &DraftTree) -> Vec<(TokenId, Option<NodeId>)> {
    (0..tree.len())
        .map(|id| (tree.token(id), tree.parent(id)))
        .collect()
}
