//! The draft tree: what to verify in one pass.

mod source;

use crate::TokenId;

pub use source::{PerSource, Source, SourceSet, UnknownSource};

/// Index of a node in its [`DraftTree`].
pub type NodeId = usize;

/// The root's index.
pub const ROOT: NodeId = 0;

/// How large a tree may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Most nodes, the root counted (at least 1).
    pub capacity: usize,
    /// Most leaves; each needs a sequence of the KV cache (at least 1).
    pub leaves: usize,
    /// Greatest depth of a node; the root has depth 0.
    pub depth: usize,
}

impl TreeLimits {
    /// At most `capacity` nodes, in any shape.
    pub fn nodes(capacity: usize) -> Self {
        Self {
            capacity,
            leaves: usize::MAX,
            depth: usize::MAX,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    token: TokenId,
    parent: NodeId,
    depth: usize,
    source: Source,
    first_child: NodeId,
    last_child: NodeId,
    next_sibling: NodeId,
}

/// "No such node", for links: the root is nobody's child and nobody's sibling.
const NONE: NodeId = ROOT;

/// A tree of guesses at what comes next. The root is the next token itself, known for certain.
///
/// Nodes live in one arena in the order they were added, so parents come before their children;
/// siblings carry different tokens unless [`push`](Self::push) was told otherwise. All growth
/// respects the
/// [`TreeLimits`]: what would exceed them is not added.
///
/// ```
/// use logitspec::tree::{DraftTree, ROOT, TreeLimits};
///
/// let mut tree = DraftTree::new(10, TreeLimits::nodes(4));
/// tree.merge_chain(ROOT, &[11, 12]);
/// tree.merge_chain(ROOT, &[11, 13, 14]); // shares the 11; no room for the 14
/// assert_eq!(tree.tokens().collect::<Vec<_>>(), [10, 11, 12, 13]);
/// assert_eq!(tree.parent(3), Some(1));
/// assert_eq!(tree.leaf_count(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftTree {
    nodes: Vec<Node>,
    leaves: usize,
    limits: TreeLimits,
}

impl DraftTree {
    /// A tree of the root alone.
    pub fn new(root: TokenId, limits: TreeLimits) -> Self {
        let mut nodes = Vec::with_capacity(limits.capacity.clamp(1, 1024));
        nodes.push(Node {
            token: root,
            parent: NONE,
            depth: 0,
            source: Source::default(),
            first_child: NONE,
            last_child: NONE,
            next_sibling: NONE,
        });
        Self {
            nodes,
            leaves: 1,
            limits,
        }
    }

    /// Number of nodes, the root counted; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Number of drafted nodes: all but the root.
    pub fn drafted(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Whether no further node fits.
    pub fn is_full(&self) -> bool {
        self.nodes.len() >= self.limits.capacity
    }

    /// The limits the tree was made with.
    pub fn limits(&self) -> TreeLimits {
        self.limits
    }

    /// Number of nodes without children.
    pub fn leaf_count(&self) -> usize {
        self.leaves
    }

    /// The token of `node`.
    pub fn token(&self, node: NodeId) -> TokenId {
        self.nodes[node].token
    }

    /// The parent of `node`; `None` for the root.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        (node != ROOT).then(|| self.nodes[node].parent)
    }

    /// Distance of `node` from the root.
    pub fn depth(&self, node: NodeId) -> usize {
        self.nodes[node].depth
    }

    /// What put `node` into the tree; of no meaning for the root.
    pub fn source(&self, node: NodeId) -> Source {
        self.nodes[node].source
    }

    /// Notes what put `node` into the tree, for statistics.
    pub fn set_source(&mut self, node: NodeId, source: Source) {
        self.nodes[node].source = source;
    }

    /// Whether `node` has no children.
    pub fn is_leaf(&self, node: NodeId) -> bool {
        self.nodes[node].first_child == NONE
    }

    /// All tokens in arena order, the root first.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = TokenId> + '_ {
        self.nodes.iter().map(|node| node.token)
    }

    /// The children of `node` in the order they were added.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let link = |id: NodeId| (id != NONE).then_some(id);
        std::iter::successors(link(self.nodes[node].first_child), move |&id| {
            link(self.nodes[id].next_sibling)
        })
    }

    /// The first child of `node` that carries `token`.
    pub fn child(&self, node: NodeId, token: TokenId) -> Option<NodeId> {
        self.children(node).find(|&id| self.token(id) == token)
    }

    /// The nodes that are reached from the root by always taking the first child. Drafters add the
    /// likeliest child first, so this is the likeliest path.
    pub fn principal_path(&self) -> impl Iterator<Item = NodeId> + '_ {
        let first_child = |node: &NodeId| self.children(*node).next();
        std::iter::successors(first_child(&ROOT), first_child)
    }

    /// The nodes from below the root down to `node`, empty for the root itself.
    pub fn path_to(&self, node: NodeId) -> Vec<NodeId> {
        let mut path: Vec<NodeId> = std::iter::successors((node != ROOT).then_some(node), |&id| {
            self.parent(id).filter(|&parent| parent != ROOT)
        })
        .collect();
        path.reverse();
        path
    }

    /// Appends the tokens from below the root down to `node` to `out`.
    pub fn append_path(&self, node: NodeId, out: &mut Vec<TokenId>) {
        let start = out.len();
        let mut at = node;
        while at != ROOT {
            out.push(self.nodes[at].token);
            at = self.nodes[at].parent;
        }
        out[start..].reverse();
    }

    /// Adds a node below `parent`, even beside a sibling with the same token (the published tree
    /// does not merge; everyone else wants [`grow`](Self::grow)). `None` if it does not fit the
    /// limits.
    ///
    /// # Panics
    /// If `parent` is no node of this tree.
    pub fn push(&mut self, parent: NodeId, token: TokenId) -> Option<NodeId> {
        let Node {
            depth, last_child, ..
        } = self.nodes[parent];
        let adds_leaf = last_child != NONE;
        if self.is_full()
            || depth >= self.limits.depth
            || (adds_leaf && self.leaves >= self.limits.leaves)
        {
            return None;
        }
        let id = self.nodes.len();
        self.nodes.push(Node {
            token,
            parent,
            depth: depth + 1,
            source: Source::default(),
            first_child: NONE,
            last_child: NONE,
            next_sibling: NONE,
        });
        if adds_leaf {
            self.nodes[last_child].next_sibling = id;
            self.leaves += 1;
        } else {
            self.nodes[parent].first_child = id;
        }
        self.nodes[parent].last_child = id;
        Some(id)
    }

    /// The child of `parent` with this token, added if need be. `None` if it does not fit the
    /// limits.
    pub fn grow(&mut self, parent: NodeId, token: TokenId) -> Option<NodeId> {
        self.child(parent, token)
            .or_else(|| self.push(parent, token))
    }

    /// Adds `tokens` as a chain of new nodes below `parent`, as far as they fit. Returns how many
    /// were added.
    pub fn push_chain(&mut self, parent: NodeId, tokens: &[TokenId]) -> usize {
        let mut at = parent;
        for (done, &token) in tokens.iter().enumerate() {
            match self.push(at, token) {
                Some(id) => at = id,
                None => return done,
            }
        }
        tokens.len()
    }

    /// Walks `tokens` down from `parent`, adding the nodes that are missing, as far as they fit.
    /// Returns the last node reached.
    pub fn merge_chain(&mut self, parent: NodeId, tokens: &[TokenId]) -> NodeId {
        let mut at = parent;
        for &token in tokens {
            match self.grow(at, token) {
                Some(id) => at = id,
                None => break,
            }
        }
        at
    }

    /// The tree of the first `len` nodes (at least the root). Parents come first, so nothing
    /// dangles.
    pub fn truncate(&mut self, len: usize) {
        let len = len.max(1);
        if len >= self.nodes.len() {
            return;
        }
        let mut short = Self::new(self.token(ROOT), self.limits);
        for node in &self.nodes[1..len] {
            if let Some(id) = short.push(node.parent, node.token) {
                short.set_source(id, node.source);
            }
        }
        *self = short;
    }

    /// Drops the latest nodes until no more than `max` leaves are left.
    pub fn limit_leaves(&mut self, max: usize) {
        let mut leaves = 1;
        let mut has_child = vec![false; self.nodes.len()];
        for id in 1..self.nodes.len() {
            let parent = self.nodes[id].parent;
            if std::mem::replace(&mut has_child[parent], true) {
                leaves += 1;
            }
            if leaves > max.max(1) {
                return self.truncate(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_one_by_one() {
        let mut tree = DraftTree::new(
            0,
            TreeLimits {
                capacity: 10,
                leaves: 2,
                depth: 2,
            },
        );
        assert_eq!(tree.push_chain(ROOT, &[1, 2, 3]), 2, "too deep");
        assert_eq!(tree.push_chain(ROOT, &[4, 5]), 2);
        assert_eq!(tree.push(ROOT, 6), None, "a third leaf");
        assert_eq!(tree.leaf_count(), 2);
        let mut single = DraftTree::new(0, TreeLimits::nodes(1));
        assert!(single.is_full());
        assert_eq!(single.grow(ROOT, 1), None);
    }

    #[test]
    fn pushing_keeps_equal_siblings_and_growing_merges_them() {
        let mut tree = DraftTree::new(0, TreeLimits::nodes(9));
        tree.push_chain(ROOT, &[1, 2]);
        tree.push_chain(ROOT, &[1, 3]);
        assert_eq!(tree.children(ROOT).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(tree.grow(ROOT, 1), Some(1));
        assert_eq!(tree.path_to(4), [3, 4]);
        assert!(tree.path_to(ROOT).is_empty());
        let mut tokens = vec![9];
        tree.append_path(4, &mut tokens);
        tree.append_path(ROOT, &mut tokens);
        assert_eq!(tokens, [9, 1, 3]);
    }

    #[test]
    fn cutting_leaves_keeps_the_first_ones() {
        let mut tree = DraftTree::new(0, TreeLimits::nodes(9));
        tree.push_chain(ROOT, &[1, 2]);
        tree.push_chain(ROOT, &[3]);
        tree.push_chain(ROOT, &[4, 5]);
        tree.limit_leaves(2);
        assert_eq!(tree.tokens().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(tree.leaf_count(), 2);
        tree.limit_leaves(0);
        assert_eq!(tree.tokens().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
