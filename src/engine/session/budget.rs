//! What the next pass has room for: a tree, and tokens to decode again.

use super::{SLOT, Session};
use crate::TokenId;
use crate::runtime::TargetModel;
use crate::tree::{DraftTree, NodeId, TreeLimits};

impl<M: TargetModel> Session<M> {
    /// How large this step's tree may be.
    pub(super) fn limits(&self, left: usize) -> TreeLimits {
        let model = &self.model;
        let leaves = model.max_leaves();
        let room = model.n_ctx() - self.text.len();
        let redecode = self.redecode().len();
        let probe = redecode == 0 && self.cost.wants_single_token_probe();
        let capacity = self.options.draft_tree_capacity;
        let capacity = match self.options.method.weighs_cost() {
            _ if leaves == 0 || probe => 1,
            // Redecoded tokens make the pass no larger, so that it keeps its shape.
            true => capacity.saturating_sub(redecode),
            // The published trees are as large as they are.
            false => capacity,
        };
        let batch = model.n_batch().saturating_sub(redecode);
        TreeLimits {
            capacity: capacity.min(room).min(batch).max(1),
            leaves: leaves.max(1),
            depth: self.options.method.max_depth(left),
        }
    }

    /// The tokens to decode again: committed tokens that the cache does not hold.
    pub(super) fn redecode(&self) -> &[TokenId] {
        &self.text[self.model.n_past(SLOT)..]
    }

    /// The beginning of the accepted path that stays in the cache. The rest is decoded again with
    /// the next tree.
    ///
    /// Rejected cells leave holes, and llama.cpp puts the next tokens into them. Attention would
    /// then add up the same values in another order than plain decoding does, and round
    /// differently. The [principal path](DraftTree::principal_path) lies right behind the committed
    /// cells, so what was accepted of it leaves no hole.
    pub(super) fn kept<'p>(&self, tree: &DraftTree, path: &'p [NodeId]) -> &'p [NodeId] {
        if !self.options.exact {
            return path;
        }
        let principal = tree.principal_path().zip(path);
        &path[..principal.take_while(|(a, b)| a == *b).count()]
    }
}
