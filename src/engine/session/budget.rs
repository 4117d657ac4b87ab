//! What the next pass has room for: a tree, and tokens to decode again.

use super::Session;
use crate::TokenId;
use crate::runtime::TargetModel;
use crate::tree::{DraftTree, TreeLimits};
use crate::verify::Accepted;

/// At most one of so many tokens of a pass is decoded again.
const REDECODE_SHARE: usize = 8;

impl<M: TargetModel> Session<M> {
    /// How large this step's tree may be.
    pub(super) fn limits(&self, left: usize) -> TreeLimits {
        let model = &self.model;
        let leaves = model.max_leaves();
        let room = model.n_ctx() - self.text.len();
        let redecode = self.redecode().len();
        let probe = redecode == 0 && self.cost.wants_single_token_probe();
        let capacity = if leaves == 0 || probe {
            1
        } else {
            // Redecoded tokens make the pass no larger, so that it keeps its shape.
            self.options.draft_tree_capacity.saturating_sub(redecode)
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
        &self.text[self.model.n_past()..]
    }

    /// Whether it is cheaper to decode the accepted path again, with the next tree, than to keep it.
    /// Keeping it takes two calls to the cache for each branch that parts from it.
    pub(super) fn redecode_is_cheaper(&self, tree: &DraftTree, accepted: &Accepted) -> bool {
        let capacity = self.options.draft_tree_capacity.min(self.model.n_batch());
        let count = accepted.path.len();
        // There must be a next tree, with room for the path besides its likeliest nodes.
        if !self.options.method.weighs_cost()
            || count == 0
            || REDECODE_SHARE * count > capacity
            || accepted.next.is_none()
            || self.cost.wants_single_token_probe()
        {
            return false;
        }
        let tokens = self.redecode().len() + tree.len();
        let more = if tokens >= capacity { 0 } else { count };
        let moving = self.model.commit_delay(&accepted.path).as_secs_f64();
        moving > self.cost.marginal_seconds(more, tokens)
    }
}
